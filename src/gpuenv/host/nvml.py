"""NVIDIA's management library (NVML), asked through ctypes: the driver's version, its CUDA level, and every GPU.

Function names, signatures and the encoding of versions are those of NVIDIA's "NVML API Reference Guide". A library that
is missing, refuses, lacks a function or does not answer in time is no error: then there is no answer.
"""

import ctypes
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Answer", "Gpu", "ask"]

PATIENCE = 20.0  # seconds for the whole talk; a driver that has to wake eight GPUs takes several
LIBRARY = "libnvidia-ml.so.1"
# Below a root, where the loader may not look by itself: WSL's folder, NixOS's.
FOLDERS = ("usr/lib/wsl/lib", "run/opengl-driver/lib")
_MOST_GPUS = 256
_TEXT = 96  # bytes: NVML_DEVICE_NAME_V2_BUFFER_SIZE, more than NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE


class Gpu(NamedTuple):
    """One GPU. number: NVML's index. major, minor: compute capability. name: as the driver says it, may be empty."""

    number: int
    major: int
    minor: int
    name: str


class Answer(NamedTuple):
    """What NVML says. driver: `580.65.06`, may be empty. cuda: the CUDA version it runs, None if unsaid."""

    driver: str
    cuda: tuple[int, int] | None
    gpus: tuple[Gpu, ...]


def ask(root: Path = Path("/"), patience: float = PATIENCE) -> Answer | None:
    """What the library says, at most `patience` seconds from now; None if it says nothing.

    root: other roots than `/` have their library in a folder of FOLDERS, or none at all.
    """
    answers: list[Answer] = []

    def talk() -> None:
        library = _load(root)
        if library is not None:
            answers.extend(_talk(library))

    # a call that never returns can only be left behind: the thread does not keep the process alive
    thread = threading.Thread(target=talk, name="nvml", daemon=True)
    thread.start()
    thread.join(patience)
    return answers[0] if answers else None


def _load(root: Path) -> ctypes.CDLL | None:
    names = [LIBRARY] if root == Path("/") else []
    for name in (*names, *(str(root / folder / LIBRARY) for folder in FOLDERS)):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def _talk(library: ctypes.CDLL) -> Iterator[Answer]:
    if not (_call(library, "nvmlInitWithFlags", ctypes.c_uint(0)) or _call(library, "nvmlInit_v2")):
        return
    try:
        yield Answer(_text(library, "nvmlSystemGetDriverVersion"), _cuda(library), tuple(_gpus(library)))
    finally:
        _call(library, "nvmlShutdown")


def _cuda(library: ctypes.CDLL) -> tuple[int, int] | None:
    number = ctypes.c_int()
    for name in ("nvmlSystemGetCudaDriverVersion_v2", "nvmlSystemGetCudaDriverVersion"):
        if _call(library, name, ctypes.byref(number)) and 1000 <= number.value < 100_000:
            return number.value // 1000, number.value % 1000 // 10
    return None


def _gpus(library: ctypes.CDLL) -> Iterator[Gpu]:
    """Those that answer: one that fell off the bus, or that this process may not use, does not hide the others."""
    count = ctypes.c_uint()
    if not _call(library, "nvmlDeviceGetCount_v2", ctypes.byref(count)):
        return
    for index in range(min(count.value, _MOST_GPUS)):
        handle, major, minor = ctypes.c_void_p(), ctypes.c_int(), ctypes.c_int()
        if not _call(library, "nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(handle)):
            continue
        if not _call(library, "nvmlDeviceGetCudaComputeCapability", handle, ctypes.byref(major), ctypes.byref(minor)):
            continue
        if 1 <= major.value <= 99 and 0 <= minor.value <= 9:
            yield Gpu(index, major.value, minor.value, _text(library, "nvmlDeviceGetName", handle))


def _text(library: ctypes.CDLL, name: str, *arguments: Any) -> str:
    buffer = ctypes.create_string_buffer(_TEXT)
    if not _call(library, name, *arguments, buffer, ctypes.c_uint(_TEXT)):
        return ""
    return buffer.value.decode("utf-8", "replace").strip()


def _call(library: ctypes.CDLL, name: str, *arguments: Any) -> bool:
    """Did the function succeed? One that the library lacks did not."""
    try:
        function = getattr(library, name)
    except AttributeError:
        return False
    return bool(function(*arguments) == 0)
