"""How far objects serve a GPU, counted in containers."""

from gpuenv.model.architecture import Fit, Gpu, parse_gpu
from gpuenv.model.coverage import Coverage, coverage, served
from gpuenv.model.facts import DeviceCode, ObjectFacts, Units


def gpu(text: str) -> Gpu:
    found = parse_gpu(text)
    assert found is not None
    return found


# as libtorch_cuda_linalg.so of torch 2.15: sm_75 in 1 of 33 containers
LINALG = ObjectFacts(
    path="lib/linalg.so",
    size=1,
    format="elf",
    device_code=(DeviceCode("nvidia", "sass", "sm_75"), DeviceCode("nvidia", "sass", "sm_80", count=33)),
    units=(Units((1,), 32, ".nv_fatbin"), Units((0, 1), 1, ".nv_fatbin"), Units((), 4, ".nv_fatbin")),
)
CUBIN = ObjectFacts(path="a.cubin", size=1, format="elf", device_code=(DeviceCode("nvidia", "sass", "sm_100a"),))


def test_share_of_containers() -> None:
    """A GPU is served to the share of containers that have code for it; containers without any code do not count."""
    assert coverage(LINALG, gpu("sm_75")) == Coverage(Fit.EXACT, 1, 33, (("sm_75", Fit.EXACT),))
    assert coverage(LINALG, gpu("sm_80")) == Coverage(Fit.EXACT, 33, 33, (("sm_80", Fit.EXACT),))
    assert coverage(LINALG, gpu("sm_89")) == Coverage(Fit.COMPATIBLE, 33, 33, (("sm_80", Fit.COMPATIBLE),))
    assert coverage(LINALG, gpu("sm_90")) == Coverage(None, 0, 33, ())


def test_other_vendors_do_not_count() -> None:
    """A library with code for both vendors is judged by the code that a GPU could run."""
    both = ObjectFacts(
        path="lib/both.so",
        size=1,
        format="elf",
        device_code=(DeviceCode("amd", "code-object", "gfx942"), DeviceCode("nvidia", "sass", "sm_80")),
        units=(Units((0,), 3, ".hip_fatbin"), Units((1,), 5, ".nv_fatbin")),
    )
    assert coverage(both, gpu("gfx942")) == Coverage(Fit.EXACT, 3, 3, (("gfx942", Fit.EXACT),))
    assert coverage(both, gpu("sm_75")) == Coverage(None, 0, 5, ())


def test_several_objects() -> None:
    """Together, objects serve with the sum of their containers; a lone image counts as one."""
    assert served([LINALG, CUBIN], gpu("sm_100")) == Coverage(Fit.EXACT, 1, 34, (("sm_100a", Fit.EXACT),))
    assert served([], gpu("sm_100")) == Coverage(None, 0, 0, ())


def test_ptx_counts_as_far_as_it_serves() -> None:
    """Containers with PTX that the driver does not compile, or that is ruled out, serve nobody."""
    texts = tuple(DeviceCode("nvidia", "ptx", "compute_75", isa=isa) for isa in ("8.0", "8.7"))
    found = ObjectFacts(path="a.so", size=1, format="elf", device_code=texts, units=(Units((0,), 2), Units((1,), 3)))
    assert coverage(found, gpu("sm_90")).served == 5
    assert coverage(found, gpu("sm_90"), driver_isa="8.6").served == 2
    assert coverage(found, gpu("sm_90"), driver_isa="7.8") == Coverage(None, 0, 5, ())
    assert served([found, found], gpu("sm_90"), driver_isa="8.6").served == 4
    assert served([found], gpu("sm_90"), ptx=False) == Coverage(None, 0, 5, ())
