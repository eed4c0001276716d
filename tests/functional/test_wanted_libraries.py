"""Libraries of a GPU's maker that an importable module reaches: they are live on a target without a GPU, too."""

from pathlib import Path

import pytest

from gpuenv.lock import decode
from gpuenv.model.lock import LockedTarget
from tests.support.bundles import facts_in, make_bundle
from tests.support.compiled import HEADERS, MODULE, compile_library, needs_compiler, needs_headers
from tests.support.project import HERE, Project

TAGS = "py3-none-manylinux2014_x86_64"
INDEX = '[[tool.gpuenv.index]]\nname = "local"\nurl = "{url}"\n'
TABLE = """{"version": 1, "sonames": {"libwrap.so.1": ["rocm-tree"], "librocsparse.so.0": ["rocm-tree"],
"libamdhip64.so.5": ["hip-tree"], "libsystem.so.1": ["system-tree"]}}"""

pytestmark = [
    pytest.mark.skipif("linux-x86_64" not in HERE, reason="the compiled binaries are for x86-64"),
    needs_compiler,
    needs_headers,
]


def offer_tree(project: Project, name: str, *libraries: Path) -> None:
    """A bundle of libraries, as a packed tree holds them."""
    files = {f"{name}-1.0.data/data/lib/{path.name}": path.read_bytes() for path in libraries}
    wheel = project.wheel(name, files=files, tags=TAGS)
    project.server.add(make_bundle(wheel, facts=facts_in(wheel)))


def offer_rocm(project: Project) -> dict[str, Path]:
    """Three trees that need each other: a system library, HIP, and what uses both; two of them hold a stranger."""
    made: dict[str, Path] = {}

    def library(name: str, code: str, *needed: str) -> Path:
        made[name] = compile_library(project.base / name, code, *(str(made[one]) for one in needed))
        return made[name]

    offer_tree(project, "system_tree", library("libsystem.so.1", "int base(void) { return 40; }"))
    hip = library("libamdhip64.so.5", "extern int base(void); int hip(void) { return base() + 1; }", "libsystem.so.1")
    helper = library("libhelper.so.1", "int helper(void) { return 0; }")
    offer_tree(project, "hip_tree", hip, helper)
    sparse = library(
        "librocsparse.so.0", "extern int hip(void); int sparse(void) { return hip(); }", "libamdhip64.so.5"
    )
    wrap = library("libwrap.so.1", "extern int sparse(void); int value(void) { return sparse() + 1; }", sparse.name)
    lonely = library("librocfft.so.0", "int fft(void) { return 0; }", helper.name)
    offer_tree(project, "rocm_tree", sparse, wrap, lonely)
    project.server.overrides["/simple/provides.json"] = (
        200,
        {"Content-Type": "application/json"},
        TABLE.encode(),
    )
    return made


def here(project: Project) -> LockedTarget:
    """The only target of the lock."""
    return decode(project.lock.read_text()).targets["here"]


CHAIN = {
    "rocm-tree": {"hip-tree": ("libamdhip64.so.5",)},
    "hip-tree": {"system-tree": ("libsystem.so.1",)},
    "system-tree": {},
}


def test_what_a_module_reaches_is_live_without_a_gpu(project: Project) -> None:
    """Trees of ROCm that a module needs by way of others are locked, bound and open on a CPU; the rest sleeps."""
    made = offer_rocm(project)
    core = compile_library(project.base / "core.so", MODULE, f"-I{HEADERS}", str(made["libwrap.so.1"]))
    project.offer("consumer", files={"consumer/__init__.py": "", "consumer/core.so": core.read_bytes()}, tags=TAGS)
    project.write(["consumer"], more='[tool.gpuenv]\nscan = "all"\n' + INDEX.format(url=project.server.url))
    project.run("lock")
    packages = here(project).packages
    assert {name: dict(one.libraries) for name, one in packages.items()} == {
        "consumer": {"rocm-tree": ("libwrap.so.1",)},
        **CHAIN,
    }
    assert [demand for one in packages.values() for demand in one.host] == []
    project.run("sync")
    assert project.inside("python", "-c", "from consumer.core import get; print(get())") == "42\n"
    assert project.run("doctor", rc=None).rc == 0
    told = project.run("why", "libamdhip64.so.5").out
    assert "librocsparse.so.0" in told


@pytest.mark.parametrize("scan", ["gpu", "all"])
def test_what_the_project_needs_is_live_without_a_gpu(project: Project, scan: str) -> None:
    """Of `native` the whole chain of trees is locked and opens on a CPU, whether other wheels are read or not."""
    offer_rocm(project)
    more = f'[tool.gpuenv]\nscan = "{scan}"\nnative = ["libwrap.so.1"]\n' + INDEX.format(url=project.server.url)
    project.write([], more=more)
    project.run("lock")
    locked = here(project)
    assert locked.libraries == {"rocm-tree": ("libwrap.so.1",)}
    assert {name: dict(one.libraries) for name, one in locked.packages.items()} == CHAIN
    project.run("sync")
    code = """
import ctypes, gpuenv.runtime as r
for soname in ("libsystem.so.1", "libamdhip64.so.5", "librocsparse.so.0"):
    ctypes.CDLL(r.find_libraries(soname)[0])
print(ctypes.CDLL(r.find_libraries("libwrap.so.1")[0]).value())
"""
    assert project.inside("python", "-c", code) == "42\n"


def test_what_nobody_brings_to_a_live_library_is_told(project: Project) -> None:
    """Where a library of the chain lacks a maker's library that no index has, the lock says which, and who needs it."""
    made = offer_rocm(project)
    core = compile_library(project.base / "core.so", MODULE, f"-I{HEADERS}", str(made["libwrap.so.1"]))
    project.offer("consumer", files={"consumer/__init__.py": "", "consumer/core.so": core.read_bytes()}, tags=TAGS)
    table = TABLE.replace('"libamdhip64.so.5": ["hip-tree"], ', "").encode()
    project.server.overrides["/simple/provides.json"] = (200, {"Content-Type": "application/json"}, table)
    project.write(["consumer"], more='[tool.gpuenv]\nscan = "all"\n' + INDEX.format(url=project.server.url))
    error = project.run("lock", rc=1).err
    assert "libwrap.so.1 is provided by rocm-tree" in error
    assert "needs libamdhip64.so.5" in error
    assert "no configured index provides" in error
