"""Device code that lives in distributions of its own: which GPUs nothing of a runtime serves."""

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from gpuenv.model.answer import Solution
from gpuenv.model.distribution import Catalog, Metadata
from gpuenv.model.facts import DeviceCode, NativeFacts, ObjectFacts
from gpuenv.model.requirement import parse_requirement
from gpuenv.model.rules import NativeRules, PackageRules, Scan
from gpuenv.model.target import Target
from gpuenv.solve import Task
from gpuenv.solve.device import matters_by_metadata
from tests.support.scenario import World, gather, world_of

NATIVE = ["py3-none-manylinux_2_28_x86_64"]
MI300 = Target("mi300", gpu=("gfx942",))


def loose(path: str, architectures: Iterable[str]) -> ObjectFacts:
    """A file of device code: of AMD's with features, of NVIDIA's with the PTX ISA, `compute_90@9.0`."""
    codes = []
    for text in architectures:
        arch, *features = text.split(":")
        arch, _, isa = arch.partition("@")
        if arch.startswith("gfx"):
            codes.append(DeviceCode("amd", "code-object", arch, tuple(features)))
        else:
            codes.append(DeviceCode("nvidia", "ptx" if isa else "sass", arch, isa=isa or None))
    return ObjectFacts(path, 1, "bundle", device_code=tuple(codes))


def world(
    parts: Mapping[str, Iterable[str]],
    *,
    more: Mapping[str, Any] | None = None,
    runtime: Mapping[str, Any] | None = None,
) -> World:
    """A runtime `foo` with an extra for each part, by its name after `device-`, and one for all; other distributions.

    parts: the architectures that each has code for, as files.
    """
    extras = [f"device-{name}" for name in parts]
    lines = [f"foo-{extra}==1.0; extra == '{extra}'" for extra in extras]
    lines += [f"foo-{extra}==1.0; extra == 'device-all'" for extra in extras]
    told = {"wheels": NATIVE, "requires": lines, "extras": [*extras, "device-all"], "carries": ["libfoo.so.1"]}
    packages = {"foo": {"1.0": {**told, **(runtime or {})}}}
    packages |= {f"foo-{extra}": {"1.0": {"wheels": NATIVE, "requires": ["foo==1.0"]}} for extra in extras}
    found = world_of({**packages, **(more or {})}, {})
    for name, architectures in parts.items():
        put(found, f"foo-device-{name}", architectures)
    return found


def put(found: World, name: str, architectures: Iterable[str]) -> None:
    """Give the wheel of a distribution a file of device code, beside what it has."""
    key = found.pages[name].releases[0].wheels[0].key
    objects = (*found.facts[key].objects, loose(f"{name}.co", architectures))
    found.facts[key] = NativeFacts(None, 1, objects=objects)


def told(found: World, *roots: str, target: Target = MI300, rules: NativeRules | None = None) -> list[str]:
    """The warnings of a solve."""
    project = {"project": tuple(map(parse_requirement, roots))}
    answer = gather(Task("app", "", project, target, Catalog({}, {}, {}), rules=rules or NativeRules()), found)
    assert isinstance(answer, Solution), answer
    return list(answer.warnings)


TWO = {"gfx90a": ["gfx90a"], "gfx942": ["gfx942"]}
ONLY = "foo 1.0: none of its parts has code for {} (foo-device-gfx90a: gfx90a)"
BARE = "foo 1.0 was taken without device code for {}"


@pytest.mark.parametrize(
    ("root", "gpus", "expected"),
    [
        ("foo[device-gfx942]", ["gfx942"], []),
        ("foo[device-all]", ["gfx90a", "gfx942"], []),
        ("foo-device-gfx942", ["gfx942"], []),
        ("foo[device-gfx90a]", ["gfx942"], [ONLY.format("gfx942") + '; name "foo[device-gfx942]"']),
        ("foo-device-gfx90a", ["gfx90a", "gfx942"], [ONLY.format("gfx942") + '; name "foo[device-gfx942]"']),
        ("foo[device-gfx90a]", ["gfx1151", "gfx1100"], [ONLY.format("gfx1151, gfx1100")]),
        (
            "foo[device-all]",
            ["gfx1151"],
            [ONLY.format("gfx1151").replace(")", "; foo-device-gfx942: gfx942)")],
        ),
        ("foo", ["gfx942"], [BARE.format("gfx942") + ': name "foo[device-gfx942]"']),
        ("foo[]", ["gfx90a", "gfx942"], [BARE.format("gfx90a, gfx942") + ': name "foo[device-gfx90a,device-gfx942]"']),
        (
            "foo[]",
            ["gfx1151"],
            [BARE.format("gfx1151") + ", and has no extra for it (it has device-gfx90a, device-gfx942)"],
        ),
        ("foo", ["sm_90"], []),
        ("foo", [], []),
    ],
)
def test_each_gpu_is_served_by_some_part(root: str, gpus: list[str], expected: list[str]) -> None:
    """A GPU that no part of a runtime serves is told of, with what there is and the requirement that would help."""
    assert told(world(TWO), root, target=Target("t", gpu=tuple(gpus))) == expected


def test_code_for_several_gpus_serves_each() -> None:
    """What counts is whether code runs: generic code, and code for GPUs that a part is not named for."""
    assert told(world({"gfx9-4-generic": ["gfx9-4-generic"]}), "foo[device-gfx9-4-generic]") == []
    assert told(world({"gfx90a": ["gfx90a", "gfx942"]}), "foo[device-all]") == []
    wants = told(world({"gfx9-4-generic": ["gfx9-4-generic"]}), "foo")
    assert wants == [BARE.format("gfx942") + ': name "foo[device-gfx9-4-generic]"']


def test_features_must_fit() -> None:
    """A part whose code is for other features serves nothing, and its own extra is not offered as the remedy."""
    parts = {"gfx90a": ["gfx90a:xnack+"]}
    off = Target("t", gpu=("gfx90a:xnack-",))
    assert told(world(parts), "foo[device-gfx90a]", target=off) == [
        "foo 1.0: none of its parts has code for gfx90a:xnack- (foo-device-gfx90a: gfx90a:xnack+)"
    ]
    assert told(world(parts), "foo[device-gfx90a]", target=Target("t", gpu=("gfx90a:xnack+",))) == []


def test_nvidia() -> None:
    """The rule is about either vendor."""
    found = world({"sm-90": ["sm_90"]})
    assert told(found, "foo[device-sm-90]", target=Target("t", gpu=("sm_90",), cuda="13.0")) == []
    assert told(found, "foo[device-sm-90]", target=Target("t", gpu=("sm_75",), cuda="13.0")) == [
        "foo 1.0: none of its parts has code for sm_75 (foo-device-sm-90: sm_90)"
    ]
    assert told(found, "foo", target=Target("t", gpu=("sm_90",), cuda="13.0")) == [
        BARE.format("sm_90") + ': name "foo[device-sm-90]"'
    ]


def test_ptx_must_be_compiled_by_the_driver() -> None:
    """PTX that is too new for the driver serves nothing, nor does any where the target says so."""
    found = world({"sm-90": ["compute_90@9.0"]})
    for target, expected in (
        (Target("t", gpu=("sm_90",), cuda="13.0"), 0),
        (Target("t", gpu=("sm_90",), cuda="12.8"), 1),
        (Target("t", gpu=("sm_90",), cuda="13.0", ptx=False), 1),
    ):
        assert len(told(found, "foo[device-sm-90]", target=target)) == expected


def test_runtimes_own_code_counts() -> None:
    """A runtime that serves the GPU by a library, or by a file of code for several GPUs, needs no part."""
    fat = world(TWO, runtime={"device": ["gfx942"]})
    assert told(fat, "foo") == told(fat, "foo[device-gfx90a]") == []
    files = world(TWO)
    put(files, "foo", ["gfx942", "gfx1100"])
    assert told(files, "foo") == told(files, "foo[device-gfx90a]") == []


def test_exceptions() -> None:
    """Nothing is said of a package that the project trusts or lets run on the CPU, nor where no wheel is read."""
    trusted = NativeRules(packages={"foo": PackageRules(gpu_code="trust")})
    for root in ("foo", "foo[device-gfx90a]"):
        assert told(world(TWO), root)
        assert told(world(TWO), root, rules=trusted) == []
        assert told(world(TWO), root, rules=NativeRules(scan=Scan.NONE)) == []
        assert told(world(TWO), root, target=Target("t", gpu=("gfx942",), cpu_fallback=("foo",))) == []
    assert told(world(TWO), "foo", target=Target("t", gpu=("gfx942",), gpu_code="forbid")) == []


def test_a_rule_for_the_gpu_is_believed() -> None:
    """What default extras say for a GPU, be it none, is meant so; a bare requirement that no rule is about is told."""
    for extras in ((), ("tools",), ("device-gfx942",)):
        runtime = {"extras": ["device-gfx942", "tools"], "requires": ["foo-device-gfx942; extra == 'device-gfx942'"]}
        found = world({"gfx942": ["gfx942"]}, runtime={**runtime, "default-extras": {"gfx942": extras}})
        assert told(found, "foo") == []
    assert told(found, "foo[]") == [BARE.format("gfx942") + ': name "foo[device-gfx942]"']
    found = world({"gfx942": ["gfx942"]}, runtime={**runtime, "default-extra": ["tools"]})
    assert told(found, "foo") == [BARE.format("gfx942") + ': name "foo[device-gfx942]"']


def test_parts_that_nobody_read_are_believed() -> None:
    """A part for any machine is not read: nothing is said of its runtime."""
    found = world(
        {},
        runtime={
            "requires": ["kernels==1.0; extra == 'device-gfx942'", "foo-device-gfx90a==1.0; extra == 'device-gfx90a'"],
            "extras": ["device-gfx942", "device-gfx90a"],
        },
        more={"kernels": {"1.0": {}}, "foo-device-gfx90a": {"1.0": {"wheels": NATIVE, "requires": ["foo"]}}},
    )
    put(found, "foo-device-gfx90a", ["gfx90a"])
    assert told(found, "foo[device-gfx942]") == []
    assert told(found, "foo[device-gfx942,device-gfx90a]") == []


def test_extras_may_name_other_runtimes() -> None:
    """A distribution for any machine that has parts itself may stand beside a part; each has its own to be told of."""
    rocm = {"extras": ["device-gfx90a"], "requires": ["foo-device-gfx942; extra == 'device-gfx90a'"]}
    runtime = {
        "extras": ["device-gfx90a"],
        "requires": ["foo-device-gfx90a; extra == 'device-gfx90a'", "rocm[device-gfx90a]; extra == 'device-gfx90a'"],
    }
    found = world(TWO, runtime=runtime, more={"rocm": {"1.0": rocm}})
    assert told(found, "foo[device-gfx90a]") == [ONLY.format("gfx942")]
    found = world({"gfx90a": ["gfx90a"], "gfx942": ["gfx90a"]}, runtime=runtime, more={"rocm": {"1.0": rocm}})
    assert told(found, "foo[device-gfx90a]") == [
        ONLY.format("gfx942"),
        "rocm 1.0: none of its parts has code for gfx942 (foo-device-gfx942: gfx90a)",
    ]


def test_what_extras_bring_may_be_required_without_them() -> None:
    """Libraries with device code that a device extra would bring are there, whoever requires them."""
    runtime = {"extras": ["device-gfx942"], "requires": ["foo-rocm; extra == 'device-gfx942'"]}
    rocm = {"foo-rocm": {"1.0": {"wheels": NATIVE, "device": ["gfx942"]}}}
    found = world({}, runtime=runtime, more=rocm)
    assert told(found, "foo", "foo-rocm") == []
    assert told(found, "foo") == [BARE.format("gfx942") + ': name "foo[device-gfx942]"']


def test_an_extra_for_all_may_name_the_others() -> None:
    """`device-all` as an extra that takes extras of the same distribution brings all parts, itself it is none."""
    lines = ["foo-device-gfx942; extra == 'device-gfx942'", "foo[device-gfx942]; extra == 'device-all'"]
    found = world({"gfx942": ["gfx942"]}, runtime={"extras": ["device-gfx942", "device-all"], "requires": lines})
    assert told(found, "foo[device-all]") == []
    assert told(found, "foo") == [BARE.format("gfx942") + ': name "foo[device-gfx942]"']


def test_whose_part_it_is() -> None:
    """Without extras a part belongs to what it alone requires, if that was looked at, else to itself."""
    rocm = {"wheels": NATIVE, "carries": ["libfoo.so.1"]}
    found = world(
        {},
        more={
            "rocm-base": {"1.0": rocm},
            "rocm-one": {"1.0": {"wheels": NATIVE, "requires": ["rocm-base"]}},
            "rocm-two": {"1.0": {"wheels": NATIVE, "requires": ["rocm-base"]}},
            "rocm-data": {"1.0": {"wheels": NATIVE, "requires": ["plain"]}},
            "plain": {"1.0": {"wheels": NATIVE}},
        },
    )
    for name, arch in {"rocm-one": "gfx90a", "rocm-two": "gfx942", "rocm-data": "gfx1100"}.items():
        put(found, name, [arch])
    assert told(found, "rocm-one", "rocm-two") == []
    assert told(found, "rocm-one") == ["rocm-base 1.0: none of its parts has code for gfx942 (rocm-one: gfx90a)"]
    assert told(found, "rocm-data") == ["rocm-data 1.0 has no code for gfx942 (only gfx1100)"]


def test_another_that_names_a_part_is_not_its_runtime() -> None:
    """An extra of an application may name one part: it is judged with the others of the runtime that it requires."""
    app = {"requires": ["foo-device-gfx90a; extra == 'tools'", "foo[device-gfx942]"], "extras": ["tools"]}
    assert told(world(TWO, more={"app-lib": {"1.0": app}}), "app-lib[tools]") == []


def test_loose_files_beside_libraries_are_no_part() -> None:
    """Who has binaries of its own has a compiler, or other code: numba has a test's."""
    found = world({}, more={"torch-numba": {"1.0": {"wheels": NATIVE, "carries": ["lib.so"], "requires": ["foo"]}}})
    put(found, "torch-numba", ["gfx90a"])
    assert told(found, "torch-numba") == []


@pytest.mark.parametrize(
    ("extras", "expected"),
    [(("device-gfx942",), True), (("device-sm-90",), True), (("device-all", "devel", "device-x"), False)],
)
def test_extras_by_architecture_matter(extras: tuple[str, ...], expected: bool) -> None:
    """A distribution with an extra for an architecture is read where there is a GPU."""
    assert matters_by_metadata(Metadata("foo", "1.0", None, (), {}, extras)) is expected
