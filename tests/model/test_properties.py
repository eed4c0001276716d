"""What targets support, as the published providers say of machines like them."""

import json

import pytest

from gpuenv.model.properties import Told, supported_properties, with_told
from gpuenv.model.target import Target
from gpuenv.model.variant_choice import rank
from gpuenv.model.variants import parse_property, parse_variants

INSTRUCTIONS = {
    # provider-variant-x86-64 0.0.1.post2 for archspec's x86_64_v2, _v3 and _v4
    "x86-64-v2": "sse4_2 sse4_1 ssse3 sse3 cx16 lahf_lm popcnt sse2 sse mmx",
    "x86-64-v3": "avx2 avx bmi2 bmi1 abm f16c fma movbe xsave "
    "sse4_2 sse4_1 ssse3 sse3 cx16 lahf_lm popcnt sse2 sse mmx",
    "x86-64-v4": "avx512bw avx512cd avx512dq avx512f avx512vl avx2 avx bmi2 bmi1 abm f16c fma movbe xsave "
    "sse4_2 sse4_1 ssse3 sse3 cx16 lahf_lm popcnt sse2 sse mmx",
}


def supported(target: Target, number: int = 0) -> dict[str, dict[str, tuple[str, ...]]]:
    """namespace -> feature -> values of one GPU of a target."""
    return {namespace: dict(features) for namespace, features in supported_properties(target)[number]}


@pytest.mark.parametrize(
    ("gpu", "values"),
    [
        # nvidia-variant-provider 0.0.1, as built into uv 0.13.9
        ("sm_50", "50_real 50_virtual"),
        ("sm_75", "75_real 74_real 73_real 72_real 71_real 70_real 70_virtual"),
        ("sm_90", "90_real 90_virtual"),
        ("sm_90a", "90_real 90_virtual"),
        ("sm_103", "103_real 102_real 101_real 100_real 100_virtual"),
        ("sm_121", "121_real 120_real 120_virtual"),
    ],
)
def test_sm_arch(gpu: str, values: str) -> None:
    """Code for this compute capability, then for older ones of its major version, then PTX for the first of them."""
    assert supported(Target("t", gpu=(gpu,)))["nvidia"] == {"sm_arch": tuple(values.split())}


def test_ptx_that_serves_nothing() -> None:
    """Where PTX serves no GPU, its properties are not supported."""
    assert supported(Target("t", gpu=("sm_86",), ptx=False))["nvidia"]["sm_arch"][-1] == "80_real"


def test_gpus_older_than_the_vocabulary() -> None:
    """A GPU that the provider has no words for supports nothing of its vendor."""
    assert "nvidia" not in supported(Target("t", gpu=("sm_37",)))


def test_cuda_bounds() -> None:
    """Lower bounds from the driver's CUDA down to 11, upper bounds from 15.20 down to the next version."""
    found = supported(Target("t", cuda="12.2"))["nvidia"]
    lower, upper = found["cuda_version_lower_bound"], found["cuda_version_upper_bound"]
    assert lower[:5] == ("12.2", "12.1", "12.0", "12", "11.20")
    assert (lower[-2:], len(lower)) == (("11.0", "11"), 4 + 22)
    assert (upper[:2], upper[19:24]) == (("15.20", "15.19"), ("15.1", "15.0", "15", "14.20", "14.19"))
    assert (upper[-2:], len(upper)) == (("12.4", "12.3"), 3 * 22 + 18)


@pytest.mark.parametrize(
    ("cuda", "lower", "upper"),
    [("10.2", 0, 5 * 22 + 18), ("11.0", 2, 4 * 22 + 20), ("15.20", 5 * 22, 0), ("16.0", 5 * 22 + 2, 0), ("99.0", 0, 0)],
)
def test_ends_of_the_bounds(cuda: str, lower: int, upper: int) -> None:
    """Bounds end with the vocabulary, and there are not arbitrarily many."""
    found = supported(Target("t", cuda=cuda)).get("nvidia", {})
    assert len(found.get("cuda_version_lower_bound", ())) == lower
    assert len(found.get("cuda_version_upper_bound", ())) == upper


def test_driver() -> None:
    """A driver stands for the CUDA it came with; one newer than all we know keeps lower bounds, and no upper ones."""
    assert supported(Target("t", driver="535.104"))["nvidia"] == supported(Target("t", cuda="12.2"))["nvidia"]
    newer = supported(Target("t", driver="9999"))["nvidia"]
    assert list(newer) == ["cuda_version_lower_bound"]
    assert "13.0" in newer["cuda_version_lower_bound"]
    assert "nvidia" not in supported(Target("t", driver="390.157"))


@pytest.mark.parametrize(
    ("gpu", "value"),
    # rocm-bootstrap 0.3.0 names the processor alone; LLVM's gfx1250-strict comes with gfx1250's package
    [("gfx942", "gfx942"), ("gfx90a:sramecc+:xnack-", "gfx90a"), ("gfx1250-strict", "gfx1250"), ("gfx1151", "gfx1151")],
)
def test_gfx_arch(gpu: str, value: str) -> None:
    """Of AMD's GPUs the processor, without features and without LLVM's generic targets."""
    assert supported(Target("t", gpu=(gpu,)))["amd"] == {"gfx_arch": (value,)}


def test_rocm_version() -> None:
    """ROCm as major and minor version, and no other one: versions of ROCm are not compatible by their order."""
    found = supported(Target("t", gpu=("gfx942",), rocm="7.2.1"))["amd"]
    assert list(found.items()) == [("gfx_arch", ("gfx942",)), ("rocm_version", ("7.2",))]


def test_each_gpu_of_a_target() -> None:
    """Every GPU has an answer of its own, in the order of the target, for a variant has to serve all of them."""
    target = Target("t", gpu=("gfx90a", "gfx942"), rocm="7.2")
    assert [supported(target, n)["amd"]["gfx_arch"] for n in (0, 1)] == [("gfx90a",), ("gfx942",)]
    assert len(supported_properties(Target("t"))) == 1
    assert supported(Target("t")).keys() == {"x86_64"}


@pytest.mark.parametrize("cpu", list(INSTRUCTIONS))
def test_levels_of_x86_64(cpu: str) -> None:
    """A level has those below it, and its instructions in the provider's order."""
    level, *others = supported(Target("t", cpu=cpu))["x86_64"].items()
    assert level == ("level", tuple(f"v{n}" for n in range(int(cpu[-1]), 0, -1)))
    assert others == [(name, ("on",)) for name in INSTRUCTIONS[cpu].split()]


@pytest.mark.parametrize("platform", ["linux-x86_64", "macos-x86_64", "windows-x86_64"])
def test_without_a_level(platform: str) -> None:
    """Who says nothing of the CPU has the oldest of its kind."""
    assert supported(Target("t", platform=platform))["x86_64"]["level"] == ("v1",)


@pytest.mark.parametrize("platform", ["linux-aarch64", "macos-arm64", "windows-arm64"])
def test_version_of_aarch64(platform: str) -> None:
    """Of 64-bit Arm the first version."""
    assert supported_properties(Target("t", platform=platform)) == ((("aarch64", (("version", ("8a",)),)),),)


def test_other_machines() -> None:
    """Machines that no provider is for support nothing."""
    assert supported_properties(Target("t", platform="linux-ppc64le")) == ((),)
    assert supported_properties(Target("t", platform="linux-i686")) == ((),)


def test_stated_properties() -> None:
    """Stated values go before those that follow, every GPU has them, and further namespaces come behind."""
    stated = (
        "x86_64 :: level :: v3",
        "intel :: device_ip :: 20.1.0",
        "x86_64 :: level :: v2",
        "x86_64 :: level :: v1",
        "x86_64 :: adx :: on",
    )
    for number in (0, 1):
        found = supported(Target("t", gpu=("sm_80", "sm_90"), properties=stated), number)
        assert found["x86_64"]["level"] == ("v3", "v2", "v1")
        assert list(found["x86_64"])[-1] == "adx"
        assert (list(found)[-1], found["intel"]) == ("intel", {"device_ip": ("20.1.0",)})


def test_all_of_it_are_properties() -> None:
    """What is supported can be written as properties, which a target may state."""
    target = Target("t", gpu=("gfx1250-strict",), rocm="7.2", cpu="x86-64-v4", properties=("tpu :: present :: false",))
    for namespace, features in supported_properties(target)[0]:
        for feature, values in features:
            assert all(str(parse_property(f"{namespace}::{feature}::{value}")) for value in values)


def test_variants_are_ranked_by_it() -> None:
    """The order decides: of variants that serve a GPU the one for it, of those for CUDA the one for the newest."""
    labels = {
        "newest": {"nvidia": {"cuda_version_lower_bound": ["13.0"]}},
        "new": {"nvidia": {"cuda_version_lower_bound": ["12.8"], "sm_arch": ["80_real", "90_real"]}},
        "jit": {"nvidia": {"cuda_version_lower_bound": ["12.8"], "sm_arch": ["90_virtual"]}},
        "old": {"nvidia": {"cuda_version_lower_bound": ["12"], "cuda_version_upper_bound": ["13"]}},
        "fast": {"x86_64": {"level": ["v3"]}},
        "null": {},
    }
    document = {
        "$schema": "https://variants-schema.wheelnext.dev/peps/825/v0.1.1.json",
        "default-priorities": {"namespace": ["nvidia", "x86_64"]},
        "variants": labels,
    }
    variants = parse_variants(json.dumps(document).encode())
    machines = supported_properties(Target("t", gpu=("sm_90",), cuda="12.9", cpu="x86-64-v3"))
    assert rank(variants, machines) == ["new", "jit", "old", "fast", "null"]


# what plugins told


def test_told_twice() -> None:
    """What follows from a target anyway is not stated once more."""
    target = Target("t", gpu=("gfx90a", "gfx942"))
    told = [Told("rocm-bootstrap", "amd", ("amd :: gfx_arch :: gfx942", "amd :: gfx_arch :: gfx90a"))]
    assert with_told(target, told) == target


def test_told_more() -> None:
    """A feature of which more is told is taken whole, for its order counts; the other vendor's is left out."""
    told = [
        Told("cpu", "x86_64", ("x86_64 :: level :: v2", "x86_64 :: level :: v1", "x86_64 :: sse2 :: on")),
        Told("rocm-bootstrap", "amd", ("amd :: gfx_arch :: gfx1036",)),
        Told("ascend", "ascend", ("ascend :: npu_type :: 910b",)),
    ]
    expected = ("x86_64 :: level :: v2", "x86_64 :: level :: v1", "ascend :: npu_type :: 910b")
    assert with_told(Target("t", gpu=("sm_90",)), told).properties == expected
    assert "amd :: gfx_arch :: gfx1036" in with_told(Target("t"), told).properties
