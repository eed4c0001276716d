"""Which node is decided next."""

from collections.abc import Iterator
from typing import Any

from resolvelib.structs import RequirementInformation

from gpuenv.model.version import parse_version
from gpuenv.solve.nodes import Candidate, Key, Kind, Need
from gpuenv.solve.preference import Order


def key(name: str, extra: str = "") -> Key:
    return Key(Kind.DISTRIBUTION, name, extra)


def asked(*needs: Need) -> dict[Key, Iterator[Any]]:
    return {need.key: iter([RequirementInformation(need, None)]) for need in needs}


def following(order: Order, *needs: Need, causes: Any = ()) -> str:
    return order.next([need.key for need in needs], asked(*needs), causes).name


def test_what_leaves_no_choice_comes_first() -> None:
    """The target's own facts, then URLs, then pins, then everything else."""
    host = Need(Key(Kind.HOST, "python"), ">=3")
    url, pin, wide = Need(key("url"), url="https://files.example/u.whl"), Need(key("pin"), "==1.0"), Need(key("wide"))
    order = Order()
    order.seen([wide, pin, url, host])
    assert following(order, wide, pin, url, host) == "python"
    assert following(order, wide, pin, url) == "url"
    assert following(order, wide, pin) == "pin"


def test_wildcard_is_no_pin() -> None:
    """`==1.*` leaves a choice."""
    order = Order()
    wide, wildcard = Need(key("wide"), ">=1"), Need(key("wildcard"), "==1.*")
    order.seen([wide, wildcard])
    assert following(order, wildcard, wide) == "wide"


def test_first_discovered_comes_first_not_the_first_in_the_alphabet() -> None:
    """What the project names is decided before what its dependencies need."""
    order = Order()
    order.seen([Need(key("z"))])
    order.seen([Need(key("a"))])
    assert following(order, Need(key("a")), Need(key("z"))) == "z"


def test_trouble_moves_forward() -> None:
    """A node that a conflict was about, or whose requirement made it, is decided earlier; one conflict counts once."""
    order = Order()
    first, second, third = Need(key("first")), Need(key("second")), Need(key("third"))
    order.seen([first, second, third])
    maker = Candidate(key("third"), parse_version("1"), None)
    causes = [RequirementInformation(second, maker)]
    assert following(order, first, second, third, causes=causes) == "second"
    assert following(order, first, third, causes=causes) == "third"
    again = [RequirementInformation(third, None)]
    assert following(order, first, second, third, causes=again) == "third"
