"""What artifacts ask of targets: real wheels of every kind, the rules one by one, and laws that hold for any facts."""

import random
import time
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuenv.model.facts import DeviceCode, NativeFacts, ObjectFacts, PythonModule, Units, decode_facts
from gpuenv.model.linkage import CpuLack, Linkage, Met, Role, linkage, runtime_majors
from gpuenv.model.rules import AllowedMissing, PackageRules
from gpuenv.model.target import Target
from gpuenv.model.verdict import Outcome

CASES = Path(__file__).resolve().parents[2] / "fixtures" / "linkage"
CPU = Target("cpu")
H100 = Target("h100", gpu=("sm_90",), cuda="13.0")
MI300 = Target("mi300", gpu=("gfx942",), rocm="7.2")


def cases() -> Iterator[Any]:
    for path in sorted(CASES.glob("*.toml")):
        for case in tomllib.loads(path.read_text("utf-8"))["case"]:
            yield pytest.param(
                path.stem, case, id=f"{path.stem}-{'-'.join(map(str, case['target'].values())) or 'cpu'}"
            )


def real(name: str) -> NativeFacts:
    facts = decode_facts((CASES / f"{name}.json").read_bytes())
    assert facts is not None
    return facts


def target_of(table: dict[str, Any]) -> Target:
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    return Target("t", **fields)


def names(found: Linkage, role: Role) -> list[str]:
    return [placed.path.rpartition("/")[2] for placed in found.roles if placed.role is role]


def sonames(found: Linkage, met: Met) -> list[str]:
    return [need.soname for need in found.needs if need.met is met]


def told(found: Linkage) -> list[str]:
    lines = []
    for verdict in found.verdicts:
        whole = verdict.coverage
        how = f" {whole.served}/{whole.units} {whole.best.name.lower()}" if whole.best is not None else ""
        lines.append(f"{verdict.gpu} {verdict.outcome.value}{how}")
    return lines


@pytest.mark.parametrize(("name", "case"), [*cases()])
def test_real_wheels(name: str, case: dict[str, Any]) -> None:
    """Every wheel of fixtures/linkage asks of each target what its page says, no more and no less."""
    found = linkage(real(name), target_of(case["target"]))
    every = [placed.path.rpartition("/")[2] for placed in found.roles]
    for key, role in (("asleep", Role.ASLEEP), ("plugins", Role.PLUGIN)):
        expected = every if case.get(key) == "all" else case.get(key, [])
        assert names(found, role) == expected, key
    for key, met in (("unmet", Met.UNMET), ("loaded", Met.LOADED), ("driver", Met.DRIVER)):
        assert sonames(found, met) == case.get(key, []), key
    assert [need.soname for need in found.optional] == case.get("optional", [])
    assert sorted({lack.version for lack in found.lacks}) == case.get("lacks", [])
    assert told(found) == case.get("verdicts", [])
    gaps = [f"{gap.path.rpartition('/')[2]} {gap.served}/{gap.units}" for v in found.verdicts for gap in v.gaps]
    assert gaps == case.get("gaps", [])
    assert found.runtime_major == case.get("runtime-major")


def test_every_case_has_both_files() -> None:
    """Facts without expectations, or expectations without facts, are noticed; each page says what it shows."""
    pages = {path.stem: tomllib.loads(path.read_text("utf-8")) for path in CASES.glob("*.toml")}
    assert pages.keys() == {path.stem for path in CASES.glob("*.json")}
    assert [name for name, page in pages.items() if not page["says"].endswith(".")] == []


def test_torch_is_cheap() -> None:
    """Torch's linkage takes a few milliseconds: the solver asks for hundreds of them."""
    facts = real("torch")
    linkage(facts, H100)
    started = time.perf_counter()
    for _ in range(5):
        linkage(facts, H100)
    assert (time.perf_counter() - started) / 5 < 0.05


def test_many_binaries_cost_no_square() -> None:
    """A thousand libraries, each of which loads a long chain of others, are judged in less than a second or two."""
    tops = [lib(f"m/t{at:04}.so", "l0000.so", f"libz.so.{at}") for at in range(1000)]
    chain = [lib(f"m/l{at:04}.so", f"l{at + 1:04}.so", rpath=("$ORIGIN",)) for at in range(1000)]
    started = time.perf_counter()
    found = linkage(wheel(*tops, *chain), H100)
    assert time.perf_counter() - started < 5
    assert [need.soname for need in found.unmet] == ["l1000.so"]


# the rules, one by one


def lib(path: str, *needed: str, **more: Any) -> ObjectFacts:
    base = {"size": 1, "format": "elf", "machine": "x86_64", "bits": 64, "type": "shared"}
    return ObjectFacts(path=path, needed=needed, **{**base, "soname": path.rpartition("/")[2], **more})


def module(path: str, *needed: str, **more: Any) -> ObjectFacts:
    return lib(path, *needed, **{"soname": None, "python": PythonModule(path, "", "PyInit_x"), **more})


def code(*archs: str, units: int = 1) -> dict[str, Any]:
    found = tuple(
        DeviceCode("amd", "code-object", arch) if arch.startswith("gfx") else DeviceCode("nvidia", "sass", arch)
        for arch in archs
    )
    return {"device_code": found, "units": (Units(tuple(range(len(archs))), units),)}


def wheel(*objects: ObjectFacts) -> NativeFacts:
    return NativeFacts(None, 1, objects=tuple(sorted(objects, key=lambda found: found.path)))


def role_of(found: Linkage, name: str) -> Role:
    return next(placed.role for placed in found.roles if placed.path.endswith(name))


def test_what_a_module_reaches_is_live_on_every_target() -> None:
    """A library that a module needs is loaded with it, be it for a GPU that is not there."""
    facts = wheel(module("a/_c.so", "libcuda_half.so"), lib("a/libcuda_half.so", "libcublas.so.13", **code("sm_90")))
    for target in (CPU, H100, MI300):
        found = linkage(facts, target)
        assert names(found, Role.LIVE) == ["_c.so", "libcuda_half.so"]
        assert sonames(found, Met.UNMET) == ["libcublas.so.13"]


def test_unreached_libraries_for_other_makers_sleep() -> None:
    """A library for CUDA, ROCm or oneAPI that no module needs sleeps where there is no such GPU, and says so."""
    facts = wheel(
        module("a/_c.so"),
        lib("a/liba.so", "libcudart.so.13"),
        lib("a/libb.so", "libamdhip64.so.7"),
        lib("a/libc.so", "libsycl.so.8"),
    )
    assert names(linkage(facts, CPU), Role.ASLEEP) == ["liba.so", "libb.so", "libc.so"]
    assert names(linkage(facts, H100), Role.ASLEEP) == ["libb.so", "libc.so"]
    found = linkage(facts, MI300)
    assert names(found, Role.ASLEEP) == ["liba.so", "libc.so"]
    assert found.roles[1].reason == "libcudart.so.13 is of CUDA, for which the target has no GPU"


def test_the_runtime_in_question_puts_others_to_sleep() -> None:
    """Of libraries for several CUDA majors those for the one in question are awake; by default the newest allowed."""
    facts = wheel(*(lib(f"a/lib{major}.so", f"libcudart.so.{major}", **code("sm_90")) for major in (11, 12, 13)))
    assert runtime_majors(facts, H100) == (11, 12, 13)
    assert runtime_majors(facts, CPU) == ()
    assert names(linkage(facts, H100), Role.LIVE) == ["lib13.so"]
    assert names(linkage(facts, replace(H100, cuda="12.4")), Role.LIVE) == ["lib12.so"]
    found = linkage(facts, H100, runtime_major=11)
    assert names(found, Role.LIVE) == ["lib11.so"]
    assert found.roles[1].reason == "libcudart.so.12 is of CUDA 12, not of CUDA 11"
    nothing = linkage(facts, H100, runtime_major=10)
    assert nothing.verdicts[0].outcome is Outcome.REFUSED


def test_one_of_several() -> None:
    """Modules that need one library in different versions exclude each other; what all of them need is needed."""
    facts = wheel(
        module("m/_4.so", "libav.so.4", "libx.so.1", "libm4.so"),
        module("m/_5.so", "libav.so.5", "libx.so.1", "libshared.so"),
        module("m/_6.so", "libav.so.6", "libx.so.1", "libshared.so"),
        lib("m/libm4.so", "liby.so.1", "libshared.so"),
        lib("m/libshared.so", "libz9.so.1"),
    )
    found = linkage(facts, CPU)
    assert names(found, Role.PLUGIN) == ["_4.so", "_5.so", "_6.so", "libm4.so"]
    assert names(found, Role.LIVE) == ["libshared.so"]
    assert sonames(found, Met.UNMET) == ["libx.so.1", "libz9.so.1"]
    assert [need.soname for need in found.optional] == ["libav.so.4", "libav.so.5", "libav.so.6", "liby.so.1"]
    assert found.roles[1].reason == "one of several is opened; this one is for libav.so.5"


def test_several_versions_in_one_process_exclude_nothing() -> None:
    """A module that needs two versions of a library needs both."""
    facts = wheel(module("m/_c.so", "liba.so.1", "libb.so"), lib("m/libb.so", "liba.so.2"))
    assert sonames(linkage(facts, CPU), Met.UNMET) == ["liba.so.1", "liba.so.2"]


def test_plugins_ask_for_more() -> None:
    """An unreached library that needs what nothing else needs is a plugin; one that needs no more is live."""
    facts = wheel(
        module("m/_c.so", "liba.so.1"),
        lib("m/libplain.so", "liba.so.1"),
        lib("m/libodd.so", "libodbc.so.2", "libhelp.so"),
        lib("m/libhelp.so"),
    )
    found = linkage(facts, CPU)
    assert role_of(found, "libplain.so") is Role.LIVE
    assert role_of(found, "libodd.so") is Role.PLUGIN
    assert role_of(found, "libhelp.so") is Role.PLUGIN
    assert sonames(found, Met.UNMET) == ["liba.so.1"]
    assert [need.soname for need in found.optional] == ["libodbc.so.2"]


def test_the_gpu_half_is_no_plugin() -> None:
    """Needs of the target's own runtime, and device code for it, make an unreached library live."""
    facts = wheel(module("m/_c.so"), lib("m/a.so", "libcublas.so.13"), lib("m/b.so", "libodd.so.1", **code("sm_90")))
    found = linkage(facts, H100)
    assert names(found, Role.LIVE) == ["_c.so", "a.so", "b.so"]
    assert sonames(found, Met.UNMET) == ["libcublas.so.13", "libodd.so.1"]


def test_circles_of_libraries_have_roles() -> None:
    """Libraries that need each other, and nothing else needs, are opened by name like others."""
    facts = wheel(module("m/_c.so"), lib("m/a.so", "b.so", runpath=("$ORIGIN",)), lib("m/b.so", "a.so"))
    assert names(linkage(facts, CPU), Role.LIVE) == ["_c.so", "a.so", "b.so"]


def test_unfit_files_sleep() -> None:
    """Objects to link, debug information and binaries for other machines are never loaded."""
    facts = wheel(
        module("m/_c.so"),
        lib("m/a.o", "libodd.so.1", type="relocatable"),
        lib("m/b.so.debug", "libodd.so.1"),
        lib("m/c.so", "libodd.so.1", machine="aarch64"),
    )
    found = linkage(facts, CPU)
    assert names(found, Role.ASLEEP) == ["a.o", "b.so.debug", "c.so"]
    assert found.unmet == ()
    assert names(linkage(facts, replace(CPU, platform="linux-aarch64")), Role.LIVE) == ["c.so"]
    assert names(linkage(facts, Target("mac", platform="macos-arm64", glibc=None)), Role.LIVE) == []


def test_an_old_libc_lacks_symbol_versions() -> None:
    """Versions beyond the target's are named with their binaries; of a library that the wheel carries they are not."""
    wanted = {"libc.so.6": ("GLIBC_2.17", "GLIBC_2.34"), "libstdc++.so.6": ("GLIBCXX_3.4.30",)}
    old = module("m/_c.so", "libc.so.6", "libstdc++.so.6", versions_needed=wanted)
    found = linkage(wheel(old), CPU)
    assert [(lack.version, lack.objects) for lack in found.lacks] == [
        ("GLIBC_2.34", ("m/_c.so",)),
        ("GLIBCXX_3.4.30", ("m/_c.so",)),
    ]
    own = msgspec.structs.replace(old, runpath=("$ORIGIN",))
    assert [lack.version for lack in linkage(wheel(own, lib("m/libstdc++.so.6")), CPU).lacks] == ["GLIBC_2.34"]


def test_verdicts() -> None:
    """Served, refused, another vendor's or no code; a mixed set of GPUs has a verdict for each."""
    both = replace(H100, gpu=("sm_90", "sm_70"))
    found = linkage(wheel(module("m/_c.so", **code("sm_90", units=3))), both)
    assert told(found) == ["sm_90 served 3/3 exact", "sm_70 refused"]
    assert found.refused
    other = linkage(wheel(module("m/_c.so", **code("sm_90"))), MI300)
    assert told(other) == ["gfx942 other vendor"]
    assert not other.refused
    assert told(linkage(wheel(module("m/_c.so")), H100)) == ["sm_90 no code"]


def test_little_coverage_is_a_gap() -> None:
    """A binary with code in fewer than half of its containers is named, the worst first; makers' libraries are not."""
    half = {"device_code": code("sm_75", "sm_90")["device_code"], "units": (Units((0,), 9), Units((1,), 1))}
    facts = wheel(
        module("m/_a.so", **code("sm_90", units=5)),
        module("m/_b.so", **half),
        module("m/_c.so", **code("sm_75", units=2)),
        lib("m/libcublasLt.so.13", **half),
    )
    (verdict,) = linkage(facts, H100).verdicts
    assert [(gap.path, gap.served, gap.units) for gap in verdict.gaps] == [("m/_c.so", 0, 2), ("m/_b.so", 1, 10)]
    (verdict,) = linkage(facts, replace(H100, gpu=("sm_75",))).verdicts
    assert [(gap.path, gap.served) for gap in verdict.gaps] == [("m/_a.so", 0)]


def test_loose_device_code_refuses_nothing() -> None:
    """Files of device code beside binaries without any, or alone, serve where they fit and never refuse."""
    loose = ObjectFacts(
        path="m/a.cubin", size=1, format="elf", machine="cuda", device_code=code("sm_90")["device_code"]
    )
    old = replace(H100, gpu=("sm_70",))
    assert told(linkage(wheel(module("m/_c.so"), loose), H100)) == ["sm_90 no code"]
    assert told(linkage(wheel(loose), H100)) == ["sm_90 served 1/1 exact"]
    assert told(linkage(wheel(loose), old)) == ["sm_70 no code"]
    assert linkage(wheel(loose), old).roles == ()


# what the project and the target say


def ptx(*isas: str, arch: str = "compute_90", sass: str | None = None) -> dict[str, Any]:
    """PTX in containers of their own, and machine code in one more."""
    texts = tuple(DeviceCode("nvidia", "ptx", arch, isa=isa) for isa in isas)
    return {"device_code": (*texts, *([DeviceCode("nvidia", "sass", sass)] if sass else []))}


def test_rules_wake_a_binary_and_what_it_needs() -> None:
    """A plugin that the project calls live is live, with the reason; so is what it loads, and its needs count."""
    facts = wheel(
        module("m/_c.so"),
        lib("m/plugins/libodd.so", "libodbc.so.2", "libhelp.so"),
        lib("m/plugins/libhelp.so", "libx.so.1"),
    )
    assert names(linkage(facts, CPU), Role.PLUGIN) == ["libhelp.so", "libodd.so"]
    found = linkage(facts, CPU, rules=PackageRules(live=("m/plugins/libodd*",)))
    assert names(found, Role.LIVE) == ["_c.so", "libhelp.so", "libodd.so"]
    assert sonames(found, Met.UNMET) == ["libodbc.so.2", "libx.so.1"]
    assert found.optional == ()
    reasons = {placed.path: placed.reason for placed in found.roles}
    assert reasons["m/plugins/libodd.so"] == "tool.gpuenv.packages says that it is loaded"
    assert reasons["m/plugins/libhelp.so"] == "a library that is loaded needs it"


def test_rules_wake_what_the_runtime_puts_to_sleep() -> None:
    """What is said comes before all that is judged: another maker's library is live, one for another machine cannot."""
    facts = wheel(module("m/_c.so"), lib("m/a.so", "libamdhip64.so.7"), lib("m/b.so", machine="aarch64"))
    found = linkage(facts, H100, rules=PackageRules(live=("m/*",)))
    assert names(found, Role.LIVE) == ["_c.so", "a.so"]
    assert sonames(found, Met.UNMET) == ["libamdhip64.so.7"]


def test_rules_put_a_binary_to_sleep() -> None:
    """A dormant binary asks for nothing, nor does what only it loads; others are met by it all the same."""
    facts = wheel(
        module("m/_c.so", "libhalf.so", "libz9.so.1"),
        module("m/_gpu.so", "libhalf.so", "libcudart.so.11", **code("sm_70")),
        lib("m/libhalf.so", "libhelp.so", "liby.so.1"),
        lib("m/libhelp.so", "libx.so.1"),
    )
    found = linkage(facts, H100, rules=PackageRules(dormant=("*/_gpu.so", "*/libhalf.so")))
    assert names(found, Role.LIVE) == ["_c.so"]
    assert names(found, Role.ASLEEP) == ["_gpu.so", "libhalf.so", "libhelp.so"]
    assert sonames(found, Met.UNMET) == ["libz9.so.1"]
    assert sonames(found, Met.LOADED) == ["libhalf.so"]
    reasons = {placed.path: placed.reason for placed in found.roles}
    assert reasons["m/libhalf.so"] == "tool.gpuenv.packages says that it is never loaded"
    assert reasons["m/libhelp.so"] == "only sleeping binaries need it"
    assert linkage(facts, H100).refused
    assert told(found) == ["sm_90 no code"]
    assert found.own_code == ()
    assert runtime_majors(facts, H100) == (11,)
    assert found.runtime_major is None


def test_dormant_binaries_decide_nothing() -> None:
    """What is never loaded neither makes a plugin of what loads it, nor has a say in what excludes what."""
    facts = wheel(module("m/_c.so"), lib("m/libtop.so", "libhalf.so"), lib("m/libhalf.so", "libodbc.so.2"))
    assert role_of(linkage(facts, CPU), "libtop.so") is Role.PLUGIN
    assert role_of(linkage(facts, CPU, rules=PackageRules(dormant=("*/libhalf.so",))), "libtop.so") is Role.LIVE
    both = module("m/_both.so", "libav.so.4", "libav.so.5")
    facts = wheel(module("m/_4.so", "libav.so.4"), module("m/_5.so", "libav.so.5"), both)
    assert names(linkage(facts, CPU), Role.PLUGIN) == []
    assert names(linkage(facts, CPU, rules=PackageRules(dormant=("*_both*",))), Role.PLUGIN) == ["_4.so", "_5.so"]


def test_live_wins_over_dormant() -> None:
    """`dormant = ["*"]` with exceptions: what both patterns name is live."""
    facts = wheel(module("m/_c.so", "liba.so.1"), module("m/_d.so", "libb.so.1"))
    found = linkage(facts, CPU, rules=PackageRules(dormant=("*",), live=("m/_d.so",)))
    assert sonames(found, Met.UNMET) == ["libb.so.1"]


def test_one_of_several_may_be_named() -> None:
    """Of modules that exclude each other the one that the project calls live is live, the others stay plugins."""
    facts = wheel(*(module(f"m/_{major}.so", f"libav.so.{major}", "libx.so.1") for major in (4, 5)))
    found = linkage(facts, CPU, rules=PackageRules(live=("m/_5.so",)))
    assert (names(found, Role.LIVE), names(found, Role.PLUGIN)) == (["_5.so"], ["_4.so"])
    assert sonames(found, Met.UNMET) == ["libav.so.5", "libx.so.1"]


def test_what_may_be_missing() -> None:
    """A need that some binaries may lack is allowed for these, and stays unmet for others."""
    facts = wheel(module("m/_a.so", "libodbc.so.2", "libq.so"), module("m/_b.so", "libodbc.so.2"))
    rules = PackageRules(missing=(AllowedMissing("libodbc.so.*", "m/_a*"), AllowedMissing("libq.so")))
    found = linkage(facts, CPU, rules=rules)
    assert [(need.soname, need.met, need.objects) for need in found.needs] == [
        ("libodbc.so.2", Met.ALLOWED, ("m/_a.so",)),
        ("libodbc.so.2", Met.UNMET, ("m/_b.so",)),
        ("libq.so", Met.ALLOWED, ("m/_a.so",)),
    ]
    assert [(need.soname, need.objects) for need in found.unmet] == [("libodbc.so.2", ("m/_b.so",))]
    assert found.optional == ()


def test_libraries_of_the_machine() -> None:
    """Sonames by pattern, and with a folder all of the runtime of the target's GPUs, are the machine's own."""
    facts = wheel(
        module("m/_c.so", "libamdhip64.so.7", "libcublas.so.13", "libodbc.so.2", "libfound.so"),
        lib("m/lib/libfound.so"),
    )
    target = replace(MI300, host_libraries=("/opt/rocm/lib", "libodbc.so.*", "libfound.so"))
    found = linkage(facts, target)
    assert [need.soname for need in found.hosted] == ["libamdhip64.so.7", "libodbc.so.2"]
    assert sonames(found, Met.UNMET) == ["libcublas.so.13"]
    assert sonames(found, Met.LOADED) == ["libfound.so"]  # the artifact's own comes before the machine's
    for elsewhere in (replace(CPU, host_libraries=target.host_libraries), replace(H100, host_libraries=("libodbc*",))):
        assert [need.soname for need in linkage(facts, elsewhere).hosted] == ["libodbc.so.2"]


def test_trusted_device_code() -> None:
    """A package whose device code is trusted is never refused, and has none that a target could forbid."""
    rules = PackageRules(gpu_code="trust")
    old, other = wheel(module("m/_c.so", **code("sm_70"))), wheel(module("m/_c.so", **code("gfx942")))
    assert [told(linkage(facts, H100)) for facts in (old, other)] == [["sm_90 refused"], ["sm_90 other vendor"]]
    for facts in (old, other):
        found = linkage(facts, H100, rules=rules)
        assert (told(found), found.refused, found.own_code) == (["sm_90 no code"], False, ())
    assert told(linkage(wheel(module("m/_c.so", **code("sm_90"))), H100, rules=rules)) == ["sm_90 served 1/1 exact"]


def test_ptx_newer_than_the_driver_serves_nobody() -> None:
    """PTX counts up to what the target's driver compiles; where it is too new, the verdict says what it would take."""
    facts = wheel(module("m/_c.so", **ptx("9.0", "8.8")))
    for target, expected in (
        (replace(H100, cuda=None), "served 2/2 jit"),
        (H100, "served 2/2 jit"),
        (replace(H100, cuda="12.9"), "served 1/2 jit"),
        (replace(H100, cuda=None, driver="575.51"), "served 1/2 jit"),
        (replace(H100, cuda=None, driver="900.1"), "served 2/2 jit"),
        (replace(H100, cuda="99.0"), "served 2/2 jit"),
        (replace(H100, cuda="12.8"), "refused"),
        (replace(H100, cuda=None, driver="570.86.10"), "refused"),
    ):
        found = linkage(facts, target)
        assert told(found) == [f"sm_90 {expected}"]
        assert found.verdicts[0].newer_ptx == ("8.8" if expected == "refused" else None)
    both = wheel(module("m/_c.so", **ptx("9.0", sass="sm_90")))
    (verdict,) = linkage(both, replace(H100, cuda="12.8")).verdicts
    assert (verdict.coverage.served, verdict.coverage.units, verdict.newer_ptx) == (1, 2, None)


def test_any_ptx_of_a_makers_library_counts() -> None:
    """A wheel that has nothing but a maker's library is not refused for PTX that is too new for the driver."""
    old = replace(H100, cuda="12.2")
    facts = wheel(lib("nvidia/lib/libcusparseLt.so.0", **ptx("8.7")))
    assert told(linkage(facts, old)) == ["sm_90 served 1/1 jit"]
    own = lib("m/libown.so", **ptx("8.7"))
    assert told(linkage(wheel(*facts.objects, own), old)) == ["sm_90 refused"]


def test_ptx_may_be_ruled_out() -> None:
    """With `ptx = false`, of the target or of the package, only machine code serves."""
    facts = wheel(module("m/_c.so", **ptx("8.0")))
    assert told(linkage(facts, H100)) == ["sm_90 served 1/1 jit"]
    assert told(linkage(facts, replace(H100, ptx=False))) == ["sm_90 refused"]
    found = linkage(facts, H100, rules=PackageRules(ptx=False))
    assert told(found) == ["sm_90 refused"]
    assert found.verdicts[0].newer_ptx is None


def test_code_of_its_own() -> None:
    """An artifact's own binaries with device code are named, asleep or not; a maker's library is not its own."""
    facts = wheel(
        module("m/_c.so", **code("sm_90")),
        lib("m/libhip.so", "libamdhip64.so.7", **code("gfx942")),
        lib("m/libcupti.so.13", **code("sm_90")),
        lib("m/libplain.so"),
    )
    for target in (CPU, H100, MI300):
        assert linkage(facts, target).own_code == ("m/_c.so", "m/libhip.so")
    loose = ObjectFacts(path="m/a.cubin", size=1, format="elf", machine="cuda", **code("sm_90"))
    assert linkage(wheel(loose), CPU).own_code == ("m/a.cubin",)
    assert linkage(wheel(module("m/_c.so"), loose), CPU).own_code == ()


def test_levels_of_processors() -> None:
    """What live binaries need beyond the target's processor, by level; not what a loader picks, nor what sleeps."""
    facts = wheel(
        module("m/_2.so", cpu="x86-64-v2"),
        module("m/_4.so", "libfast.so", cpu="x86-64-v4"),
        lib("m/libfast.so", cpu="x86-64-v4"),
        lib("m/glibc-hwcaps/x86-64-v3/libx.so", cpu="x86-64-v3"),
        lib("m/libodd.so", "libodbc.so.2", cpu="x86-64-v3"),
        module("m/_none.so"),
    )
    four = CpuLack("x86-64-v4", ("m/_4.so", "m/libfast.so"))
    assert linkage(facts, CPU).cpu == (CpuLack("x86-64-v2", ("m/_2.so",)), four)
    assert linkage(facts, replace(CPU, cpu="x86-64-v1")).cpu == (CpuLack("x86-64-v2", ("m/_2.so",)), four)
    assert linkage(facts, replace(CPU, cpu="x86-64-v3")).cpu == (four,)
    assert linkage(facts, replace(CPU, cpu="x86-64-v4")).cpu == ()
    program = lib("m/bin/tool", soname=None, type="executable", cpu="x86-64-v2")
    assert linkage(wheel(program), CPU).cpu == (CpuLack("x86-64-v2", ("m/bin/tool",)),)
    assert linkage(wheel(program, module("m/_c.so")), CPU).cpu == ()


# laws

_NAMES = st.sampled_from(["liba.so.1", "liba.so.2", "libb.so", "libc.so.6", "libcudart.so.12", "libcudart.so.13"])
_PATHS = st.lists(st.sampled_from(["$ORIGIN", "$ORIGIN/..", "$ORIGIN/../p", "/opt/lib", ""]), max_size=2).map(tuple)
_CODE = st.sampled_from([(), ("sm_90",), ("sm_70", "sm_90a"), ("gfx942",)])


@st.composite
def objects(draw: st.DrawFn) -> ObjectFacts:
    folder, name = draw(st.sampled_from(["", "p/", "p/q/"])), draw(_NAMES)
    archs = draw(_CODE)
    return lib(
        f"{folder}{draw(st.integers(0, 3))}-{name}",
        *draw(st.lists(_NAMES, max_size=4, unique=True)),
        soname=draw(st.sampled_from([None, name])),
        python=draw(st.sampled_from([None, None, PythonModule("m", "", "PyInit_m")])),
        rpath=draw(_PATHS),
        runpath=draw(_PATHS),
        **(code(*archs) if archs else {}),
    )


wheels = st.lists(objects(), max_size=7, unique_by=lambda found: found.path).map(lambda found: wheel(*found))
targets = st.sampled_from([CPU, H100, MI300, replace(CPU, glibc=None, musl="1.2"), replace(H100, cuda="12.2")])


@settings(max_examples=60)
@given(wheels, targets, st.randoms(use_true_random=False))
def test_order_does_not_matter(facts: NativeFacts, target: Target, rng: random.Random) -> None:
    """The same binaries in another order ask for the same."""
    shuffled = list(facts.objects)
    rng.shuffle(shuffled)
    assert linkage(msgspec.structs.replace(facts, objects=tuple(shuffled)), target) == linkage(facts, target)


@settings(max_examples=60)
@given(wheels)
def test_a_cpu_target_never_refuses(facts: NativeFacts) -> None:
    """Without GPUs there is nothing to serve, and no runtime in question."""
    found = linkage(facts, CPU)
    assert not found.refused
    assert found.verdicts == ()
    assert found.runtime_major is None


@settings(max_examples=60)
@given(wheels, targets)
def test_every_binary_has_one_role_and_every_need_of_a_live_one_an_answer(facts: NativeFacts, target: Target) -> None:
    """Nothing is left out: roles cover the binaries, and needs cover what live binaries need."""
    found = linkage(facts, target)
    assert [placed.path for placed in found.roles] == sorted(one.path for one in facts.objects)
    live = {placed.path for placed in found.roles if placed.role is Role.LIVE}
    wanted = {(one.path, soname) for one in facts.objects if one.path in live for soname in one.needed}
    answered = {(path, need.soname) for need in found.needs for path in need.objects}
    assert wanted <= answered
    assert {need.soname for need in found.optional}.isdisjoint(need.soname for need in found.needs)


@settings(max_examples=60)
@given(wheels, targets, st.sampled_from(["liba.so.1", "liba.so.2", "libb.so", "libcudart.so.13"]))
def test_a_provider_inside_meets_the_need_and_no_more(facts: NativeFacts, target: Target, soname: str) -> None:
    """A library added under an unmet soname meets it; where roles stay, it adds its own needs to what was unmet."""
    before = linkage(facts, target)
    if soname not in {need.soname for need in before.unmet}:
        return
    after = linkage(wheel(*facts.objects, lib(f"z/{soname}", "libnew.so.1")), target)
    assert soname not in {need.soname for need in after.unmet}
    old = {placed.path: placed.role for placed in before.roles}
    if all(placed.role is old.get(placed.path, Role.LIVE) for placed in after.roles):
        new = {need.soname for need in before.unmet} - {soname} | {"libnew.so.1"}
        assert {need.soname for need in after.unmet} == new


_PATTERNS = st.lists(st.sampled_from(["*", "p/*", "*liba*", "0-*", "*.13", "q"]), max_size=2).map(tuple)
_MISSING = st.lists(st.builds(AllowedMissing, st.sampled_from(["liba.*", "*", "libb.so"]), st.just("*")), max_size=2)
rules = st.builds(
    PackageRules,
    missing=_MISSING.map(tuple),
    live=_PATTERNS,
    dormant=_PATTERNS,
    gpu_code=st.sampled_from(["check", "trust"]),
    ptx=st.booleans(),
)


@settings(max_examples=80)
@given(wheels, targets, rules)
def test_rules_are_obeyed(facts: NativeFacts, target: Target, said: PackageRules) -> None:
    """Every binary has the role that is said of it; dormant ones ask for nothing; what may be missing is not unmet."""
    found = linkage(facts, target, rules=said)
    assert [placed.path for placed in found.roles] == sorted(one.path for one in facts.objects)
    for placed in found.roles:
        if any(fnmatchcase(placed.path, pattern) for pattern in said.live):
            assert placed.role is Role.LIVE
        elif any(fnmatchcase(placed.path, pattern) for pattern in said.dormant):
            assert placed.role is Role.ASLEEP
    asleep = {placed.path for placed in found.roles if placed.role is Role.ASLEEP}
    assert not any(asleep & set(need.objects) for need in found.needs)
    for need in found.unmet:
        assert not any(fnmatchcase(need.soname, one.soname) for one in said.missing)
    if said.gpu_code == "trust":
        assert {verdict.outcome for verdict in found.verdicts} <= {Outcome.SERVED, Outcome.NO_CODE}


@settings(max_examples=60)
@given(wheels, targets, st.sampled_from(["liba.so.*", "*", "libcudart.so.13", "/usr/local/lib"]))
def test_the_machine_only_takes_needs_away(facts: NativeFacts, target: Target, entry: str) -> None:
    """Libraries of the machine change no role and no need but those that they meet."""
    before, after = linkage(facts, target), linkage(facts, replace(target, host_libraries=(entry,)))
    assert after.roles == before.roles
    assert {*after.unmet, *(need._replace(met=Met.UNMET) for need in after.hosted)} == set(before.unmet)
    assert after.verdicts == before.verdicts
