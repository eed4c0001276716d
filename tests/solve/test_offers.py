"""Which releases of a page serve a target, and the reasons why the others do not."""

import pytest

from gpuenv.model.distribution import Page, Release, WheelFile
from gpuenv.model.target import Target
from gpuenv.solve.offers import Offers, describe, named_versions, readable


def wheel(
    version: str, tags: str = "py3-none-any", *, yanked: str | None = None, requires_python: str | None = None
) -> WheelFile:
    name = f"a-{version}-{tags}.whl"
    return WheelFile(name, f"https://files.example/{name}", yanked=yanked, requires_python=requires_python)


def page(*releases: Release) -> Page:
    return Page("a", "default", releases)


def chosen(offers: Offers, *specifiers: str, kept: tuple[str, ...] = ()) -> list[str]:
    return [release.version for release, _ in offers.choices(specifiers, kept)]


PLAIN = page(*(Release(version, (wheel(version),)) for version in ("3.0rc1", "2.0", "1.5", "1.0")))


def test_kept_versions_come_first_in_their_order() -> None:
    """Preferred versions lead, as far as the specifiers admit them; the rest is newest first."""
    offers = Offers(PLAIN, Target("t"), None)
    assert chosen(offers, kept=("1.0", "9.9", "1.5")) == ["1.0", "1.5", "2.0"]
    assert chosen(offers, "<1.2", kept=("1.5", "1.0")) == ["1.0"]


def test_kept_prerelease_stays_among_final_versions() -> None:
    """A pre-release that is locked stays locked although nobody asks for it."""
    assert chosen(Offers(PLAIN, Target("t"), None), kept=("3.0rc1",)) == ["3.0rc1", "2.0", "1.5", "1.0"]


def test_specifiers_in_any_order_choose_the_same() -> None:
    """Narrowing one by one ends where narrowing at once would."""
    offers = Offers(PLAIN, Target("t"), None)
    assert chosen(offers, ">1.0", "<2") == chosen(offers, "<2", ">1.0") == ["1.5"]
    assert chosen(offers, "", ">1.0,<2") == ["1.5"]


def test_two_readers_of_one_page_do_not_disturb_each_other() -> None:
    """Releases judged for one question are still there for another that began before."""
    offers = Offers(PLAIN, Target("t"), None)
    first, second = offers.choices([">=1"]), offers.choices([">=1"])
    assert next(first)[0].version == next(second)[0].version == "2.0"
    assert [release.version for release, _ in first] == [release.version for release, _ in second] == ["1.5", "1.0"]


def test_best_tag_wins_then_the_highest_build() -> None:
    """Of several wheels the most specific tag is taken, and among equals the highest build number, as a number."""
    wheels = (
        wheel("1.0"),
        wheel("1.0", "9-cp312-cp312-manylinux_2_17_x86_64"),
        wheel("1.0", "10-cp312-cp312-manylinux_2_17_x86_64"),
        wheel("1.0", "11-cp312-abi3-manylinux_2_17_x86_64"),
    )
    found = Offers(page(), Target("t"), None).wheel(Release("1.0", wheels))
    assert found == wheels[2]


def test_bundles_come_before_wheels_of_the_same_rank() -> None:
    """A bundle is taken before the wheel of the same tags and build, wherever it stands, and not before better ones."""
    plain, built = wheel("1.0"), wheel("1.0", "3-py3-none-any")
    bundle, better = packed(plain), wheel("1.0", "py312-none-any")

    def best(*files: WheelFile) -> WheelFile | str:
        return Offers(page(), Target("t"), None).wheel(Release("1.0", files))

    assert best(plain, bundle) == best(bundle, plain) == bundle
    assert best(bundle, built) == built
    assert best(packed(built), built, bundle) == packed(built)
    assert best(bundle, better) == better


def packed(found: WheelFile) -> WheelFile:
    """The bundle of a wheel."""
    return WheelFile(f"{found.filename}.tar.zst", f"{found.url}.tar.zst")


@pytest.mark.parametrize(
    ("release", "reason"),
    [
        (Release("1.0", (), sdist=True), "has only a source distribution, and building those is not supported yet"),
        (Release("1.0", (wheel("1.0", yanked=""),)), "was yanked"),
        (Release("1.0", (wheel("1.0", yanked="bad"),)), "was yanked (bad)"),
        (Release("1.0", (wheel("1.0", requires_python=">=3.13"),)), "requires Python >=3.13"),
        (
            Release("1.0", (wheel("1.0", "cp311-cp311-win32"),)),
            "has no wheel for cp312 on linux-x86_64 with glibc 2.28 (only cp311-cp311-win32)",
        ),
        (
            Release("1.0", tuple(wheel("1.0", f"cp3{minor}-cp3{minor}-win32") for minor in (12, 11, 10, 9))),
            "has no wheel for cp312 on linux-x86_64 with glibc 2.28 (only cp312-cp312-win32, cp311-cp311-win32, "
            "cp310-cp310-win32 and 1 more)",
        ),
        (
            Release("1.0", (wheel("1.0", "cp311-cp311-win32"), wheel("1.0", requires_python="<3"))),
            "requires Python <3",
        ),
    ],
)
def test_refused_release_says_why(release: Release, reason: str) -> None:
    """The reason is about the wheel that came closest, and without one about what there is."""
    assert Offers(page(release), Target("t"), None).wheel(release) == reason


@pytest.mark.parametrize(
    ("uploaded", "reason"),
    [
        ("2026-01-01T00:00:00Z", None),
        ("2026-01-01T00:00:00.999999Z", None),
        ("2026-01-01T00:00:01Z", "was uploaded 2026-01-01, after exclude-newer (2026-01-01T00:00:00Z)"),
        (None, "has no upload time, which exclude-newer needs"),
    ],
)
def test_upload_time_counts_to_the_second(uploaded: str | None, reason: str | None) -> None:
    """exclude-newer admits what was uploaded in its very second, and nothing that has no time."""
    file = WheelFile("a-1.0-py3-none-any.whl", "https://files.example/a", uploaded=uploaded)
    found = Offers(page(), Target("t"), "2026-01-01T00:00:00Z").wheel(Release("1.0", (file,)))
    assert found == (reason or file)


def test_refusals_are_of_admitted_versions_only() -> None:
    """What the specifiers exclude is no refusal; what they admit and nobody may take is one, newest first."""
    gone = page(
        Release("3.0b1", (wheel("3.0b1"),)),
        Release("2.0", (wheel("2.0", "cp312-cp312-win32"),)),
        Release("1.0", (wheel("1.0", yanked=""),)),
    )
    offers = Offers(gone, Target("t"), None)
    assert [(r.version, r.reason.split(" (")[0]) for r in offers.refusals([">=2"])] == [
        ("3.0b1", "is a pre-release, and no requirement names one"),
        ("2.0", "has no wheel for cp312 on linux-x86_64 with glibc 2.28"),
    ]
    assert offers.refusals(["==1.0"]) == ()
    assert chosen(offers, "==1.0") == ["1.0"]
    assert [refusal.version for refusal in offers.refusals(["<2"])] == ["1.0"]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (Target("t"), "cp312 on linux-x86_64 with glibc 2.28"),
        (Target("t", python="3.13t"), "cp313t on linux-x86_64 with glibc 2.28"),
        (Target("t", glibc=None, musl="1.2"), "cp312 on linux-x86_64 with musl 1.2"),
        (Target("t", platform="macos-arm64", glibc=None, macos="14.0"), "cp312 on macos-arm64 14.0"),
        (Target("t", platform="windows-x86_64", glibc=None), "cp312 on windows-x86_64"),
    ],
)
def test_target_in_the_words_of_tags(target: Target, words: str) -> None:
    """A target is described by what decides whether it can load a wheel."""
    assert describe(target) == words


def test_versions_that_a_specifier_names() -> None:
    """Bounds, pins and wildcards name versions; `===` names one only if its text is a version."""
    assert [str(version) for version in named_versions(">=2,<3,!=2.5.*")] == ["2", "2.5", "3"]
    assert named_versions("===not-a-version") == []


def test_readable_requires_python() -> None:
    """Text that is no specifier is told apart from one that is."""
    assert readable(">=3.9,<4") and not readable("3 or so")
