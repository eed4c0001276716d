"""What a solve makes of binaries, as far as stories cannot tell: whose facts are asked for, and what a memo may do."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from gpuenv.model.answer import Conflict, Missing, Solution
from gpuenv.model.distribution import Catalog, WheelFile
from gpuenv.model.providers import ProviderTable
from gpuenv.model.requirement import parse_requirement
from gpuenv.model.rules import AllowedMissing, NativeRules, PackageRules, Scan
from gpuenv.model.target import Target
from gpuenv.solve import Task, solve
from tests.support.scenario import World, gather, world_of

NATIVE = ["cp312-cp312-manylinux_2_28_x86_64"]
UNCHECKED = ["cp312-cp312-linux_x86_64"]
CPU = Target("cpu")
FORBIDS = Target("lambda", gpu_code="forbid")
H100 = Target("h100", gpu=("sm_90",), cuda="13.0")
MI300 = Target("mi300", gpu=("gfx942",), rocm="7.2")
HIP, CUDART = "libamdhip64.so.7", "libcudart.so.13"
TABLE = ProviderTable(
    by_runtime={
        ("nvidia", 13): {CUDART: (parse_requirement("nvidia-cuda-runtime"),)},
        ("amd", 7): {HIP: (parse_requirement("rocm-sdk-core"),)},
    }
)


def task(*roots: str, target: Target = H100, **more: Any) -> Task:
    requirements = tuple(map(parse_requirement, roots))
    return Task("app", "", {"project": requirements}, target, Catalog({}, {}, {}), providers=TABLE, **more)


def catalog(world: World, keys: Iterable[str] = ()) -> Catalog:
    """All that any index says, and the native facts of some wheels."""
    return Catalog(world.pages, world.metadata, world.direct, {key: world.facts[key] for key in keys}, {})


def asked_for(question: Task, world: World) -> set[str]:
    """The names of the distributions whose native facts the solver asks for until it answers."""
    asked: dict[str, WheelFile] = {}
    while isinstance(answer := solve(replace(question, catalog=catalog(world, asked))), Missing):
        new = {wheel.key: wheel for wheel in answer.facts if wheel.key not in asked}
        assert new, f"{answer} asks for what is known"
        asked |= new
    return {wheel.filename.partition("-")[0] for wheel in asked.values()}


def mixed() -> World:
    """One wheel for each reason to read a wheel, and some that give none."""
    packages: dict[str, dict[str, Any]] = {
        "plain": {"wheels": NATIVE},
        "pure": {"requires": ["torch"]},
        "kernels-rocm": {"wheels": NATIVE},
        "companion": {"wheels": NATIVE, "requires": ["torch"]},
        "unchecked": {"wheels": UNCHECKED},
        "torch": {"wheels": NATIVE},
        "local": {"wheels": NATIVE},
    }
    versions = {"local": "1.0+rocm7.2"}
    return world_of({name: {versions.get(name, "1.0"): told} for name, told in packages.items()}, {})


NAMES = ("companion", "kernels-rocm", "local", "plain", "pure", "torch", "unchecked")
MAY_MATTER = {"companion", "kernels_rocm", "local", "torch", "unchecked"}


@pytest.mark.parametrize(
    ("scan", "target", "expected"),
    [
        (Scan.GPU, MI300, MAY_MATTER),
        (Scan.GPU, H100, MAY_MATTER),
        (Scan.GPU, CPU, set()),
        (Scan.GPU, FORBIDS, MAY_MATTER),
        (Scan.ALL, MI300, MAY_MATTER | {"plain"}),
        (Scan.ALL, CPU, MAY_MATTER | {"plain"}),
        (Scan.NONE, MI300, set()),
        (Scan.NONE, FORBIDS, set()),
    ],
    ids=lambda value: str(getattr(value, "name", "")),
)
def test_policy_says_whose_facts_are_asked_for(scan: Scan, target: Target, expected: set[str]) -> None:
    """With `gpu` what may matter to a GPU, where there is one or none may be; with `all` all that is native."""
    assert asked_for(task(*NAMES, target=target, rules=NativeRules(scan=scan)), mixed()) == expected


@pytest.mark.parametrize("platform", ["windows-x86_64", "macos-arm64"])
def test_only_elf_systems_have_every_wheel_read(platform: str) -> None:
    """`scan = "all"` asks for nothing where no ELF binary is loaded."""
    tags = {"windows-x86_64": "cp312-cp312-win_amd64", "macos-arm64": "cp312-cp312-macosx_14_0_arm64"}
    world = world_of({"plain": {"1.0": {"wheels": [tags[platform]], "needed": ["libodbc.so.2"]}}}, {})
    macos = "14.0" if platform.startswith("macos") else None
    target = Target("t", platform=platform, glibc=None, macos=macos)
    question = task("plain", target=target, rules=NativeRules(scan=Scan.ALL, native=("libodbc.so.2",)))
    assert asked_for(question, world) == set()
    answer = gather(question, world)
    assert isinstance(answer, Solution) and not answer.host and not answer.pins["plain"].host


def test_provider_is_read_whatever_its_name() -> None:
    """Who is said to bring a library is read for it, though nothing else connects the wheel with GPUs."""
    world = world_of(
        {
            "kernels-gpu": {"1.0": {"wheels": NATIVE, "device": ["gfx942"], "needed": ["libfoo.so.1"]}},
            "foo-libs": {"1.0": {"wheels": NATIVE, "carries": ["libfoo.so.1"]}},
            "bystander": {"1.0": {"wheels": NATIVE, "carries": ["libfoo.so.1"]}},
        },
        {},
    )
    rules = NativeRules(providers={"libfoo.so.1": (parse_requirement("foo-libs"),)})
    assert asked_for(task("bystander", "kernels-gpu", target=MI300, rules=rules), world) == {"kernels_gpu", "foo_libs"}


def test_older_releases_are_not_read_for_nothing() -> None:
    """One release that serves is enough: those below it are never asked for."""
    releases = {f"{number}.0": {"wheels": NATIVE, "device": ["gfx942"]} for number in range(1, 9)}
    releases["9.0"] = {"wheels": NATIVE, "device": ["gfx90a"]}
    world = world_of({"torch": releases}, {})
    question = task("torch", target=MI300)
    asked: list[WheelFile] = []
    while isinstance(answer := solve(replace(question, catalog=catalog(world, [w.key for w in asked]))), Missing):
        asked += answer.facts
    assert [wheel.filename.split("-")[1] for wheel in asked] == ["9.0", "8.0"]
    assert isinstance(answer, Solution) and answer.pins["torch"].version == "8.0"


def siblings() -> World:
    """A wheel for both makers and for two majors of each, and who brings their runtimes."""
    needs = {"cuda13": CUDART, "cuda12": "libcudart.so.12", "rocm7": HIP, "rocm6": "libamdhip64.so.6"}
    code = {"cuda": ["sm_90"], "rocm": ["gfx942"]}
    libraries = {f"bnb/{name}.so": {"device": code[name[:4]], "needed": [soname]} for name, soname in needs.items()}
    return world_of(
        {
            "bnb-gpu": {"1.0": {"wheels": NATIVE, "libraries": libraries}},
            "nvidia-cuda-runtime": {"13.0": {"wheels": NATIVE, "carries": [CUDART]}},
            "rocm-sdk-core": {"7.2": {"wheels": NATIVE, "carries": [HIP]}},
        },
        {},
    )


def tasks() -> Iterator[Task]:
    """Questions about the same wheels that differ in what may not leak through a memo."""
    old = Target("old", gpu=("sm_90",), cuda="12.8")
    dormant = NativeRules(packages={"bnb-gpu": PackageRules(dormant=("bnb/rocm7.so",))})
    missing = NativeRules(packages={"bnb-gpu": PackageRules(missing=(AllowedMissing("lib*.so.*"),))})
    yield from (task("bnb-gpu", target=target) for target in (H100, MI300, CPU, old))
    yield from (task("bnb-gpu", target=MI300, rules=rules) for rules in (dormant, missing))


@pytest.mark.parametrize("question", list(tasks()), ids=lambda question: question.target.name)
def test_memo_changes_no_answer(question: Task) -> None:
    """Solved again and again with one memo, the answer is that of a solve that knows nothing."""
    fresh = gather(replace(question, memo={}), siblings())
    memo: dict[Any, Any] = {}
    found = [gather(replace(question, memo=memo), siblings()) for _ in range(2)]
    assert found == [fresh, fresh]


def test_memo_is_shared_by_targets() -> None:
    """One memo for all targets of a lock mixes nothing up: what is kept is kept for each target."""
    memo: dict[Any, Any] = {}
    for target in (H100, MI300, CPU, H100, MI300):
        question = task("bnb-gpu", target=target, memo=memo)
        assert gather(question, siblings()) == gather(replace(question, memo={}), siblings())
    assert {name for _, name in memo} == {"h100", "mi300"}


def test_facts_that_nobody_asked_for_decide_nothing() -> None:
    """Facts of a wheel that the policy does not read may lie in the catalog, and the answer is the same without."""
    world = world_of({"plain": {"1.0": {"wheels": NATIVE, "device": ["sm_50"], "needed": ["libodbc.so.2"]}}}, {})
    question = task("plain")
    with_facts, without = (solve(replace(question, catalog=catalog(world, keys))) for keys in (world.facts, ()))
    assert with_facts == without
    assert isinstance(without, Solution)
    assert without.pins["plain"].facts is None and not without.pins["plain"].host and not without.warnings


def test_pin_says_with_which_runtime_it_is_used() -> None:
    """What a lock records of a wheel for several majors: the one it is used with, and whom it has it from."""
    rocm, cuda = (gather(task("bnb-gpu", target=target), siblings()) for target in (MI300, H100))
    assert isinstance(rocm, Solution) and isinstance(cuda, Solution)
    pins = rocm.pins["bnb-gpu"], cuda.pins["bnb-gpu"]
    assert [(pin.runtime, dict(pin.libraries), pin.facts) for pin in pins] == [
        (7, {"rocm-sdk-core": (HIP,)}, "read"),
        (13, {"nvidia-cuda-runtime": (CUDART,)}, "read"),
    ]


def test_index_is_asked_who_provides_only_where_something_is_missing() -> None:
    """What indexes say of providers is fetched for the first soname that nobody brings, and not before."""
    world = world_of(
        {
            "whole-gpu": {"1.0": {"wheels": NATIVE, "device": ["gfx942"], "needed": ["libc.so.6"]}},
            "needy-gpu": {"1.0": {"wheels": NATIVE, "device": ["gfx942"], "needed": [HIP]}},
        },
        {},
    )
    known = Catalog(world.pages, world.metadata, {}, world.facts, {})
    asking = [task(name, target=MI300, provides=("amd",)) for name in ("whole-gpu", "needy-gpu")]
    found = [solve(replace(question, catalog=known)) for question in asking]
    assert isinstance(found[0], Solution)
    assert found[1] == Missing(provides=("amd",))


def test_conflict_reads_nothing_more() -> None:
    """To explain a conflict no wheel is asked for that the search did not come to."""
    releases = {f"{number}.0": {"wheels": NATIVE, "device": ["gfx90a"]} for number in range(1, 6)}
    world = world_of({"torch": releases, "other": {"1.0": {"wheels": NATIVE}}}, {})
    assert asked_for(task("other", "torch>=3", target=MI300), world) == {"torch"}
    answer = gather(task("other", "torch>=3", target=MI300), world)
    assert isinstance(answer, Conflict)
    assert [refusal.version for refusal in answer.refusals] == ["5.0", "4.0", "3.0"]
