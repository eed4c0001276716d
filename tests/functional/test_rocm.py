"""jax for ROCm beside look-alikes of AMD's distributions: their names, sonames and folders, and tiny contents."""

import json
import tempfile
import tomllib
from functools import cache
from pathlib import Path

import pytest

from tests.functional.test_sync_native import NATIVE
from tests.support.compiled import HEADERS, MODULE, compile_library, needs_compiler, needs_headers
from tests.support.project import HERE, Project

pytestmark = [
    pytest.mark.skipif(not HERE.count("linux-x86_64"), reason="the made binaries are for x86-64"),
    needs_compiler,
    needs_headers,
]
MI300 = HERE + 'gpu = ["gfx942"]\nrocm = "7.2"\n'
ROCM = """
[[tool.gpuenv.index]]
name = "rocm"
path = "rocm"
packages = ["rocm-*"]
"""


@cache
def libraries() -> dict[str, bytes]:
    """HIP, the BLAS that needs it by a path from folder to folder as AMD writes it, and a module without any path."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        hip = compile_library(folder / "libamdhip64.so.7", "int hip(void) { return 40; }")
        path = "-Wl,--enable-new-dtags,-rpath,$ORIGIN/../../_rocm_sdk_core/lib"
        code = "int hip(void); int value(void) { return hip() + 2; }"
        blas = compile_library(folder / "libhipblas.so.3", code, str(hip), path)
        module = compile_library(folder / "core.so", MODULE, f"-I{HEADERS}", str(blas), str(hip))
        return {one.name: one.read_bytes() for one in (hip, blas, module)}


@pytest.fixture
def jax(project: Project) -> Project:
    """A project that requires the plugin, whose metadata requires nothing; an index has AMD's distributions."""
    made = libraries()
    core = {"_rocm_sdk_core/__init__.py": "", "_rocm_sdk_core/lib/libamdhip64.so.7": made["libamdhip64.so.7"]}
    math = {"_rocm_sdk_libraries/__init__.py": "", "_rocm_sdk_libraries/lib/libhipblas.so.3": made["libhipblas.so.3"]}
    project.wheel("rocm-sdk-core", "7.2.0", folder=project.root / "rocm", files=core, tags=NATIVE)
    project.wheel("rocm-sdk-libraries", "7.2.0", folder=project.root / "rocm", files=math, tags=NATIVE)
    plugin = {"jax_rocm7_plugin/__init__.py": "", "jax_rocm7_plugin/core.so": made["core.so"]}
    project.offer("jax-rocm7-plugin", "0.12.0", files=plugin, tags=NATIVE)
    return project


def test_rocm_is_completed_bound_and_loads(jax: Project) -> None:
    """The shipped table knows who brings ROCm's sonames: they are locked, and the module imports in the environment."""
    jax.write(["jax-rocm7-plugin"], targets=MI300, more=ROCM)
    locked = jax.run("lock", "--json").json["targets"]["here"]["packages"]
    assert locked == {"jax-rocm7-plugin": "0.12.0", "rocm-sdk-core": "7.2.0", "rocm-sdk-libraries": "7.2.0"}
    data = tomllib.loads(jax.lock.read_text("utf-8"))
    lines = {line["use"].partition("-")[0]: line for line in data["targets"]["here"]["packages"]}
    assert lines["jax_rocm7_plugin"]["libraries"] == {
        "rocm-sdk-core": ["libamdhip64.so.7"],
        "rocm-sdk-libraries": ["libhipblas.so.3"],
    }
    assert lines["rocm_sdk_libraries"]["libraries"] == {"rocm-sdk-core": ["libamdhip64.so.7"]}
    jax.run("sync", "--target", "here")
    assert jax.inside("python", "-c", "from jax_rocm7_plugin.core import get; print(get())") == "42\n"
    load = jax.run("doctor", "--target", "here", "--json", rc=1).json["load"]  # this machine is no MI300
    assert load == {"opened": 3, "failed": [], "unjudged": []}


def test_rocm_of_the_machine(jax: Project) -> None:
    """Where the target says that the machine has ROCm, the lock records what of it is needed, and doctor misses it."""
    folder = jax.base / "opt" / "rocm" / "lib"
    jax.write(["jax-rocm7-plugin"], targets=MI300 + f"host-libraries = [{json.dumps(str(folder))}]\n")
    assert jax.run("lock", "--json").json["targets"]["here"]["packages"] == {"jax-rocm7-plugin": "0.12.0"}
    jax.run("sync", "--target", "here")
    checks = jax.run("doctor", "--target", "here", "--json", rc=1).json["checks"]
    met = {check["what"]: check["met"] for check in checks}
    assert [what for what, is_met in met.items() if "libamdhip64.so.7" in what and not is_met]
    folder.mkdir(parents=True)
    for name in ("libamdhip64.so.7", "libhipblas.so.3"):
        (folder / name).write_bytes(libraries()[name])
    checks = jax.run("doctor", "--target", "here", "--json", rc=1).json["checks"]
    assert [check["what"] for check in checks if "libamdhip64.so.7" in check["what"] and check["met"]]
