"""File names of wheels, bundles and variants."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuenv.model.distribution import WheelFile
from gpuenv.model.filename import BUNDLE, FileName, is_native, label_of, split_filename, tags_of, version_of, with_label

PLAIN = "torch-2.9.0+cu128-cp312-cp312-manylinux_2_28_x86_64"
NAMES = {
    PLAIN: FileName("torch", "2.9.0+cu128", "", "cp312-cp312-manylinux_2_28_x86_64", ""),
    "foo-1.0-3a-py3-none-any": FileName("foo", "1.0", "3a", "py3-none-any", ""),
    "foo-1.0-py3-none-any-cu12.8": FileName("foo", "1.0", "", "py3-none-any", "cu12.8"),
    "foo-1.0-py3-none-any-00ff": FileName("foo", "1.0", "", "py3-none-any", "00ff"),
    "foo-1.0-3-py3-none-linux_x86_64-null": FileName("foo", "1.0", "3", "py3-none-linux_x86_64", "null"),
}


@pytest.mark.parametrize("suffix", [".whl", ".whl.tar.zst"])
@pytest.mark.parametrize("stem", NAMES)
def test_parts(stem: str, suffix: str) -> None:
    """A sixth part is a build tag where it stands third and begins with a digit, else a label; a seventh is a label."""
    name = split_filename(stem + suffix)

    assert NAMES[stem] == name
    assert (NAMES[stem].tags, NAMES[stem].label) == (tags_of(stem + suffix), label_of(stem + suffix))
    assert NAMES[stem].version == version_of(stem + suffix)


@pytest.mark.parametrize(
    "filename",
    [
        "foo-1.0.tar.gz",
        "foo-1.0-none-any.whl",
        "foo-1.0-py3-none-any-CU12.whl",
        "foo-1.0-py3-none-any-a+b.whl",
        "foo-1.0-py3-none-any-.whl",
        "foo-1.0-py3-none-any-a-b.whl",
        "foo-1.0-x-py3-none-any-a.whl",
        "foo-1.0-1-py3-none-any-a-b.whl",
        "../foo-1.0-py3-none-any.whl",
    ],
)
def test_no_names(filename: str) -> None:
    """What the standards do not allow is no name of a wheel, a label with other characters among it."""
    assert split_filename(filename) is None
    assert label_of(filename) == ""


@pytest.mark.parametrize(
    ("filename", "native"),
    [
        ("foo-1.0-py3-none-any.whl", False),
        ("foo-1.0-py3-none-any.whl.tar.zst", False),
        ("foo-1.0-2-py3-none-any-cu12.whl", False),
        ("foo-1.0-py3-none-linux_x86_64.whl", True),
        ("foo-1.0-py3-none-linux_x86_64-any.whl", True),
        ("foo-1.0-py3-none-linux_x86_64-cu12.whl.tar.zst", True),
    ],
)
def test_is_native(filename: str, native: bool) -> None:
    """The platform tag says whether a wheel is for one kind of machine, whatever the label is."""
    assert native == is_native(filename)


def test_wheel_file() -> None:
    """A wheel of an index knows its tags, its build number and its label by its name."""
    wheel = WheelFile("foo-1.0-12b-cp312-abi3-any-gfx942.whl", "https://files.index.example/x")

    assert (wheel.tags, wheel.build, wheel.label) == ("cp312-abi3-any", (12, "b"), "gfx942")

    wheel = WheelFile("foo-1.0-py3-none-any-a.whl", "https://files.index.example/y")

    assert (wheel.build, wheel.label) == ((-1, ""), "a")


words = st.from_regex(r"[A-Za-z0-9_.]{1,8}", fullmatch=True)
tags = st.from_regex(r"[a-z][a-z0-9_.]{0,8}", fullmatch=True)
builds = st.just("") | st.from_regex(r"[0-9]{1,3}[a-z0-9_]{0,3}", fullmatch=True)
labels = st.just("") | st.from_regex(r"[0-9a-z_.]{1,12}", fullmatch=True)


@given(words, words, builds, tags, words, words, labels, st.sampled_from([".whl", BUNDLE]))
def test_no_name_has_two_readings(
    name: str, version: str, build: str, python: str, abi: str, platform: str, label: str, packed: str
) -> None:
    """Whatever parts a name is made of come back, since no Python tag begins with a digit."""
    parts = [name, version, *([build] if build else []), python, abi, platform, *([label] if label else [])]

    found = split_filename("-".join(parts) + packed)

    assert FileName(name, version, build, f"{python}-{abi}-{platform}", label) == found


def test_the_label_is_the_last_part_of_the_name() -> None:
    """Of wheels and bundles, with a build tag and without."""
    assert with_label("a-1.0-py3-none-any.whl", "x1") == "a-1.0-py3-none-any-x1.whl"
    assert with_label("a-1.0-2-py3-none-any.whl.tar.zst", "x1") == "a-1.0-2-py3-none-any-x1.whl.tar.zst"
    assert with_label("a-1.0-py3-none-any.whl", "") == "a-1.0-py3-none-any.whl"
