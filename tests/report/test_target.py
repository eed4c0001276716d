"""Targets as words and as documents."""

from gpuenv.model.properties import Told, supported_properties
from gpuenv.model.target import Target
from gpuenv.report.target import supports_document, target_document, target_line, target_page, told_page

PLAIN = Target("plain", gpu=("gfx942",), rocm="7.2", cpu_fallback=True)
FULL = Target(
    "full",
    gpu=("sm_90",),
    cuda="13.0",
    cpu="x86-64-v3",
    cpu_fallback=("bitsandbytes", "xgboost"),
    gpu_code="forbid",
    ptx=False,
    host_libraries=("/opt/cuda/lib64", "libnccl.so.*"),
    properties=("x86_64 :: adx :: on",),
)


def test_line() -> None:
    """One line says all that a target says, and nothing that goes without saying."""
    assert target_line(PLAIN) == "linux-x86_64, glibc 2.28, Python 3.12, gfx942, ROCm 7.2, CPU fallback allowed"
    assert target_line(FULL) == (
        "linux-x86_64, glibc 2.28, Python 3.12, sm_90, CUDA 13.0, CPU x86-64-v3, CPU fallback allowed for bitsandbytes "
        "xgboost, GPU code forbidden, PTX not used, host libraries /opt/cuda/lib64 libnccl.so.*, "
        "properties x86_64 :: adx :: on"
    )


def test_page() -> None:
    """One row a key of the manifest, in its order."""
    rows = [line.split(None, 1) for line in target_page(FULL, [], []).splitlines()]
    assert [tuple(row) for row in rows[5:-1]] == [
        ("cuda", "13.0"),
        ("cpu", "x86-64-v3"),
        ("cpu-fallback", "allowed for bitsandbytes xgboost"),
        ("gpu-code", "forbidden"),
        ("ptx", "not used"),
        ("host-libraries", "/opt/cuda/lib64 libnccl.so.*"),
        ("properties", "x86_64 :: adx :: on"),
    ]


def test_document() -> None:
    """Every field is there, and an exception for some packages is an array of them."""
    found = target_document(FULL, [], [], taken=True)
    keys = ("cpu", "cpu_fallback", "gpu_code", "ptx", "host_libraries", "properties")
    assert [found[key] for key in keys] == [
        "x86-64-v3",
        ["bitsandbytes", "xgboost"],
        "forbid",
        False,
        ["/opt/cuda/lib64", "libnccl.so.*"],
        ["x86_64 :: adx :: on"],
    ]
    plain = target_document(PLAIN, [], [], taken=True)
    assert [plain[key] for key in keys] == [None, True, "allow", True, [], []]


def test_what_it_supports() -> None:
    """Features with the same values share a line, long lists are cut, and what only one GPU supports names it."""
    target = Target("two", gpu=("sm_80", "sm_86"), cpu="x86-64-v2")
    lines = target_page(target, [], [], supported_properties(target)).splitlines()
    older = "86_real, 85_real, 84_real, 83_real, 82_real, 81_real"
    instructions = "sse4_2, sse4_1, ssse3, sse3, cx16, lahf_lm, popcnt, … mmx (10)"
    assert lines[5:-1] == [
        "cpu           x86-64-v2",
        "supports      nvidia :: sm_arch :: 80_real, 80_virtual (sm_80)",
        "              x86_64 :: level :: v2, v1",
        f"              x86_64 :: {instructions} :: on",
        f"              nvidia :: sm_arch :: {older}, 80_real, 80_virtual (sm_86)",
    ]
    (first, second) = supports_document(target, supported_properties(target))
    assert (first["gpu"], second["gpu"]) == ("sm_80", "sm_86")
    (alone,) = supports_document(Target("none"), supported_properties(Target("none")))
    assert alone["gpu"] is None


def test_what_providers_told() -> None:
    """Each provider has its lines; one that found nothing says so."""
    told = [Told("npu-provider", "npu", ("npu :: type :: a", "npu :: type :: b")), Told("amd-provider", "amd", ())]
    assert told_page(told).splitlines() == [
        "npu-provider says  npu :: type :: a, b",
        "amd-provider says  nothing that this machine supports",
    ]
