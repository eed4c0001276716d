"""NVML asked through ctypes: libraries compiled here answer, refuse, lie, lack functions or hang."""

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from gpuenv.host.machine import detect
from gpuenv.host.nvml import FOLDERS, LIBRARY, Answer, Gpu, ask
from tests.host.machines import never_query, put

COMPILER = shutil.which("gcc")
needs_gcc = pytest.mark.skipif(COMPILER is None, reason="needs gcc")

# Three GPUs, the second of which is lost. Every behaviour that a test wants is a macro.
SOURCE = r"""
#include <stdio.h>
#include <unistd.h>
#ifndef COUNT
#define COUNT 3
#endif
#ifndef VERSION
#define VERSION 13000
#endif
#ifndef DRIVER
#define DRIVER "580.65.06"
#endif
static int started, handles[3] = {90, 0, 103};
#ifdef OLD
int nvmlInit_v2(void) { started = 1; return 0; }
int nvmlSystemGetCudaDriverVersion(int *version) { *version = VERSION; return started ? 0 : 1; }
#else
int nvmlInitWithFlags(unsigned flags) {
#ifdef HANGS
    sleep(3);
#endif
#ifdef REFUSES
    return 18;
#endif
    started = flags == 0;
    return 0;
}
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = VERSION; return started ? 0 : 1; }
#endif
int nvmlShutdown(void) { started = 0; return 0; }
int nvmlSystemGetDriverVersion(char *text, unsigned size) {
    snprintf(text, size, "%s", DRIVER);
    return started ? 0 : 1;
}
#ifndef NO_COUNT
int nvmlDeviceGetCount_v2(unsigned *count) { *count = COUNT; return started ? 0 : 1; }
#endif
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    if (index >= 3 || !started) return 2;
    if (!handles[index]) return 15;
    *device = &handles[index];
    return 0;
}
int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) {
    *major = *(int *)device / 10;
    *minor = *(int *)device % 10;
    return 0;
}
int nvmlDeviceGetName(void *device, char *text, unsigned size) {
#ifdef LONG
    for (unsigned i = 0; i < size; i++) text[i] = (char)0xff;
    return 0;
#endif
    snprintf(text, size, "NVIDIA card %d", *(int *)device);
    return 0;
}
"""
CARDS = (Gpu(0, 9, 0, "NVIDIA card 90"), Gpu(2, 10, 3, "NVIDIA card 103"))


def library(root: Path, *macros: str, folder: str = FOLDERS[0]) -> Path:
    """A library below a root where WSL has it."""
    assert COMPILER is not None
    (root / folder).mkdir(parents=True)
    source, made = root / "nvml.c", root / folder / LIBRARY
    source.write_text(SOURCE)
    flags = [f"-D{macro}" for macro in macros]
    subprocess.run([COMPILER, "-shared", "-fPIC", "-o", str(made), *flags, str(source)], check=True)
    return root


@needs_gcc
@pytest.mark.parametrize(
    ("macros", "answer"),
    [
        ((), Answer("580.65.06", (13, 0), CARDS)),
        (("OLD", "VERSION=11040"), Answer("580.65.06", (11, 4), CARDS)),
        (("VERSION=-1",), Answer("580.65.06", None, CARDS)),
        (("COUNT=4000000000U",), Answer("580.65.06", (13, 0), CARDS)),
        (("NO_COUNT",), Answer("580.65.06", (13, 0), ())),
        (("COUNT=0", 'DRIVER=""'), Answer("", (13, 0), ())),
        (("REFUSES",), None),
    ],
    ids=["new", "old", "odd-version", "many", "lacks-count", "nothing", "refuses"],
)
def test_answers(macros: tuple[str, ...], answer: Answer | None, tmp_path: Path) -> None:
    """Old and new libraries answer; one that refuses says nothing, one that lacks a function says the rest."""
    assert ask(library(tmp_path, *macros)) == answer


@needs_gcc
def test_names_are_bounded(tmp_path: Path) -> None:
    """A name without an end, and not in UTF-8, is cut and decoded."""
    answer = ask(library(tmp_path, "LONG", folder=FOLDERS[1]))
    assert answer is not None
    assert [gpu.name for gpu in answer.gpus] == ["\ufffd" * 96] * 2


@needs_gcc
def test_a_library_that_hangs(tmp_path: Path) -> None:
    """Nobody waits longer than the patience."""
    root, began = library(tmp_path, "HANGS"), time.monotonic()
    assert ask(root, patience=0.2) is None
    assert time.monotonic() - began < 2.5


@needs_gcc
def test_detection_through_the_library(tmp_path: Path) -> None:
    """What the library says is what the machine is, and `nvidia-smi` is not run."""
    library(tmp_path)
    found = detect({}, tmp_path, query=never_query)
    assert found.gpus == ("sm_103", "sm_90")
    assert [(one.number, one.name) for one in found.devices] == [(0, "NVIDIA card 90"), (2, "NVIDIA card 103")]
    assert (found.nvidia_driver, found.cuda_level, found.learnt["nvidia_driver"]) == ("580.65.06", "13.0", "NVML")


def test_no_library(tmp_path: Path) -> None:
    """No library below the root, or a file that is none: no answer."""
    assert ask(tmp_path) is None
    put(tmp_path, f"{FOLDERS[0]}/{LIBRARY}", "not a library")
    assert ask(tmp_path) is None
