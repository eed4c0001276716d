"""How long an answer is believed, and how a server is asked whether it still holds (RFC 9111)."""

import re
import time
from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["Freshness", "believed", "conditions", "freshness"]

BELIEVED = 600.0  # seconds that an answer without any word about its age is believed
LONGEST = 7 * 86400.0  # seconds that any answer is: what says more was kept while the clock was wrong


class Freshness(NamedTuple):
    """What an answer said of itself. etag, modified: its validators, or "". expires: seconds since the epoch."""

    etag: str
    modified: str
    expires: float


def conditions(accept: str, held: Freshness | None, *, refresh: bool) -> dict[str, str]:
    """The headers of a question for something that may be `held`; refresh: caches on the way must ask too."""
    headers = {"Accept": accept, "Accept-Encoding": "gzip, deflate"}
    if refresh:
        headers["Cache-Control"] = "no-cache"
    if held and held.etag:
        headers["If-None-Match"] = held.etag
    elif held and held.modified:
        headers["If-Modified-Since"] = held.modified
    return headers


def freshness(headers: Mapping[str, str], before: Freshness | None = None) -> Freshness | None:
    """Of an answer with these headers; None if the server asks not to keep it. before: of what a 304 confirms."""
    control = headers.get("Cache-Control", "").lower()
    if "no-store" in control:
        return None
    etag = headers.get("ETag", before.etag if before else "")
    modified = headers.get("Last-Modified", before.modified if before else "")
    found = re.search(r"\bmax-age\s*=\s*\"?(\d{1,9})", control)
    if "no-cache" in control:
        lifetime = 0.0
    elif found:
        age = headers.get("Age", "")
        lifetime = float(found.group(1)) - (int(age) if age.isdecimal() else 0)
    else:
        lifetime = 0.0 if etag else BELIEVED
    return Freshness(etag, modified, time.time() + min(lifetime, LONGEST))


def believed(expires: float) -> bool:
    """Does an answer still hold without a question? expires: as `Freshness` has it."""
    return 0 < expires - time.time() <= LONGEST
