"""A machine for pages to run on: a home, a shell, `gpuenv` on PATH, and indexes of made wheels on the loopback."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.binaries import bundle, fatbin, library
from tests.support.simple_server import SimpleServer
from tests.support.trees import make_tree
from tests.support.wheels import make_variants, make_wheel

__all__ = ["PYTHON", "Machine", "machine"]

PYTHON = "{}.{}".format(*sys.version_info[:2])
TIMEOUT = 60.0

_GPUS = ("gfx90a", "gfx942", "gfx1100")
# What the pages use: name and version -> requirements.
PUBLIC = {
    ("numpy", "2.4.6"): [],
    ("numpy", "2.5.5"): [],
    ("rich", "15.0.0"): ["markdown-it-py", "pygments"],
    ("markdown-it-py", "4.3.0"): ["mdurl"],
    ("mdurl", "0.1.2"): [],
    ("pygments", "2.21.0"): [],
    ("pytest", "9.0.1"): ["iniconfig", "pluggy"],
    ("iniconfig", "2.3.0"): [],
    ("pluggy", "1.6.0"): [],
    ("torch", "2.12.0"): ["numpy"],
    ("loader", "0.1"): [],
    ("widget", "3.1"): [],
    ("kernels", "1.4"): [],
    ("kernels-cu13", "2.0"): [],
    ("kernels-rocm", "1.0"): [],
    ("nvidia-cuda-runtime", "13.2.86"): [],
    ("trainer-lib", "1.0"): ["hipkernels"],
    ("hipkernels", "7.2"): [f"hipkernels-device-{gpu}==7.2; extra == 'device-{gpu}'" for gpu in _GPUS],
    **{(f"hipkernels-device-{gpu}", "7.2"): [] for gpu in _GPUS},
    ("embedder", "3.0"): ["onnxruntime>=1.20"],
    ("onnxruntime", "1.23.2"): [],
    ("onnxruntime-gpu", "1.23.2"): [],
    ("onnxruntime-rocm", "1.22.1"): [],
}
_EXTRAS = {"hipkernels": [*(f"device-{gpu}" for gpu in _GPUS), "device-all"]}
PRIVATE = {("loader", "1.4"): ["numpy"], ("team-tools", "3.0"): []}
ROCM = {("torch", "2.12.0+rocm7.2"): ["numpy", "triton-rocm"], ("triton-rocm", "3.6.0"): []}
_COMMANDS = {
    "pytest": {"pytest": "pytest:main"},
    "team-tools": {"team": "team_tools:main"},
}
_TAGS = {
    "widget": "py3-none-win_amd64",
    "kernels": "py3-none-manylinux_2_28_x86_64",
    "kernels-cu13": "py3-none-manylinux_2_28_x86_64",
    "kernels-rocm": "py3-none-manylinux_2_28_x86_64",
    "nvidia-cuda-runtime": "py3-none-manylinux_2_28_x86_64",
}
_CUDA = library(
    "libkernels_cuda.so",
    ["libcudart.so.13", "libc.so.6"],
    sections=[(".nv_fatbin", fatbin(("sass", 80), ("sass", 90)) + fatbin(("sass", 80), ("ptx", 90)))],
)
_BINARIES: dict[str, dict[str, bytes | str]] = {
    "kernels": {
        "kernels/lib/libkernels_cuda.so": _CUDA,
        "kernels/lib/libkernels_rocm.so": library(
            "libkernels_rocm.so",
            ["libamdhip64.so.7", "libc.so.6"],
            sections=[(".hip_fatbin", bundle("gfx90a:xnack-", "gfx942", "gfx11-generic"))],
        ),
    },
    "kernels-cu13": {"kernels_cu13/lib/libkernels_cuda.so": _CUDA},
    "nvidia-cuda-runtime": {
        "nvidia/cu13/lib/libcudart.so.13": library("libcudart.so.13", ["libc.so.6"]),
        "nvidia/cu13/include/cuda_runtime_api.h": "const char *cudaGetErrorString(int);\n",
    },
    "kernels-rocm": {
        "kernels_rocm/libkernels.so": library(
            "libkernels.so", ["libhipsparselt.so.0"], sections=[(".hip_fatbin", bundle("gfx942"))]
        ),
    },
}
_MAIN = "def main() -> None:\n    print('1 passed')\n"


class Machine:
    """One home with its store, its cache and a current folder; the indexes are everybody's."""

    def __init__(self, root: Path, indexes: dict[str, SimpleServer]) -> None:
        self._root = root
        self._indexes = indexes
        self._count = 0
        self.home = Path()
        self.folder = Path()
        self._start()

    def _start(self) -> None:
        self._count += 1
        self.home = self._root / f"machine{self._count}"
        self.folder = self.home
        programs = self.home / "bin"
        programs.mkdir(parents=True)
        base = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
        (programs / f"python{PYTHON}").symlink_to(base)
        gpuenv = programs / "gpuenv"
        gpuenv.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m gpuenv "$@"\n')
        gpuenv.chmod(0o755)

    def new(self) -> None:
        """Another machine, which has what the project commits: everything but `.venv`."""
        before = self.folder
        self._start()
        self.folder = self.home / before.name
        shutil.copytree(before, self.folder, ignore=lambda _, names: {".venv"} & set(names))

    @property
    def environ(self) -> dict[str, str]:
        """What programs see: nothing of the machine that the test runs on but the system's programs."""
        return {
            "PATH": f"{self.home / 'bin'}:/usr/bin:/bin",
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "TMPDIR": str(self.home),
            "GPUENV_DEFAULT_INDEX": self._indexes["public"].url,
            "GPUENV_OVERRIDE_GPU": "none",
            "PIP_CONFIG_FILE": os.devnull,
            "WHEELS": str(self._root / "wheels"),
            "TREES": str(self._root / "trees"),
        }

    def put(self, path: str, text: str, *, append: bool = False) -> None:
        """Write a file that a page shows."""
        with (self.folder / path).open("a" if append else "w", encoding="utf-8") as file:
            file.write(("\n" if append else "") + self._inside(text))

    def run(self, command: str) -> tuple[int, list[str]]:
        """Run one command in bash; exit code and the printed lines, stdout and stderr as they came."""
        at = self.home / "folder"
        script = f'{self._inside(command)}\nstatus=$?\npwd > {shlex.quote(str(at))}\nexit "$status"'
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        if at.exists():
            self.folder = Path(at.read_text().strip())
        return done.returncode, self._outside(done.stdout).splitlines()

    def _inside(self, text: str) -> str:
        for name, index in self._indexes.items():
            text = text.replace(f"https://{name}.index.example", index.root)
        return text

    def _outside(self, text: str) -> str:
        for name, index in self._indexes.items():
            text = text.replace(index.root, f"https://{name}.index.example")
        return text.replace(str(self.home), "/home/me")


def _offer_variants(folder: Path, server: SimpleServer) -> None:
    """`attention` 2.0: a variant for MI300, one for H100, and a wheel that is none."""
    code = {
        "mi300": [(".hip_fatbin", bundle("gfx942"))],
        "sm90": [(".nv_fatbin", fatbin(("sass", 90)))],
    }
    labels = {"mi300": {"amd": {"gfx_arch": ["gfx942"]}}, "sm90": {"nvidia": {"sm_arch": ["90_real"]}}}
    for label in (None, *labels):
        files = (
            {"attention/libattention.so": library("libattention.so", ["libc.so.6"], sections=code[label])}
            if label
            else {}
        )
        wheel = make_wheel(
            folder,
            "attention",
            "2.0",
            files={"attention/__init__.py": "", **files},
            tags="py3-none-manylinux_2_28_x86_64",
            label=label,
            variant=labels[label] if label else None,
        )
        server.add(wheel, uploaded="2026-01-01T00:00:00Z")
    server.add(make_variants(folder, "attention", "2.0", labels))


def _make_trees(folder: Path) -> None:
    """The tree `foo`, as a distribution's packages unpack to it."""
    lib = "usr/lib/x86_64-linux-gnu"
    files: dict[str, bytes | str] = {
        f"{lib}/libfoo.so.1.4": library("libfoo.so.1", ["libcudart.so.13", "libnuma.so.1", "libc.so.6"]),
        f"{lib}/pkgconfig/foo.pc": "prefix=/usr\nlibdir=${prefix}/lib/x86_64-linux-gnu\nLibs: -L${libdir} -lfoo\n",
        "usr/include/foo.h": "int foo(void);\n",
        "usr/share/doc/foo/copyright": "public domain\n",
    }
    links = {f"{lib}/libfoo.so": "libfoo.so.1", f"{lib}/libfoo.so.1": "libfoo.so.1.4"}
    make_tree(folder / "foo", files, links)


@contextmanager
def machine(root: Path) -> Iterator[Machine]:
    """A machine, and the indexes `https://NAME.index.example/simple/`; `private` wants a login."""
    with SimpleServer() as public, SimpleServer() as private, SimpleServer() as rocm:
        for server, offered in ((public, PUBLIC), (private, PRIVATE), (rocm, ROCM)):
            for (name, version), requires in offered.items():
                module = name.replace("-", "_")
                commands = _COMMANDS.get(name)
                files = _BINARIES.get(name, {}) | {
                    f"{module}/__init__.py": f'__version__ = "{version}"\n{_MAIN if commands else ""}'
                }
                wheel = make_wheel(
                    root / "wheels",
                    name,
                    version,
                    requires=requires,
                    extras=_EXTRAS.get(name, ()),
                    files=files,
                    entry_points=commands,
                    tags=_TAGS.get(name, "py3-none-any"),
                )
                server.add(wheel, uploaded="2026-01-01T00:00:00Z")
        _offer_variants(root / "wheels", public)
        _make_trees(root / "trees")
        private.users = {"ci": "s3cret"}
        yield Machine(root, {"public": public, "private": private, "rocm": rocm})
