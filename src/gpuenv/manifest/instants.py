"""`exclude-newer`: an instant (RFC 3339), a day, or a span of time before now, in one canonical text each.

Instants are written `2026-11-01T00:00:00Z`, as index pages write upload times.
Spans are written `7 days`, or `36 hours` where they are no whole days.
"""

import re
from datetime import UTC, date, datetime, timedelta

from gpuenv.manifest.node import Node

__all__ = ["decode_exclude_newer", "instant_of"]

_SPAN = re.compile(r"(\d{1,6}) ?(hour|day|week)s?", re.IGNORECASE)
_ISO_SPAN = re.compile(r"P(?=\d|T\d)(?:(\d{1,6})W)?(?:(\d{1,6})D)?(?:T(\d{1,6})H)?", re.IGNORECASE)
_CANONICAL = re.compile(r"(\d+) (day|hour)s?")
_HOURS = {"hour": 1, "day": 24, "week": 168}
_MOST_HOURS = 24 * 36_500
_FORMS = ("an instant like `2026-11-01T00:00:00Z`, a day like `2026-11-01`, or a span like `7 days` or `P7D`",)


def decode_exclude_newer(node: Node) -> str:
    """The canonical text of an instant or span; a day means its end in UTC, so that its own uploads count."""
    value = node.value
    if isinstance(value, datetime):
        return _instant(node, value)
    if isinstance(value, date):
        return _end_of(node, value)
    if not isinstance(value, str):
        raise node.wrong("a string or a time", hints=_FORMS)
    text = node.text()
    hours = _span_hours(text)
    if hours is not None:
        if not 0 < hours <= _MOST_HOURS:
            raise node.error(f"`{text}` is not a useful span", hints=_FORMS)
        return _plural(hours // 24, "day") if hours % 24 == 0 else _plural(hours, "hour")
    try:
        return _end_of(node, date.fromisoformat(text)) if len(text) == 10 else _instant(node, _rfc3339(text))
    except ValueError:
        raise node.error(f"`{text}` is neither an instant nor a span", hints=_FORMS) from None


def instant_of(exclude_newer: str, now: datetime) -> str:
    """The instant that a decoded `exclude-newer` means at `now` (aware); an instant means itself."""
    found = _CANONICAL.fullmatch(exclude_newer)
    if not found:
        return exclude_newer
    then = now.astimezone(UTC) - timedelta(hours=int(found[1]) * _HOURS[found[2]])
    return _text(then.replace(microsecond=0))


def _span_hours(text: str) -> int | None:
    friendly = _SPAN.fullmatch(text)
    if friendly:
        return int(friendly[1]) * _HOURS[friendly[2].lower()]
    iso = _ISO_SPAN.fullmatch(text)
    if iso:
        weeks, days, hours = (int(part or 0) for part in iso.groups())
        return weeks * 168 + days * 24 + hours
    return None


def _rfc3339(text: str) -> datetime:
    if len(text) < 19 or text[10] not in "Tt ":
        raise ValueError(text)
    return datetime.fromisoformat(text)


def _instant(node: Node, value: datetime) -> str:
    if value.tzinfo is None:
        raise node.error("has no offset from UTC, so it means another instant on every machine", hints=["append `Z`"])
    try:
        return _text(value.astimezone(UTC))
    except OverflowError:
        raise node.error("is out of range", hints=_FORMS) from None


def _end_of(node: Node, day: date) -> str:
    try:
        return f"{(day + timedelta(days=1)).isoformat()}T00:00:00Z"
    except OverflowError:
        raise node.error("is out of range", hints=_FORMS) from None


def _text(instant: datetime) -> str:
    return instant.replace(tzinfo=None).isoformat() + "Z"


def _plural(count: int, unit: str) -> str:
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
