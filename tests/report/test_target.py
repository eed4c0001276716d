"""Targets as words and as documents."""

from gpuenv.model.target import Target
from gpuenv.report.target import target_document, target_line, target_page

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
)


def test_line() -> None:
    """One line says all that a target says, and nothing that goes without saying."""
    assert target_line(PLAIN) == "linux-x86_64, glibc 2.28, Python 3.12, gfx942, ROCm 7.2, CPU fallback allowed"
    assert target_line(FULL) == (
        "linux-x86_64, glibc 2.28, Python 3.12, sm_90, CUDA 13.0, CPU x86-64-v3, CPU fallback allowed for bitsandbytes "
        "xgboost, GPU code forbidden, PTX not used, host libraries /opt/cuda/lib64 libnccl.so.*"
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
    ]


def test_document() -> None:
    """Every field is there, and an exception for some packages is an array of them."""
    found = target_document(FULL, [], [], taken=True)
    keys = ("cpu", "cpu_fallback", "gpu_code", "ptx", "host_libraries")
    assert [found[key] for key in keys] == [
        "x86-64-v3",
        ["bitsandbytes", "xgboost"],
        "forbid",
        False,
        ["/opt/cuda/lib64", "libnccl.so.*"],
    ]
    plain = target_document(PLAIN, [], [], taken=True)
    assert [plain[key] for key in keys] == [None, True, "allow", True, []]
