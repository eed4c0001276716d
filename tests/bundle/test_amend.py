"""What a publisher adds to a wheel or bundle: files of the `.dist-info` that RECORD lists, and nothing else changes."""

import csv
import zipfile
from base64 import urlsafe_b64encode
from hashlib import sha256
from pathlib import Path

import pytest

from gpuenv.archive.bundled import open_bundle
from gpuenv.bundle.amend import Amendment, check_extras, with_keyword
from gpuenv.bundle.repack import repack, rewheel
from gpuenv.bundle.towheel import to_wheel
from gpuenv.errors import ArchiveError, UsageError
from gpuenv.index.metadata import parse_metadata
from gpuenv.model.default_extras import DefaultExtras, checked
from tests.support.bundles import digest_of, make_bundle
from tests.support.wheels import make_wheel

EXTRAS: DefaultExtras = (("amd", ("device-{gfx}",)), ("any", ("cpu",)))
BOTH = Amendment(b"{}", "rocm", EXTRAS)
INFO = "demo-1.0.dist-info"


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    files: dict[str, bytes | str] = {"demo/run": "#!/bin/sh\n", f"{INFO}/RECORD.jws": "signed"}
    return make_wheel(tmp_path / "in", "demo", files=files, extras=["cpu"], executable=["demo/run"])


def content(wheel: Path) -> dict[str, tuple[bytes, bool]]:
    """Every file of a wheel, with its bytes and whether it may be run."""
    with zipfile.ZipFile(wheel) as archive:
        return {one.filename: (archive.read(one), one.external_attr >> 16 & 0o111 != 0) for one in archive.infolist()}


def holds(wheel: Path) -> None:
    """RECORD lists every file with its digest and size, itself without."""
    files = {path: data for path, (data, _) in content(wheel).items()}
    rows = {row[0]: row[1:] for row in csv.reader(files[f"{INFO}/RECORD"].decode().splitlines())}
    digests = {path: urlsafe_b64encode(sha256(data).digest()).decode().rstrip("=") for path, data in files.items()}
    told = {path: [f"sha256={digests[path]}", str(len(data))] for path, data in files.items()}
    assert rows == told | {f"{INFO}/RECORD": ["", ""]}


def test_a_wheel_gets_what_is_added(tmp_path: Path, wheel: Path) -> None:
    """Variant, default extras and the keyword; a signature of the old RECORD goes; the rest stays as it was."""
    path = tmp_path / "out.whl"
    with path.open("wb") as file:
        rewheel(wheel, file, BOTH)
    holds(path)
    before, after = content(wheel), content(path)
    changed = {f"{INFO}/METADATA", f"{INFO}/RECORD"}
    assert {name for name in before.keys() & after.keys() if before[name] != after[name]} == changed
    assert before.keys() - after.keys() == {f"{INFO}/RECORD.jws"}
    assert after.keys() - before.keys() == {f"{INFO}/variant.json", f"{INFO}/default-extras.json"}
    known = parse_metadata(after[f"{INFO}/METADATA"][0])
    assert (known.name, known.extras, known.default_extras_by) == ("demo", ("cpu",), ())
    again = tmp_path / "again.whl"
    with again.open("wb") as file:
        rewheel(wheel, file, BOTH)
    assert again.read_bytes() == path.read_bytes()


def test_a_bundle_gets_it_too_and_a_wheel_of_a_bundle(tmp_path: Path, wheel: Path) -> None:
    """Three ways to a wheel with the same additions end at the same files; the bundle says that it is not its wheel."""
    direct, bundle, back, from_plain = (tmp_path / name for name in ("a.whl", "b.whl.tar.zst", "c.whl", "d.whl"))
    with direct.open("wb") as file:
        rewheel(wheel, file, BOTH)
    with bundle.open("wb") as file:
        repack(wheel, file.write, sha256=digest_of(wheel), amendment=BOTH)
    with open_bundle(bundle) as opened:
        assert opened.origin["metadata"] == "amended"
    for source, path, amendment in ((bundle, back, Amendment()), (make_bundle(wheel), from_plain, BOTH)):
        folder = tmp_path / f"{path.name}.work"
        folder.mkdir()
        with path.open("wb") as file:
            to_wheel(source, file, folder, amendment=amendment)
    assert content(back) == content(from_plain) == content(direct)


def test_what_is_a_variant_already_stays_one(tmp_path: Path, wheel: Path) -> None:
    """A second variant.json is refused."""
    path = tmp_path / "demo-1.0-py3-none-any-x.whl"
    with path.open("wb") as file:
        rewheel(wheel, file, Amendment(b"{}", "x"))
    with (tmp_path / "twice.whl").open("wb") as file, pytest.raises(UsageError, match="is a variant already"):
        rewheel(path, file, Amendment(b"{}", "y"))


def test_a_default_extra_must_be_one(tmp_path: Path, wheel: Path) -> None:
    """Extras that METADATA does not have are refused with those that it has; a template may become any."""
    with (tmp_path / "out.whl").open("wb") as file, pytest.raises(UsageError) as caught:
        rewheel(wheel, file, Amendment(extras=(("nvidia", ("{sm}", "gpu")),)))
    assert caught.value.message == "`gpu`, a default extra for `nvidia`, is no extra of it: it has cpu"


@pytest.mark.parametrize(
    ("extras", "words", "hint"),
    [
        ({"gfx-942": ["cpu"]}, "`gfx-942`, which default extras are for, is no selector", "did you mean `gfx942`?"),
        (
            {"amd": ["device-{gfxx}"]},
            "`{gfxx}` is not a placeholder, in the default extras for `amd`",
            "known: `{gfx}`, `{family}`, `{sm}`, `{cuda_major}`, `{rocm_major}`",
        ),
    ],
)
def test_a_row_that_nobody_would_read_is_refused(extras: dict[str, list[str]], words: str, hint: str) -> None:
    """Selectors and placeholders that gpuenv does not know are typos: whoever locks would pass over them."""
    with pytest.raises(UsageError) as caught:
        check_extras(checked(extras), ["cpu"])
    assert caught.value.message == words
    assert caught.value.hints == (hint,)


def test_links_have_no_place_in_a_wheel(tmp_path: Path) -> None:
    """A wheel with entries that are links can become a bundle with additions, and no wheel."""
    wheel = make_wheel(tmp_path, "demo", files={"demo/a.so": "x"}, links={"demo/b.so": "a.so"})
    with (tmp_path / "out.whl").open("wb") as file, pytest.raises(UsageError, match="has symbolic links"):
        rewheel(wheel, file, BOTH)


def test_without_record_nothing_is_added(tmp_path: Path, wheel: Path) -> None:
    """A wheel that lists no files is none."""
    path = tmp_path / "bare.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{INFO}/METADATA", "Name: demo\n")
    with (tmp_path / "out.whl").open("wb") as file, pytest.raises(ArchiveError, match="has no RECORD"):
        rewheel(path, file, Amendment(b"{}", "x"))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"Metadata-Version: 2.1\nName: x\n", b"Metadata-Version: 2.1\nKeywords: gpuenv-default-extras\nName: x\n"),
        (b"Name: x\n\nKeywords: y\n", b"Keywords: gpuenv-default-extras\nName: x\n\nKeywords: y\n"),
        (b"Name: x\nkeywords: a,\n  b\n", b"Name: x\nkeywords: gpuenv-default-extras,a,\n  b\n"),
        (b"Name: x\r\nKeywords:\r\n\r\ny", b"Name: x\r\nKeywords:gpuenv-default-extras\r\n\r\ny"),
        (b"Keywords: a gpuenv-default-extras\n", b"Keywords: a gpuenv-default-extras\n"),
    ],
)
def test_the_keyword_is_one_of_several(before: bytes, after: bytes) -> None:
    """It comes into the field that is there, or in one of its own; the description is left alone; twice is once."""
    assert with_keyword(before) == after
    assert with_keyword(after) == after
    assert parse_metadata(after).default_extras_by == ()
