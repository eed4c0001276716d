"""What of a URL may be written down, and what may be shown."""

import re
from urllib.parse import urlsplit, urlunsplit

__all__ = ["redact", "redacted", "without_credentials"]

_USERINFO = re.compile(r"(?<=://)[^\s\"']*@")


def without_credentials(url: str) -> str:
    """The URL without user name and password (RFC 3986, userinfo): fit to be written down."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else url


def redact(url: str) -> str:
    """The URL as a message may show it: no user information, no query (signatures live there), no fragment."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def redacted(text: str) -> str:
    """Any text with the user names and passwords of URLs in it replaced, fit to be shown."""
    return _USERINFO.sub("***@", text)
