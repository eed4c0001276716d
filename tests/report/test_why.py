"""What a lock says of a node, in words."""

from gpuenv.model.architecture import Fit, Gpu, parse_gpu
from gpuenv.model.clash import Kind
from gpuenv.model.lock import LockedArtifact, LockedTarget
from gpuenv.model.locked_graph import Link, LockedGraph
from gpuenv.model.rules import NativeRules
from gpuenv.model.target import Target
from gpuenv.model.verdict import Gap, Outcome
from gpuenv.model.why import Brings, NeedsIt, Serves, WhyGpu, WhyPackage, WhyRuntime, WhySoname, why_gpu
from gpuenv.report.why import Why, why_document, why_page

ARTIFACT = LockedArtifact(
    "blas-2.0-py3-none-linux_x86_64.whl", "blas", "2.0", None, "https://index.example/blas.whl", "ab" * 32, 1_500
)


def gpu(text: str) -> Gpu:
    """The GPU of that name."""
    found = parse_gpu(text)
    assert found is not None
    return found


def page(node: str, why: Why | None, *unread: str, every: bool = False) -> list[str]:
    """The lines about one target, `t`, without its label."""
    text = why_page(node, {"t": why}, {"t": unread}, every=every)
    assert text.startswith("t: ")
    return [line[3:] for line in text.split("\n")]


def serves(outcome: Outcome, **more: object) -> Serves:
    """How `kernels` serves a GPU."""
    values: dict[str, object] = {
        "package": "kernels",
        "version": "1.0",
        "outcome": outcome,
        "best": None,
        "by": (),
        "units": 0,
        "of": 4,
        "gaps": (),
        "has": ("sm_80",),
        "newer_ptx": None,
        "refused": False,
        "own": True,
    }
    return Serves(**{**values, **more})  # type: ignore[arg-type]


def test_package() -> None:
    """Each link is one line, a soname two; a file of no index has its URL."""
    chain = (Link("train", "", "solver"), Link("solver", "1.0", "blas", ("libblas.so.3", "liblapack.so.3"), "s/_s.so"))
    others = (Link("other[gpu]", "4", "blas[fast]"), Link("third", "5", "blas", ("libblas.so.3",)))
    assert page("blas", WhyPackage(ARTIFACT, chain, others, ("amd", 7), ("third",))) == [
        "train requires solver",
        "solver 1.0 needs libblas.so.3 and 1 more (s/_s.so)",
        "libblas.so.3 is provided by blas 2.0",
        "also: other[gpu] 4 requires blas[fast]",
        "      third 5 needs libblas.so.3 of it",
        "file: blas-2.0-py3-none-linux_x86_64.whl",
        "      1.5 kB, https://index.example/blas.whl, no facts asked for, ROCm 7",
        "no facts at hand of third: `gpuenv sync` reads them",
    ]
    assert page("blas", WhyPackage(ARTIFACT, (), (), None, ()))[0] == "no dependency leads to blas 2.0"


def test_needs() -> None:
    """Several providers are told apart; what is allowed to be missing, or only a plugin's wish, is called so."""
    needs = (
        NeedsIt("a", "1", ("a.so", "b.so", "c.so"), ("X_1.9", "X_1.10", "Y"), "package", "blas"),
        NeedsIt("b", "2", ("b.so",), (), "package", "mkl"),
        NeedsIt("c", "3", ("c.so",), (), "allowed"),
        NeedsIt("d", "4", (), (), "unknown", plugin=True),
    )
    brings = (Brings("blas", "2.0", "blas/libblas.so.3"), Brings("mkl", "1", None))
    assert page("libblas.so.3", WhySoname(needs, brings, "glibc 2.28")) == [
        "libblas.so.3 is provided by blas 2.0 (blas/libblas.so.3)",
        "libblas.so.3 is provided by mkl 1",
        "a 1 needs it of blas (a.so and 2 more), with X_1.10, Y",
        "b 2 needs it of mkl (b.so)",
        "c 3 names it and does without (c.so)",
        "d 4 wants it for what is opened only where it is there",
    ]
    every = page("libblas.so.3", WhySoname(needs, brings, "glibc 2.28"), every=True)
    assert every[2] == "a 1 needs it of blas (a.so, b.so, c.so), with X_1.9, X_1.10, Y"
    unmet = WhySoname((NeedsIt("a", "1", ("a.so",), (), "unknown"),), (), "glibc 2.28")
    assert page("libx.so", unmet) == ["nobody is known to bring libx.so", "a 1 needs it (a.so)"]


def test_device_code() -> None:
    """Each outcome has its words; what keeps a GPU from being served comes first, then what serves it in part."""
    full = serves(
        Outcome.SERVED, best=Fit.EXACT, units=4, by=(("sm_90", Fit.EXACT), ("compute_80", Fit.JIT)), package="a"
    )
    gaps = (Gap("k/none.so", 0, 2), Gap("k/few.so", 1, 33))
    part = serves(Outcome.SERVED, best=Fit.COMPATIBLE, units=3, by=(("sm_80", Fit.COMPATIBLE),), gaps=gaps)
    refused = serves(Outcome.REFUSED, refused=True, package="z")
    found = WhyGpu(gpu("sm_90"), True, (full, part, refused))
    assert page("sm_90", found) == [
        "sm_90, a GPU of the target, is not served by z",
        "z 1.0: nothing that runs, it has sm_80",
        "kernels 1.0: older code of the same major (sm_80), 3 of 4 containers; nothing for it in none.so; "
        "only 1 of 33 in few.so",
        "a 1.0: exact (sm_90) or compiled by the driver, 4 of 4 containers",
    ]
    assert page("sm_90", found, every=True)[3].startswith("a 1.0: exact (sm_90) or compiled by the driver (compute_80)")


def test_features_of_a_target() -> None:
    """A GPU without features stands for the target's own of that name; one with others is another question."""
    target = Target("t", gpu=("gfx90a:xnack+",), rocm="7.2")
    graph = LockedGraph(LockedTarget(target, {}, {}), {}, {}, NativeRules(), "train")
    for name, found, locked in (
        ("gfx90a", "gfx90a:xnack+", True),
        ("gfx90a:xnack+", "gfx90a:xnack+", True),
        ("gfx90a:xnack-", "gfx90a:xnack-", False),
        ("gfx942", "gfx942", False),
    ):
        answer = why_gpu(graph, gpu(name))
        assert answer is not None
        assert (str(answer.gpu), answer.locked) == (found, locked)
    assert why_gpu(graph, gpu("sm_90")) is None


def test_code_that_does_not_run() -> None:
    """Code for others, kernels for single GPUs, PTX too new, and what is trusted have words of their own."""
    for one, words in (
        (serves(Outcome.OTHER_VENDOR, refused=True), "code for other GPUs only, it has sm_80"),
        (serves(Outcome.OTHER_VENDOR), "code for other GPUs only, it has sm_80; it runs on the CPU"),
        (serves(Outcome.SPECIAL), "kernels for other GPUs alone, it has sm_80"),
        (
            serves(Outcome.REFUSED, refused=True, newer_ptx="9.0"),
            "only PTX 9.0, newer than the target's driver compiles",
        ),
        (serves(Outcome.NO_CODE), "nothing that runs, it has sm_80; it is trusted, as the project says"),
    ):
        assert page("sm_90", WhyGpu(gpu("sm_90"), False, (one,)))[1] == f"kernels 1.0: {words}"
    nobody = page("sm_90", WhyGpu(gpu("sm_90"), False, ()), "kernels")
    assert nobody[0] == "sm_90, no GPU of the target: no package is known to have device code"
    some = page("sm_90", WhyGpu(gpu("sm_90"), False, (serves(Outcome.SERVED),)), "kernels")
    assert some[0] == "sm_90, no GPU of the target, would be served, as far as is known"


def test_runtimes() -> None:
    """Majors are called by their runtime's name, other kinds by their own."""
    kinds = (Kind("12", (("a", "a.so"), ("b", "b.so"))), Kind("13", (("c", "c.so"),)))
    assert page("cuda", WhyRuntime(kinds, True)) == [
        "CUDA 12: a (a.so)",
        "         b (b.so)",
        "CUDA 13: c (c.so)",
        "several kinds of CUDA in one environment: one process should have one",
    ]


def test_targets_that_agree() -> None:
    """Equal blocks stand once under all their targets, empty ones last; of a GPU they are left out."""
    why = WhyPackage(ARTIFACT, (), (), None, ())
    unread: dict[str, tuple[str, ...]] = {"a": (), "b": (), "c": ()}
    text = why_page("blas", {"b": None, "a": why, "c": why}, unread)
    assert [line for line in text.split("\n") if not line.startswith(" ")] == [
        "a, c: no dependency leads to blas 2.0",
        "b: blas is not in the lock",
    ]
    text = why_page("sm_90", {"a": WhyGpu(gpu("sm_90"), True, ()), "b": None}, unread)
    assert "b:" not in text


def test_foreign_text() -> None:
    """Control characters in names of foreign files are shown, not sent; the document has them as they are."""
    why = WhySoname((NeedsIt("a", "1", ("\x1b[2J.so",), (), "machine"),), (), "glibc 2.28")
    assert "\x1b" not in "".join(page("libx.so", why))
    document = why_document("libx.so", "soname", {"t": why, "u": None}, {"t": ("b",), "u": ()}, ["stale"])
    assert document == {
        "node": "libx.so",
        "kind": "soname",
        "targets": {
            "t": {
                "needed_by": [
                    {
                        "package": "a",
                        "version": "1",
                        "binaries": ["\x1b[2J.so"],
                        "versions": [],
                        "supply": "machine",
                        "by": None,
                        "plugin": False,
                    }
                ],
                "brought_by": [],
                "unread": ["b"],
            },
            "u": None,
        },
        "warnings": ["stale"],
    }
