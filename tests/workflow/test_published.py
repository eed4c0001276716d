"""The table of published facts: what goes in comes out, the same bytes for the same facts."""

import hashlib
from pathlib import Path

import pytest

from gpuenv.errors import StoreError, UsageError
from gpuenv.model.distribution import Release, WheelFile
from gpuenv.model.facts import NativeFacts, ObjectFacts, PythonModule
from gpuenv.workflow.publish import parse_list
from gpuenv.workflow.published import SHIPPED, PublishedFacts, PublishedWheel, distribution_of, encode_table


def wheel(filename: str, digit: str, soname: str | None, module: bool = False) -> PublishedWheel:
    python = PythonModule("x", "", "PyInit_x") if module else None
    found = ObjectFacts(path="a.so", size=1, format="elf", soname=soname, python=python)
    return PublishedWheel(filename, NativeFacts(digit * 64, 5, objects=(found,)))


WHEELS = (
    wheel("nvidia_cublas-13.1-py3-none-linux_x86_64.whl", "1", "libcublas.so.13"),
    wheel("nvidia_cublas-13.2-py3-none-linux_x86_64.whl", "2", "libcublas.so.13"),
    wheel("other-1.0-py3-none-linux_x86_64.whl", "3", "libcublas.so.13"),
    wheel("module-1.0-py3-none-linux_x86_64.whl", "4", "module.so", module=True),
)


def test_round_trip(tmp_path: Path) -> None:
    """Facts are found by distribution and digest, providers by SONAME."""
    path = tmp_path / "facts.zip"
    path.write_bytes(encode_table(WHEELS))
    table = PublishedFacts(path)
    assert sorted(table.wheels()) == sorted(WHEELS)
    assert table.get("nvidia-cublas", "2" * 64) == WHEELS[1].facts
    assert table.get("nvidia-cublas", "3" * 64) is None
    assert table.get("unknown", "3" * 64) is None
    assert table.providers("libcublas.so.13") == ("nvidia-cublas", "other")
    assert table.providers("module.so") == ()


def test_providers(tmp_path: Path) -> None:
    """Private copies beside Python modules, modules themselves and compilers' libraries are provided by nobody."""

    def carrier(name: str, digit: str, *paths: str, module: bool = False) -> PublishedWheel:
        objects = [ObjectFacts(path=path, size=1, format="elf", soname=path.rpartition("/")[2]) for path in paths]
        python = PythonModule("m", "", "PyInit_m")
        objects += [ObjectFacts(path="m.so", size=1, format="elf", soname="m.so", python=python)] if module else []
        return PublishedWheel(f"{name}-1-py3-none-any.whl", NativeFacts(digit * 64, 1, objects=tuple(objects)))

    path = tmp_path / "facts.zip"
    torch = carrier(
        "torch", "1", "torch/lib/libtorch.so", "torch/lib/libgomp.so.1", "torch/lib/libcupti.so.13", module=True
    )
    grafted = carrier("numpy", "2", "numpy.libs/libopenblas-1.so", module=True)
    path.write_bytes(encode_table([torch, grafted, carrier("nvidia_cuda_cupti", "3", "nvidia/lib/libcupti.so.13")]))
    table = PublishedFacts(path)
    assert table.providers("libtorch.so") == ("torch",)
    assert table.providers("libcupti.so.13") == ("nvidia-cuda-cupti",)
    for soname in ("libgomp.so.1", "libopenblas-1.so", "m.so"):
        assert table.providers(soname) == ()


def test_same_facts_same_bytes() -> None:
    """The order in which wheels were read does not show."""
    assert encode_table(WHEELS) == encode_table(reversed(WHEELS))


def test_no_table(tmp_path: Path) -> None:
    """Where there is no table nothing is known; a damaged one is an error that says so."""
    assert PublishedFacts(tmp_path / "none.zip").get("x", "1" * 64) is None
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(encode_table(WHEELS)[:200])
    with pytest.raises(StoreError, match="published facts"):
        PublishedFacts(damaged).get("x", "1" * 64)


def test_shipped_table_is_whole() -> None:
    """Every entry of the table in this repository is of the present schema, and stands under its own name."""
    table = PublishedFacts(SHIPPED)
    count = 0
    for published in table.wheels():
        count += 1
        digest = str(published.facts.sha256)
        assert table.get(distribution_of(published.filename), digest) == published.facts
    assert count >= 100


def test_shipped_table_is_what_its_page_says() -> None:
    """The digest and the numbers in published/README.md are those of the table beside it."""
    page = (SHIPPED.parent / "README.md").read_text("utf-8")
    wheels = list(PublishedFacts(SHIPPED).wheels())
    assert hashlib.sha256(SHIPPED.read_bytes()).hexdigest() in page
    assert f"{len(wheels)} wheels of {len({distribution_of(wheel.filename) for wheel in wheels})} distributions" in page


def test_list() -> None:
    """A line is a requirement and patterns; pre-releases and yanked files stay out."""
    (line,) = parse_list("# why\n\ntorch >=2.9,<3 *-cp312-*x86_64.whl *none-any.whl # both\n", "wheels.txt")
    assert (str(line.requirement), line.patterns) == ("torch<3,>=2.9", ("*-cp312-*x86_64.whl", "*none-any.whl"))

    def release(version: str, *tags: str, yanked: str | None = None) -> Release:
        files = (WheelFile(f"torch-{version}-{tag}.whl", "u", yanked=yanked) for tag in tags)
        return Release(version, tuple(files))

    releases = [
        release("3.0", "py3-none-any"),
        release("2.10", "cp312-cp312-linux_x86_64", "cp311-cp311-linux_x86_64"),
        release("2.10rc1", "py3-none-any"),
        release("2.9.1", "py3-none-any", yanked="broken"),
        release("2.9", "py3-none-any"),
    ]
    assert [file.filename for file in line.wheels(releases)] == [
        "torch-2.10-cp312-cp312-linux_x86_64.whl",
        "torch-2.9-py3-none-any.whl",
    ]


def test_list_with_a_mistake() -> None:
    """The place of a line that is no requirement is told."""
    with pytest.raises(UsageError, match=r"wheels\.txt:2"):
        parse_list("torch\n>=2\n", "wheels.txt")
