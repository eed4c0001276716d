"""Which device code runs on which GPU."""

from itertools import product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gpuenv.model.architecture import (
    AMD_PROCESSORS,
    GENERICS,
    NVIDIA_ARCHITECTURES,
    Fit,
    Gpu,
    fit,
    nearest_gpu,
    parse_gpu,
    ptx_isa_of,
)
from gpuenv.model.facts import Code, DeviceCode

PROCESSORS = sorted(name for name in AMD_PROCESSORS.values() if not name.endswith("-generic"))
NVIDIA = st.builds(lambda major, minor: f"sm_{major}{minor}", st.integers(2, 20), st.integers(0, 9))
AMD = st.sampled_from(PROCESSORS) | st.from_regex(r"gfx1[3-9][0-9a-f]{2}", fullmatch=True)
SETTINGS = st.sampled_from(
    [(), ("xnack+",), ("xnack-",), ("sramecc+",), ("sramecc-", "xnack-"), ("sramecc+", "xnack+")]
)


def gpu(text: str) -> Gpu:
    """A GPU that can be parsed."""
    found = parse_gpu(text)
    assert found
    return found


def nvidia(arch: str, isa: str | None = None) -> Code:
    """`sm_90a` as SASS, `compute_90` as PTX."""
    return Code("nvidia", "sass" if arch.startswith("sm_") else "ptx", arch, 1, isa=isa)


def amd(target: str) -> Code:
    """`gfx90a:xnack+` as a code object."""
    arch, *features = target.split(":")
    return Code("amd", "code-object", arch, 1, tuple(features))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("sm_90", Gpu("nvidia", "sm_90", 9, 0)),
        ("sm_90a", Gpu("nvidia", "sm_90", 9, 0)),
        ("sm_103f", Gpu("nvidia", "sm_103", 10, 3)),
        ("sm_130", Gpu("nvidia", "sm_130", 13, 0)),
        ("gfx942", Gpu("amd", "gfx942")),
        ("gfx90a:xnack+:sramecc-", Gpu("amd", "gfx90a", features=("sramecc-", "xnack+"))),
        ("gfx1310", Gpu("amd", "gfx1310")),
        ("gfx1250-strict", Gpu("amd", "gfx1250-strict")),
    ],
)
def test_gpus_are_parsed(text: str, found: Gpu) -> None:
    """Names of both vendors, with AMD's settings, known or not yet; a code's suffix is not the GPU's."""
    assert parse_gpu(text) == found
    assert parse_gpu(str(found)) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "9.0",
        "90",
        "sm90",
        "sm_9",
        "sm_90b",
        "SM_90",
        "compute_90",
        "gfx94",
        "gfx94g",
        "gfx9-4-generic",
        "gfx90a:xnack",
        "gfx90a:",
        "gfx90a:xnack+:xnack-",
        "gfx942 ",
        "sm_90\n",
        "sm_٩٠",
        "amdgcn",
        "h100",
        "gfx11xx",
    ],
)
def test_other_texts_are_no_gpus(text: str) -> None:
    """Anything that is not exactly a name is None, a generic target too."""
    assert parse_gpu(text) is None


@given(st.text())
def test_parsing_never_raises(text: str) -> None:
    """Any text is a GPU that prints as one, or None; there may be a hint."""
    found = parse_gpu(text)
    assert found is None or parse_gpu(str(found)) == found
    near = nearest_gpu(text)
    assert near is None or parse_gpu(near)


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("sm90", "sm_90"),
        ("9.0", "sm_90"),
        ("compute_120", "sm_120"),
        ("SM_100", "sm_100"),
        ("gfx94", "gfx942"),
        ("gfx90a:xnak+", "gfx90a"),
        ("GFX1100", "gfx1100"),
        ("h100", None),
        ("", None),
    ],
)
def test_the_nearest_known_gpu(text: str, near: str | None) -> None:
    """Other spellings and typos have a hint, what is like nothing has none."""
    assert nearest_gpu(text) == near


@pytest.mark.parametrize(
    ("arch", "served"),
    [
        ("sm_80", {"sm_80": Fit.EXACT, "sm_86": Fit.COMPATIBLE, "sm_89": Fit.COMPATIBLE}),
        ("sm_86", {"sm_86": Fit.EXACT, "sm_89": Fit.COMPATIBLE}),
        ("sm_87", {"sm_87": Fit.EXACT}),
        ("sm_90", {"sm_90": Fit.EXACT}),
        ("sm_90a", {"sm_90": Fit.EXACT}),
        ("sm_100", {"sm_100": Fit.EXACT, "sm_103": Fit.COMPATIBLE, "sm_107": Fit.COMPATIBLE}),
        ("sm_100a", {"sm_100": Fit.EXACT}),
        ("sm_100f", {"sm_100": Fit.EXACT, "sm_103": Fit.COMPATIBLE}),
        ("sm_103f", {"sm_103": Fit.EXACT}),
        ("sm_101f", {"sm_101": Fit.EXACT, "sm_110": Fit.COMPATIBLE}),
        ("sm_120", {"sm_120": Fit.EXACT, "sm_121": Fit.COMPATIBLE}),
        ("sm_120f", {"sm_120": Fit.EXACT, "sm_121": Fit.COMPATIBLE}),
        ("sm_121f", {"sm_121": Fit.EXACT}),
        ("compute_110f", {"sm_110": Fit.JIT}),
        ("compute_100f", {"sm_100": Fit.JIT, "sm_103": Fit.JIT}),
        ("compute_103a", {"sm_103": Fit.JIT}),
        ("compute_100", dict.fromkeys(["sm_100", "sm_101", "sm_103", "sm_107", "sm_110", "sm_120", "sm_121"], Fit.JIT)),
        ("odd", {}),
    ],
)
def test_which_gpus_nvidia_code_serves(arch: str, served: dict[str, Fit]) -> None:
    """Of all known GPUs these and no others: minor versions upward, suffixes, systems on a chip on their own."""
    fits = {name: fit(nvidia(arch), gpu(name)) for name in NVIDIA_ARCHITECTURES}
    assert {name: found for name, found in fits.items() if found is not None} == served


def test_ptx_needs_a_driver_that_knows_it() -> None:
    """PTX in a newer ISA than the driver's is none; ISA versions compare as numbers; unknown ones are let pass."""
    one = gpu("sm_90")
    assert fit(nvidia("compute_80", "8.7"), one, driver_isa="8.7") is Fit.JIT
    assert fit(nvidia("compute_80", "8.8"), one, driver_isa="8.7") is None
    assert fit(nvidia("compute_80", "8.10"), one, driver_isa="8.9") is None
    assert fit(nvidia("compute_80", "9.0"), one, driver_isa="10.0") is Fit.JIT
    assert fit(nvidia("compute_80"), one, driver_isa="8.7") is Fit.JIT
    assert fit(nvidia("compute_80", "8.8"), one) is Fit.JIT
    assert fit(nvidia("sm_90", "8.8"), one, driver_isa="8.7") is Fit.EXACT
    assert fit(nvidia("compute_80", "odd"), one, driver_isa="8.7") is Fit.JIT
    assert fit(nvidia("compute_80", "9" * 9000), one, driver_isa="8.7") is Fit.JIT


@pytest.mark.parametrize(
    ("cuda", "isa"),
    [
        ("10.2", "6.5"), ("11.0", "7.0"), ("11.8", "7.8"), ("12.0", "8.0"), ("12.2", "8.2"), ("12.5", "8.5"),
        ("12.6", "8.5"), ("12.7", "8.6"), ("12.8", "8.7"), ("12.9", "8.8"), ("13.0", "9.0"), ("13.5", "9.5"),
        ("13", "9.0"), ("9.2", None), ("14.0", None), ("", None),
    ],
)  # fmt: skip
def test_the_ptx_of_a_cuda(cuda: str, isa: str | None) -> None:
    """CUDA's own compilers write the ISA of this table: NVRTC 12.2, 12.6, 12.8, 13.0 and 13.5 were run."""
    assert ptx_isa_of(cuda) == isa


def test_ptx_can_be_ruled_out() -> None:
    """Without PTX machine code serves alone, of NVIDIA's as of AMD's."""
    assert fit(nvidia("compute_80"), gpu("sm_90")) is Fit.JIT
    assert fit(nvidia("compute_80"), gpu("sm_90"), ptx=False) is None
    assert fit(nvidia("sm_90"), gpu("sm_90"), ptx=False) is Fit.EXACT
    assert fit(amd("gfx942"), gpu("gfx942"), ptx=False) is Fit.EXACT


def test_intermediate_code_serves_nothing() -> None:
    """LTO code and SPIR-V need a program that asks for them."""
    assert fit(Code("nvidia", "lto", "sm_90", 1), gpu("sm_90")) is None
    assert fit(Code("amd", "lto", "amdgcnspirv", 1), gpu("gfx942")) is None


@pytest.mark.parametrize(
    ("generic", "members", "strangers"),
    [
        ("gfx9-generic", "gfx900 gfx902 gfx904 gfx906 gfx909 gfx90c", "gfx908 gfx90a gfx942"),
        ("gfx9-4-generic", "gfx940 gfx941 gfx942 gfx950", "gfx90a gfx908"),
        ("gfx10-1-generic", "gfx1010 gfx1011 gfx1012 gfx1013", "gfx1030"),
        ("gfx10-3-generic", "gfx1030 gfx1031 gfx1032 gfx1033 gfx1034 gfx1035 gfx1036", "gfx1010 gfx1037"),
        ("gfx11-generic", "gfx1100 gfx1101 gfx1102 gfx1103 gfx1150 gfx1151 gfx1152 gfx1153", "gfx1170 gfx1104"),
        ("gfx12-generic", "gfx1200 gfx1201", "gfx1250 gfx1202"),
        ("gfx12-5-generic", "gfx1250 gfx1251", "gfx1200"),
    ],
)
def test_which_gpus_generic_code_serves(generic: str, members: str, strangers: str) -> None:
    """The members that LLVM lists, and no cousin by name."""
    assert {fit(amd(generic), gpu(name)) for name in members.split()} == {Fit.GENERIC}
    assert {fit(amd(generic), gpu(name)) for name in strangers.split()} == {None}
    assert set(GENERICS[generic]) == set(members.split())


@pytest.mark.parametrize(
    ("code", "machine", "served"),
    [
        ("gfx90a", "gfx90a", True),
        ("gfx90a", "gfx90a:xnack+", True),
        ("gfx90a:xnack-", "gfx90a", True),
        ("gfx90a:xnack+", "gfx90a", False),
        ("gfx90a:xnack+", "gfx90a:xnack+", True),
        ("gfx90a:xnack-", "gfx90a:xnack+", False),
        ("gfx90a:sramecc+", "gfx90a", True),
        ("gfx90a:sramecc-", "gfx90a", False),
        ("gfx90a:sramecc-:xnack+", "gfx90a:sramecc-:xnack+", True),
        ("gfx1250:xnack+", "gfx1250", True),
        ("gfx1251:xnack-", "gfx1251", False),
        ("gfx90a:sramecc+:xnack+", "gfx90a:xnack+", True),
        ("gfx906:sramecc+", "gfx906", False),
        ("gfx906:sramecc-", "gfx906", False),
        ("gfx906:sramecc-", "gfx906:sramecc-", True),
        ("gfx942:other+", "gfx942", False),
    ],
)
def test_settings_must_match(code: str, machine: str, served: bool) -> None:
    """What code states must be the GPU's setting, which is the driver's own where the user says nothing."""
    assert fit(amd(code), gpu(machine)) is (Fit.EXACT if served else None)


@given(AMD, AMD)
def test_amd_names_are_never_ordered(one: str, other: str) -> None:
    """Code for one processor serves that processor exactly, and no other one, whatever their numbers."""
    assert fit(amd(one), gpu(one)) is Fit.EXACT
    assert fit(amd(one), gpu(other)) is (Fit.EXACT if one == other else None)


@given(AMD, SETTINGS, SETTINGS)
def test_settings_only_take_away(name: str, stated: tuple[str, ...], machine: tuple[str, ...]) -> None:
    """Code that states nothing serves every setting; code that states something serves at most that much."""
    one = Gpu("amd", name, features=machine)
    assert fit(amd(name), one) is Fit.EXACT
    assert fit(amd(":".join((name, *stated))), one) in {Fit.EXACT, None}
    assert fit(amd(":".join((name, *machine))), one) is Fit.EXACT
    contrary = tuple(feature[:-1] + "-+"[feature[-1] == "-"] for feature in machine)
    assert fit(amd(":".join((name, *contrary))), one) is (None if machine else Fit.EXACT)


@given(NVIDIA, NVIDIA, st.sampled_from(["", "a", "f"]))
@example("sm_80", "sm_87", "f")
@example("sm_110", "sm_111", "f")
def test_laws_of_nvidia_code(one: str, other: str, suffix: str) -> None:
    """Code serves its own GPU exactly; no suffix serves more than plain code, no GPU an earlier or other major one."""
    assert fit(nvidia(one + suffix), gpu(one)) is Fit.EXACT
    ptx = one.replace("sm_", "compute_")
    plain, special = fit(nvidia(one), gpu(other)), fit(nvidia(one + suffix), gpu(other))
    there, own = gpu(other), gpu(one)
    if special is not None and (own.major, own.minor) != (10, 1):
        assert plain is not None
    if plain is not None:
        assert own.major == there.major and own.minor <= there.minor
    jit = fit(nvidia(ptx), there)
    assert jit is (Fit.JIT if (own.major, own.minor) <= (there.major, there.minor) else None)


def test_code_of_the_other_vendor_serves_nothing() -> None:
    """No code of one vendor serves a GPU of the other."""
    for name, other in product(PROCESSORS, NVIDIA_ARCHITECTURES):
        assert fit(amd(name), gpu(other)) is None
        assert fit(nvidia(other), gpu(name)) is None


def test_the_best_fit_is_the_smallest() -> None:
    """Exact before compatible before generic before PTX; sums of images are judged like images."""
    assert sorted(Fit) == [Fit.EXACT, Fit.COMPATIBLE, Fit.GENERIC, Fit.JIT]
    codes: list[Code | DeviceCode] = [
        amd("gfx11-generic"),
        amd("gfx1100"),
        DeviceCode("amd", "data", "gfx1100"),
        amd("gfx1101"),
    ]
    assert [fit(code, gpu("gfx1100")) for code in codes] == [Fit.GENERIC, Fit.EXACT, Fit.EXACT, None]
