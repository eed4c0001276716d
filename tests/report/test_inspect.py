"""Facts on a page of 80 columns."""

from gpuenv.model.architecture import Gpu, parse_gpu
from gpuenv.model.facts import Damage, DeviceCode, NativeFacts, ObjectFacts, PythonModule, Symlink, Units
from gpuenv.report.inspect import glance, inspect_document, object_lines, printable, size_text

SASS = tuple(
    DeviceCode("nvidia", "sass", f"sm_{arch}", count=476, bytes=1_000_000 * arch) for arch in (75, 80, 90, 100)
)
FACTS = NativeFacts(
    "ab" * 32,
    857_100_000,
    objects=(
        ObjectFacts(
            path="torch/_C.cpython-312-x86_64-linux-gnu.so",
            size=30_000,
            format="elf",
            machine="x86_64",
            soname="_C.so",
            needed=("libtorch_cuda.so", "libc.so.6"),
            versions_needed={"libc.so.6": ("GLIBC_2.9", "GLIBC_2.28"), "libstdc++.so.6": ("GLIBCXX_3.4.26",)},
            python=PythonModule("torch._C", "cpython-312", "PyInit__C"),
        ),
        ObjectFacts(
            path="torch/lib/libtorch_cuda.so",
            size=520_000_000,
            format="elf",
            machine="x86_64",
            soname="libtorch_cuda.so",
            needed=("libcublas.so.13", "libcuda.so.1", "libmystery.so.4", "libc.so.6"),
            device_code=(*SASS, DeviceCode("nvidia", "ptx", "compute_100", bytes=500)),
            units=(Units((0, 1, 2, 3), 475, ".nv_fatbin"), Units((0, 1, 2, 3, 4), 1, ".nv_fatbin")),
        ),
        ObjectFacts(
            path="torch/lib/liblinalg.so",
            size=2,
            format="elf",
            machine="x86_64",
            soname="liblinalg.so",
            device_code=(DeviceCode("nvidia", "sass", "sm_80", count=33),),
            units=(Units((0,), 33, ".nv_fatbin"),),
        ),
    ),
    symlinks=(Symlink("a", "b", "zip"),),
)


def gpu(text: str) -> Gpu:
    found = parse_gpu(text)
    assert found is not None
    return found


def test_page() -> None:
    """What it holds, provides, needs and from whom, and the code by architecture, stand on one page."""
    known = {"libcublas.so.13": ("nvidia-cublas",)}
    page = glance("torch-2.15.0.whl", FACTS, providers=lambda soname: known.get(soname, ()))
    assert (
        page
        == """\
torch-2.15.0.whl  857.1 MB
holds       3 binaries for x86_64, 1 Python module among them (cpython-312), 1
            symbolic link
provides    liblinalg.so libtorch_cuda.so
needs       nvidia-cublas: libcublas.so.13
            nobody known: libmystery.so.4
            the driver: libcuda.so.1
            the system: GLIBC 2.28, GLIBCXX 3.4.26
device code                    images        containers       size
            sm_75                 476        476 of 509    75.0 MB
            sm_80                 509        509 of 509    80.0 MB
            sm_90                 476        476 of 509    90.0 MB
            compute_100 PTX         1          1 of 509      500 B
            sm_100                476        476 of 509   100.0 MB"""
    )
    assert max(map(len, page.splitlines())) <= 80


def test_verdicts() -> None:
    """For each GPU asked for: whether it is served, how, by what, how far, and where nothing is for it."""
    page = glance("x.whl", FACTS, [gpu("sm_75"), gpu("sm_89"), gpu("sm_70"), gpu("gfx942")])
    assert page.partition("for sm_75")[2].splitlines() == [
        "   served by sm_75 (exact): 476 of 509 containers; nothing for it in",
        "            liblinalg.so",
        "for sm_89   served by sm_80 (compatible): 509 of 509 containers",
        "for sm_70   not served: there is code for sm_75 sm_80 sm_90 sm_100 compute_100",
        "            PTX only",
        "for gfx942  not served: there is code for sm_75 sm_80 sm_90 sm_100 compute_100",
        "            PTX only",
    ]
    document = inspect_document("x.whl", FACTS, "read", [gpu("sm_75"), gpu("gfx942")])
    assert document["gpus"] == {
        "sm_75": {"served": True, "fit": "exact", "by": {"sm_75": "exact"}, "units": 476, "of": 509},
        "gfx942": {"served": False, "fit": None, "by": {}, "units": 0, "of": 0},
    }


def test_each_object() -> None:
    """With -v there is a line for each binary, with its share for the GPUs asked for, or its architectures."""
    assert "  torch/lib/liblinalg.so (2 B)  sm_80" in object_lines(FACTS).splitlines()
    assert "  torch/lib/liblinalg.so (2 B)  sm_75 0/33" in object_lines(FACTS, [gpu("sm_75")]).splitlines()


def test_nothing_native() -> None:
    """A wheel without binaries says so, also when asked for a GPU."""
    page = glance("x.whl", NativeFacts(None, 1_500), [gpu("sm_90")])
    assert page.splitlines() == [
        "x.whl  1.5 kB",
        "holds       no binaries",
        "device code none",
        "for sm_90   not served: there is no device code",
    ]


def test_names_that_would_paint_the_terminal() -> None:
    """Control characters of foreign files are shown, not sent."""
    assert printable("a\x1b[31mb\u202e\n") == "a\\x1b[31mb\\u202e\\n"
    found = ObjectFacts(
        path="\x1b[2J.so", size=1, format="elf", machine="x86_64", soname="lib\x07.so", needed=("\x00",)
    )
    facts = NativeFacts(None, 1, objects=(found,), damaged=(Damage("\x1b.so", "it says \x1b"),))
    assert "\x1b" not in glance("\x1b.whl", facts) + object_lines(facts)
    assert "\x07" not in glance("x.whl", facts)


def test_sizes() -> None:
    """Sizes are in powers of 1000 and never longer than `999.9 MB`."""
    assert [size_text(n) for n in (0, 999, 1000, 999_949, 999_950, 857_100_000, 10**13)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "999.9 kB",
        "1.0 MB",
        "857.1 MB",
        "10.0 TB",
    ]
