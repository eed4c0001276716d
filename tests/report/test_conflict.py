"""A conflict in words: what is said, and what would be untrue to say."""

from dataclasses import replace

import pytest

from gpuenv.model.answer import Conflict, Demand, Refusal
from gpuenv.report.conflict import no_solution

ONE = Conflict(
    target="box",
    subject="c",
    chains=((Demand("app", "", "a"), Demand("a", "3.0", "c>=9")),),
    known=True,
    newest="2.0",
    refusals=(),
    nearest=("2.0",),
)
TWO = replace(ONE, chains=((Demand("app", "", "c<2"),), *ONE.chains), nearest=("9.0", "1.0"))


def causes(conflict: Conflict) -> tuple[str, ...]:
    return no_solution(conflict).causes


def hints(conflict: Conflict) -> tuple[str, ...]:
    return no_solution(conflict).hints


def refused(*refusals: tuple[str, str]) -> Conflict:
    return replace(ONE, refusals=tuple(Refusal(version, reason) for version, reason in refusals))


def test_message_names_the_target() -> None:
    """The one sentence says for which target there is no solution, and exits with 1."""
    error = no_solution(ONE)
    assert (error.message, error.exit_code) == ("no solution for target box", 1)


@pytest.mark.parametrize(
    ("tried", "line"),
    [
        (1, "a 3.0 requires c>=9"),
        (2, "a 3.0 requires c>=9 (so does the other version that was tried)"),
        (4, "a 3.0 requires c>=9 (so do 3 other versions of it that were tried)"),
    ],
)
def test_other_versions_are_counted(tried: int, line: str) -> None:
    """A demand that other versions share says how many."""
    chain = (ONE.chains[0][0], replace(ONE.chains[0][1], tried=tried))
    assert causes(replace(ONE, chains=(chain,)))[1] == line


def test_shared_links_stand_once() -> None:
    """Two chains with the same beginning tell it once."""
    other = (ONE.chains[0][0], Demand("b", "1.0", "c<2"))
    assert causes(replace(ONE, chains=(ONE.chains[0], other))) == (
        "app requires a",
        "a 3.0 requires c>=9",
        "b 1.0 requires c<2",
        "no version of c satisfies all of these",
    )


def test_that_nothing_satisfies_is_said_only_where_true() -> None:
    """A version that meets all demands, or one that excludes itself, is told instead."""
    assert causes(replace(TWO, satisfying="1.5"))[-1] == "c 1.5 satisfies all of these, and fails for another reason"
    itself = (Demand("app", "", "c"), Demand("c[x]", "2.0", "c<2"))
    assert causes(replace(ONE, chains=(itself,)))[-1] == "c 2.0 excludes itself"
    assert hints(replace(ONE, chains=(itself,))) == ()


def test_nearest_versions_are_named() -> None:
    """A single demand is answered with what there is beside it."""
    assert causes(ONE)[-1] == "no version of c satisfies this (the newest is 2.0)"
    between = replace(ONE, newest="4.0", nearest=("2.0", "3.0"))
    assert causes(between)[-1] == "no version of c satisfies this (there are 2.0, 3.0, and the newest is 4.0)"
    below = replace(ONE, newest="4.0", nearest=("3.0",))
    assert causes(below)[-1] == "no version of c satisfies this (there is 3.0, and the newest is 4.0)"


def test_equal_refusals_share_a_line_and_the_rest_is_counted() -> None:
    """Three kinds of refusal are told, newest first; of the others how many versions they are about."""
    found = refused(*((f"{n}.0", f"reason {n // 2}") for n in range(12, 0, -1)))
    assert causes(found)[2:] == (
        "c 12.0 reason 6",
        "c 11.0 (and 1 older) reason 5",
        "c 9.0 (and 1 older) reason 4",
        "7 older versions would not do either",
    )


def test_own_line_then_override_is_suggested() -> None:
    """The project's own demand is the first to change, an override with the newest usable version the second way."""
    assert hints(TWO) == (
        "change `c<2` in pyproject.toml",
        'if you know better, decide for all: overrides = ["c==9.0"] in [tool.gpuenv]',
    )


@pytest.mark.parametrize(
    ("demand", "hint"),
    [
        (Demand("tool.gpuenv.constraints", "", "c<2"), "change `c<2` in tool.gpuenv.constraints"),
        (
            Demand("b", "1.0", "c==7 (as tool.gpuenv.overrides says)"),
            "change `c==7` in tool.gpuenv.overrides",
        ),
    ],
)
def test_no_override_is_suggested_where_it_would_not_help(demand: Demand, hint: str) -> None:
    """A constraint holds against overrides, and a second override against the first: those lines are pointed at."""
    assert hints(replace(ONE, chains=(*ONE.chains, (demand,)))) == (hint,)


def test_two_urls() -> None:
    """Two URLs for one name: a source in the manifest decides."""
    first, second = "https://files.example/c-1.whl", "https://files.example/c-2.whl"
    chains = ((Demand("a", "1.0", f"c @ {first}"),), (Demand("b", "1.0", f"c @ {second}"),))
    found = replace(ONE, chains=chains, newest="", nearest=())
    assert causes(found)[-1] == "c can come from one URL only"
    assert hints(found) == (f'decide for all: c = {{ url = "{first}" }} in [tool.gpuenv.sources]',)


def test_secrets_of_urls_are_not_shown() -> None:
    """User names and passwords of direct URLs stay out of causes and hints."""
    chain = (Demand("app", "", "c @ https://me:secret@files.example/c-1.whl"),)
    error = no_solution(replace(ONE, chains=(chain, ONE.chains[0]), newest=""))
    assert "secret" not in " ".join([*error.causes, *error.hints])
    assert error.causes[0] == "app requires c @ https://***@files.example/c-1.whl"


@pytest.mark.parametrize(
    ("reason", "hint"),
    [
        ("requires Python >=3.13", 'c 2.0 would do with python = "3.13" in [tool.gpuenv.targets.box]'),
        ("requires Python <3.12", 'c 2.0 would do with python = "3.11" in [tool.gpuenv.targets.box]'),
        ("requires Python >=3.99", None),
        ("requires Python 3 or so", None),
        (
            "has no wheel for cp312 on linux-x86_64 with glibc 2.28 (only cp312-cp312-manylinux_2_39_x86_64, "
            "cp312-cp312-manylinux_2_34_x86_64)",
            'if those machines have it, set glibc = "2.34" in [tool.gpuenv.targets.box]',
        ),
        (
            "has no wheel for cp312 on linux-x86_64 with glibc 2.28 (only cp313-cp313-manylinux_2_34_x86_64)",
            "compare platform, python and glibc in [tool.gpuenv.targets.box] with the wheels named above",
        ),
        (
            "has no wheel for cp312 on linux-x86_64 with glibc 2.28 (only cp312-cp312-manylinux_2_34_aarch64)",
            "compare platform, python and glibc in [tool.gpuenv.targets.box] with the wheels named above",
        ),
        (
            "has no wheel for cp312 on macos-arm64 14.0 (only cp312-cp312-win32)",
            "compare platform, python and glibc in [tool.gpuenv.targets.box] with the wheels named above",
        ),
        (
            "was uploaded 2026-03-01, after exclude-newer (2026-02-01)",
            "move exclude-newer in [tool.gpuenv] to a later date",
        ),
        ("has no upload time, which exclude-newer needs", None),
        ("was yanked", "to take a yanked version all the same, require `c==2.0`"),
        ("is a pre-release, and no requirement names one", "to take a pre-release, require `c>=2.0`"),
        (
            "has only a source distribution, and building those is not supported yet",
            'build a wheel of c 2.0 into a folder, and add it: index = [{ name = "built", path = "wheels" }]',
        ),
    ],
)
def test_refusal_has_the_hint_that_would_help(reason: str, hint: str | None) -> None:
    """Each kind of refusal has its own way out, or none where there is none."""
    assert hints(refused(("2.0", reason))) == ((hint,) if hint else ())


def test_one_hint_a_kind_and_three_at_most() -> None:
    """The newest version stands for its kind; a fourth kind has no room."""
    found = refused(
        ("5.0", "was yanked (a)"),
        ("4.0", "was yanked (b)"),
        ("3.0", "is a pre-release, and no requirement names one"),
        ("2.0", "requires Python >=3.13"),
        ("1.0", "was uploaded 2026-03-01, after exclude-newer (2026-02-01)"),
    )
    assert [hint.rpartition(" ")[0] for hint in hints(found)][:2] == [
        "to take a yanked version all the same, require",
        "to take a pre-release, require",
    ]
    assert len(hints(found)) == 3 and "`c==5.0`" in hints(found)[0]


def test_wheels_to_compare_with_are_shown() -> None:
    """Where a fourth reason is about tags, which nobody sees, no hint speaks of them."""
    tags = "has no wheel for cp312 on linux-x86_64 with glibc 2.28 (only cp310-cp310-win_amd64)"
    others = [(f"{number}.0", f"has no code for sm_{number} (only sm_90)") for number in (83, 82, 81)]
    assert "compare" in " ".join(hints(refused(*others[:2], ("1.0", tags))))
    assert "compare" not in " ".join(hints(refused(*others, ("1.0", tags))))


def test_unknown_name() -> None:
    """A name that no index knows is a typo or a missing index."""
    found = replace(ONE, known=False, newest="")
    assert causes(found)[-1] == "no configured index knows c"
    assert hints(found) == ("check the spelling of `c`, or add the index that has it under [[tool.gpuenv.index]]",)


def test_what_the_target_brings() -> None:
    """The Python of the target against a package's demand, and against the project's own."""
    found = replace(ONE, subject="host:python", provides="3.10.0", chains=((Demand("a", "1.0", "Python >=3.11"),),))
    assert causes(found) == ("a 1.0 requires Python >=3.11", "target box brings Python 3.10.0")
    assert hints(found) == ('set python = "3.11" in [tool.gpuenv.targets.box]',)
    own = replace(found, chains=((Demand("app", "", "Python >=3.11"),),))
    assert hints(own)[1:] == ("widen requires-python in [project]",)


PLACE = "[tool.gpuenv.targets.box]"


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (
            "has no variant for the target (mkl: it needs `blas :: library :: mkl`, the provider of which is optional "
            "and not used)",
            ('use it: optional = ["blas"] in [tool.gpuenv.variants]',),
        ),
        (
            "has no variant for the target (v3: it needs `x86_64 :: level :: v3`, and the target supports v1)",
            (f'if those machines have it, set cpu = "x86-64-v3" in {PLACE}',),
        ),
        (
            "has no variant for the target (a: it needs `npu :: kind :: a3, a2`, and the target supports nothing of "
            "`npu`)",
            (f'if those machines have it, set properties = ["npu :: kind :: a3"] in {PLACE}',),
        ),
        (
            "has no variant for the target (a: it needs `amd :: gfx_arch :: gfx942`, and the target supports nothing "
            "of `amd`)",
            (),
        ),
        (
            "has no variant for all GPUs of the target (a serves gfx90a, b serves gfx942, a serves gfx908): split it "
            "into one target for each",
            (f'make targets of it: gpu = ["gfx90a", "gfx908"] and gpu = ["gfx942"] in place of {PLACE}',),
        ),
        (
            "has variants, and its index does not say which: it has no c-1.0-variants.json",
            ("who keeps the index writes it: gpuenv index FOLDER",),
        ),
        (
            "as variant rocm claims gfx942, and carries no code for it",
            ('if others bring its code: gpu-code = "trust" in [tool.gpuenv.packages.c]',),
        ),
    ],
)
def test_hints_for_variants(reason: str, expected: tuple[str, ...]) -> None:
    """What can be stated of the target is; what follows from it anyway is not, and nobody is told to find a library."""
    assert hints(refused(("1.0", reason))) == expected


def test_hints_for_binaries_of_variants() -> None:
    """What is wrong with a variant's binaries gets the hints that a wheel without label gets."""
    reason = "needs libfoo.so.1 (c/_c.so), which no configured index provides"
    plain, of_variant = refused(("1.0", reason)), refused(("1.0", f"as variant cu13 {reason}"))

    assert hints(of_variant) == hints(plain) != ()
