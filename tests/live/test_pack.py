"""Real trees: packages of Debian, fetched by their own tools, packed, locked, synced, imported and called."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.compiled import HEADERS, compile_library, needs_compiler, needs_headers
from tests.support.project import PYTHON, Project
from tests.support.simple_server import SimpleServer

PATIENCE = 300
TOOLS = ("apt-get", "dpkg-deb", "gcc")
SUPPORT = ("libnuma1", "libelf1", "libdrm2", "libdrm-amdgpu1", "libgfortran5", "libquadmath0")
ROCM = (
    "libamdhip64-5", "libhsa-runtime64-1", "librocsparse0", "librocm-smi64-1", "libhsakmt1",
    "libamdhip64-dev", "libhsa-runtime-dev", "librocsparse-dev", "librocm-smi-dev",
)  # fmt: skip
BLAS = ("libopenblas0-pthread", "libopenblas-pthread-dev")
TAGS = f"cp{PYTHON.replace('.', '')}-cp{PYTHON.replace('.', '')}-manylinux_2_36_x86_64"

pytestmark = [
    pytest.mark.live,
    needs_compiler,
    needs_headers,
    pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"needs {', '.join(TOOLS)}"),
]

MODULE = r"""
#include <Python.h>
#define __HIP_PLATFORM_AMD__ 1
#include <hip/hip_runtime_api.h>
#include <rocsparse/rocsparse.h>
#include <rocm_smi/rocm_smi.h>
static PyObject *hip(PyObject *self, PyObject *args) {
    int version = 0, devices = -1;
    hipError_t first = hipRuntimeGetVersion(&version);
    const char *second = hipGetErrorName(hipGetDeviceCount(&devices));
    return Py_BuildValue("(iisi)", first, version, second, devices);
}
static PyObject *sparse(PyObject *self, PyObject *args) {
    rocsparse_mat_descr descr;
    rocsparse_status status = rocsparse_create_mat_descr(&descr);
    rocsparse_set_mat_index_base(descr, rocsparse_index_base_one);
    int base = rocsparse_get_mat_index_base(descr);
    rocsparse_destroy_mat_descr(descr);
    return Py_BuildValue("(ii)", status, base);
}
static PyObject *smi(PyObject *self, PyObject *args) {
    rsmi_version_t version;
    rsmi_status_t status = rsmi_version_get(&version);
    return Py_BuildValue("(iI)", status, version.major);
}
static PyMethodDef methods[] = {
    {"hip", hip, METH_NOARGS, ""}, {"sparse", sparse, METH_NOARGS, ""}, {"smi", smi, METH_NOARGS, ""}, {0}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "core", "", -1, methods};
PyMODINIT_FUNC PyInit_core(void) { return PyModule_Create(&module); }
"""
DOT = r"""
#include <Python.h>
#include <cblas.h>
static PyObject *dot(PyObject *self, PyObject *args) {
    double x[3] = {1, 2, 3}, y[3] = {4, 5, 6};
    return PyFloat_FromDouble(cblas_ddot(3, x, 1, y, 1));
}
static PyMethodDef methods[] = {{"dot", dot, METH_NOARGS, ""}, {0}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "core", "", -1, methods};
PyMODINIT_FUNC PyInit_core(void) { return PyModule_Create(&module); }
"""


@pytest.fixture
def project(tmp_path: Path, server: SimpleServer) -> Project:
    """An empty project; nothing of it comes from the real index."""
    return Project(tmp_path, server)


def unpacked(folder: Path, packages: tuple[str, ...]) -> Path:
    """The contents of packages, all in one folder; skips the test where this system has them not."""
    debs, tree = folder / f"{packages[0]}.debs", folder / packages[0]
    debs.mkdir()
    command = ["apt-get", "download", "-o", "APT::Sandbox::User=root", *packages]
    done = subprocess.run(command, cwd=debs, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode:
        pytest.skip(f"apt-get: {done.stderr.strip().splitlines()[-1:]}")
    for deb in sorted(debs.iterdir()):
        subprocess.run(["dpkg-deb", "-x", deb, tree], timeout=PATIENCE, check=True)
    return tree


def support(project: Project, shelf: Path) -> list[str]:
    """Pack what the machine may lack; returns the flags that name it as the provider."""
    tree = unpacked(project.base, SUPPORT)
    made = project.run("pack", tree, "--name", "system-libs", "--version", "12", "-o", shelf, "--json").json
    sonames = [soname for bundle in made["bundles"] for soname in bundle["sonames"]]
    return [flag for soname in sonames for flag in ("--provides", f"{soname}=system-libs")]


def locked(project: Project, shelf: Path, gpu: str) -> None:
    """Index the shelf, lock a target for it and sync that."""
    project.run("index", shelf)
    target = f'[tool.gpuenv.targets.here]\npython = "{PYTHON}"\nglibc = "2.36"\n{gpu}'
    index = f'[[tool.gpuenv.index]]\nname = "shelf"\npath = "{shelf}"\n'
    project.write(["probe"], targets="", more=f'[tool.gpuenv]\nscan = "all"\n{target}{index}')
    project.run("lock")
    project.run("sync", "--target", "here")


def loaded(project: Project) -> dict[str, str]:
    """The libraries that a process has open after `import probe.core`: their folders, by file name."""
    code = "import probe.core; print(open('/proc/self/maps').read())"
    paths = {Path(line.split()[-1]) for line in project.inside("python", "-c", code).splitlines() if ".so" in line}
    return {path.name: str(path.parent) for path in paths}


def check_rocm(project: Project, shelf: Path, gpu: str) -> None:
    """Lock, sync and call; all of ROCm is open from the environment, with a GPU in the target or without."""
    locked(project, shelf, gpu)
    assert project.installed() == {"probe": "1.0", "rocm-debian": "5.2.3.post8", "system-libs": "12"}
    code = "import probe.core as c; print(*c.hip(), *c.sparse(), *c.smi())"
    first, version, error, devices, *rest = project.inside("python", "-c", code).split()
    assert (first, version) == ("0", "50221153")
    assert (error, devices) == ("hipErrorNoDevice", "0") or int(devices) > 0
    assert rest == ["0", "1", "0", "1"]
    view = os.path.realpath(project.venv)
    wanted = ("libamdhip64", "libhsa", "librocsparse", "librocm_smi", "libnuma", "libelf", "libdrm")
    folders = {folder for name, folder in loaded(project).items() if name.startswith(wanted)}
    assert folders == {f"{view}/lib"}


def test_rocm_of_debian(project: Project) -> None:
    """HIP, HSA, rocSPARSE and ROCm SMI run from an environment, and what they need is the environment's."""
    shelf = project.root / "shelf"
    provides = support(project, shelf)
    tree = unpacked(project.base, ROCM)
    named = ("--name", "rocm-debian", "--version", "5.2.3-8", "--split", "-o", shelf)
    made = project.run("pack", tree, *named, *provides, "--json").json
    assert [bundle["name"] for bundle in made["bundles"]] == ["rocm-debian", "rocm-debian-devel"]
    assert {need["requirement"] for need in made["needs"]} == {"system-libs"}
    usr = tree / "usr"
    flags = [f"-I{HEADERS}", f"-I{usr}/include", f"-L{usr}/lib/x86_64-linux-gnu", f"-L{usr}/lib"]
    flags += ["-lamdhip64", "-lrocsparse", "-lrocm_smi64", "-Wl,--allow-shlib-undefined"]
    core = compile_library(project.base / "core.so", MODULE, *flags)
    files = {"probe/__init__.py": "", "probe/core.so": core.read_bytes()}
    project.wheel("probe", folder=shelf, files=files, tags=TAGS)
    check_rocm(project, shelf, 'gpu = ["gfx90a"]\nrocm = "5.2"\n')
    check_rocm(project, shelf, "")


def test_openblas_of_debian(project: Project) -> None:
    """A module that needs libopenblas.so.0 gets it from the bundle that the index says brings it."""
    shelf = project.root / "shelf"
    provides = support(project, shelf)
    tree = unpacked(project.base, BLAS)
    project.run("pack", tree, "--name", "openblas", "--version", "0.3.21", "-o", shelf, *provides)
    lib, include = (tree / "usr" / top / "x86_64-linux-gnu" / "openblas-pthread" for top in ("lib", "include"))
    flags = [f"-I{HEADERS}", f"-I{include}", f"-L{lib}", "-lopenblas", "-Wl,--allow-shlib-undefined"]
    core = compile_library(project.base / "core.so", DOT, *flags)
    files = {"probe/__init__.py": "", "probe/core.so": core.read_bytes()}
    project.wheel("probe", folder=shelf, files=files, tags=TAGS)
    locked(project, shelf, "")
    assert project.installed() == {"probe": "1.0", "openblas": "0.3.21", "system-libs": "12"}
    assert project.inside("python", "-c", "import probe.core; print(probe.core.dot())") == "32.0\n"
    found = loaded(project)
    view = os.path.realpath(project.venv)
    assert found["libopenblasp-r0.3.21.so"] == f"{view}/lib/openblas-pthread"
    assert found["libgfortran.so.5.0.0"] == f"{view}/lib"
