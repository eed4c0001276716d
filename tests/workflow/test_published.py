"""What is published with gpuenv: the table of facts, and the table of providers with its evidence."""

import hashlib
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from gpuenv.errors import StoreError, UsageError
from gpuenv.model.distribution import Release, WheelFile
from gpuenv.model.facts import NativeFacts, ObjectFacts, PythonModule
from gpuenv.model.linkage import linkage
from gpuenv.model.requirement import Requirement
from gpuenv.model.runtimes import runtime_of
from gpuenv.model.target import Target
from gpuenv.model.version import distribution_of, parse_specifier, parse_version
from gpuenv.workflow.publish import parse_list
from gpuenv.workflow.published import (
    PROVIDERS,
    SHIPPED,
    PublishedFacts,
    PublishedWheel,
    encode_table,
    read_providers,
    shipped_providers,
)


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


EVIDENCE = Path(__file__).resolve().parents[2] / "fixtures" / "providers" / "evidence.json"
# Opened by name by the library that they come with, or of the machine; nobody links against them.
PLUGINS = re.compile(r"nvshmem_.*|libcute_dsl_runtime\.so|libiket_.*|libsmodel_injection\.so|libOpenCL\.so\.1")


def rows() -> Iterator[tuple[str, str, Requirement]]:
    """Section, SONAME and provider of every row that is shipped."""
    table = shipped_providers()
    sections = {"any": table.any} | {f"{vendor} {major}": rows for (vendor, major), rows in table.by_runtime.items()}
    for section, known in sections.items():
        for soname, providers in known.items():
            yield from ((section, soname, provider) for provider in providers)


@cache
def evidence() -> Any:
    return json.loads(EVIDENCE.read_text("utf-8"))


@cache
def published(filename: str) -> NativeFacts | None:
    return PublishedFacts().get(distribution_of(filename), evidence()["sha256"][filename])


def has(soname: str, filename: str, path: str | None = None) -> bool | None:
    """Do the published facts say that a wheel has the library, there or anywhere? None where they do not know it."""
    facts = published(filename)
    found = [one for one in facts.objects if one.soname == soname] if facts else []
    return None if facts is None else any(path in (None, one.path) for one in found)


def test_every_provider_has_evidence() -> None:
    """Each row was looked for in wheels, and nothing else is in the evidence: `python fixtures/providers/make.py`."""
    assert {f"{section} | {soname} | {provider}" for section, soname, provider in rows()} == evidence()["rows"].keys()


def test_evidence_of_providers_is_what_the_rows_say() -> None:
    """The wheels that carry a SONAME are of releases that the row allows, those that lack it of others beside them."""
    carried = 0
    for section, soname, provider in rows():
        found = evidence()["rows"][f"{section} | {soname} | {provider}"]
        allowed = parse_specifier(provider.specifier)
        for filename, path in found.get("carried", ()):
            assert distribution_of(filename) == provider.name
            assert allowed.contains(parse_version(filename.split("-")[1]))
            assert has(soname, filename, path) in (True, None), f"{filename} has no {soname} at {path}"
            carried += has(soname, filename, path) is True
        for filename in found.get("absent", ()):
            assert distribution_of(filename) == provider.name
            assert not allowed.contains(parse_version(filename.split("-")[1]))
            assert has(soname, filename) in (False, None), f"{filename} has {soname}"
        # a row without a specifier claims every release, one with a specifier must have a reason for it
        assert bool(found.get("absent")) == bool(provider.specifier) or section.startswith("amd")
    assert carried >= 100


def test_unchecked_providers_are_those_of_amd() -> None:
    """Rows whose distribution could not be looked into are AMD's; that somebody needs the name is known of each."""
    for section, soname, provider in rows():
        found = evidence()["rows"][f"{section} | {soname} | {provider}"]
        assert ("carried" in found) != section.startswith("amd")
        assert ("needed" in found) == section.startswith("amd")
        if "needed" in found:
            filename, path = found["needed"]
            facts = published(filename)
            needing = [one for one in facts.objects if one.path == path] if facts else []
            assert facts is None or soname in needing[0].needed


def test_libraries_of_nvidia_have_providers() -> None:
    """Whatever NVIDIA's distributions of libraries carry in the published facts, the table says of them."""
    table, checked = shipped_providers(), set()
    for wheel in PublishedFacts().wheels():
        name, version = distribution_of(wheel.filename), parse_version(wheel.filename.split("-")[1])
        for one in wheel.facts.objects if name.startswith("nvidia-") else ():
            if one.soname is not None and one.for_host and not PLUGINS.fullmatch(one.soname):
                said = [row for row in table.of(one.soname) if row.name == name]
                assert any(parse_specifier(row.specifier).contains(version) for row in said), (
                    wheel.filename,
                    one.soname,
                )
                checked.add(one.soname)
    assert len(checked) >= 70


@pytest.mark.parametrize(
    ("target", "nobody"),
    [
        (Target("h100", gpu=("sm_90",), cuda="13.0"), set[str]()),
        (Target("h100", gpu=("sm_90",), cuda="12.8"), set[str]()),
        # onnxruntime-rocm 1.22.2.post1 is for ROCm 6, which no wheel brings; none brings the other vendor's driver
        (
            Target("mi300", gpu=("gfx942",), rocm="7.2"),
            {"libamdhip64.so.6", "libhipblas.so.2", "libmigraphx_c.so.3", "librocm_smi64.so.7", "libcuda.so.1"},
        ),
    ],
    ids=["cuda13", "cuda12", "rocm7"],
)
def test_what_gpu_wheels_lack_has_providers(target: Target, nobody: set[str]) -> None:
    """Each soname of a GPU runtime that a published wheel lacks on a target has a row, but for those nobody brings."""
    table, unmet = shipped_providers(), set()
    releases = {tuple(wheel.filename.split("-")[:2]): wheel for wheel in PublishedFacts().wheels()}
    for wheel in releases.values():
        unmet |= {need.soname for need in linkage(wheel.facts, target).unmet}
    managed = {soname for soname in unmet if runtime_of(soname)}
    assert len(managed) >= 30
    assert {soname for soname in managed if not table.knows(soname)} == nobody


def test_table_of_providers_has_a_digest() -> None:
    """The shipped table is read once, and its digest is that of the file."""
    assert shipped_providers() is shipped_providers()
    assert shipped_providers().digest == f"sha256:{hashlib.sha256(PROVIDERS.read_bytes()).hexdigest()}"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("version = 1\nany = ", "line 2"),
        ("version = 2", "version 2"),
        ('version = 1\n[any]\n"a.so" = 1', "any: a.so"),
        (None, "No such file"),
    ],
)
def test_useless_table_of_providers(tmp_path: Path, text: str | None, complaint: str) -> None:
    """A table that is no TOML, of another version or not there is an error that says so."""
    path = tmp_path / "providers.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(StoreError, match="table of providers") as caught:
        read_providers(path)
    assert complaint in caught.value.message
