"""Libraries that live binaries of other artifacts need: live, with what they load, unless rules say otherwise."""

from gpuenv.model.facts import NativeFacts, ObjectFacts
from gpuenv.model.linkage import Role, linkage, linkage_of_library
from gpuenv.model.rules import PackageRules
from gpuenv.model.target import Target

CPU = Target("cpu")


def library(name: str, *needed: str) -> ObjectFacts:
    """A library for x86-64 whose SONAME is its file name."""
    return ObjectFacts(f"lib/{name}", 1, "elf", machine="x86_64", type="shared", soname=name, needed=needed)


TREE = NativeFacts(
    None,
    1,
    objects=(
        library("librocsparse.so.0", "libinner.so.1", "libamdhip64.so.5"),
        library("libinner.so.1", "libnuma.so.1"),
        library("librocfft.so.0", "libfftw3.so.3"),
    ),
)


def live(wanted: tuple[str, ...], rules: PackageRules | None = None) -> set[str]:
    """The sonames that are live on a target without a GPU."""
    roles = linkage(TREE, CPU, wanted=wanted, rules=rules or PackageRules()).roles
    return {placed.path.removeprefix("lib/") for placed in roles if placed.role is Role.LIVE}


def test_what_others_need_wakes_with_what_it_loads() -> None:
    """Of libraries that sleep for want of a GPU those wake that are wanted, and those that they load; no others."""
    assert live(()) == set()
    assert live(("librocsparse.so.0",)) == {"librocsparse.so.0", "libinner.so.1"}
    asked = linkage(TREE, CPU, wanted=("librocsparse.so.0",))
    assert [need.soname for need in asked.unmet] == ["libamdhip64.so.5", "libnuma.so.1"]


def test_one_library_asks_for_itself_and_what_it_loads() -> None:
    """The needs of one library are its own and those of what it loads; of one that is not there, none."""
    assert [need.soname for need in linkage_of_library(TREE, CPU, "librocfft.so.0").unmet] == ["libfftw3.so.3"]
    asked = linkage_of_library(TREE, CPU, "librocsparse.so.0")
    assert [need.soname for need in asked.unmet] == ["libamdhip64.so.5", "libnuma.so.1"]
    assert linkage_of_library(TREE, CPU, "libother.so.1").needs == ()


def test_what_rules_call_dormant_is_not_woken() -> None:
    """A project's word that a binary is never loaded counts, whoever needs it."""
    rules = PackageRules(dormant=("lib/librocsparse*",))
    assert live(("librocsparse.so.0",), rules) == set()
    assert linkage_of_library(TREE, CPU, "librocsparse.so.0", rules=rules).unmet == ()
