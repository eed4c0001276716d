"""Who we are to an index: user information in URLs, environment variables, netrc, keyring.

Credentials belong to an origin (scheme, host, port) and go nowhere else. They are kept in memory only; `redact` is what
every message passes a URL through.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

if TYPE_CHECKING:
    from gpuenv.model.manifest import Index

__all__ = ["Credentials", "Login", "Origin", "origin_of", "split_login"]

Origin = tuple[str, str, int]
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Login:
    """A user name and a password for basic authentication (RFC 7617); `repr` shows neither."""

    user: str = field(repr=False)
    password: str = field(repr=False)

    @property
    def header(self) -> str:
        """The value of an Authorization header."""
        import base64

        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode("ascii")


def origin_of(url: str) -> Origin:
    """Scheme, host and port of a URL (RFC 6454); an unreadable port counts as 0."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = 0
    return parts.scheme, parts.hostname or "", _PORTS.get(parts.scheme, 0) if port is None else port


def split_login(url: str) -> tuple[str, Login | None]:
    """The URL without user information, and the login that it held."""
    parts = urlsplit(url)
    info, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, None
    user, _, password = info.partition(":")
    return urlunsplit(parts._replace(netloc=host)), Login(unquote(user), unquote(password))


class Credentials:
    """Finds the login for a request; asks a keyring only when told to, after a 401."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._known: dict[Origin, Login] = {}
        self._asked: dict[tuple[Origin, str], Login | None] = {}
        self._netrc: dict[str, Login] | None = None

    def remember(self, url: str) -> str:
        """Keep the URL's own user information for its origin during this session; returns the URL without it."""
        bare, login = split_login(url)
        if login:
            self._known[origin_of(bare)] = login
        return bare

    def find(self, url: str, index: "Index | None") -> Login | None:
        """The login for `url`: from the keyring earlier, the index's URL and variables, the URL itself, or netrc."""
        origin = origin_of(url)
        login = None
        if index and not index.folder and origin_of(index.location) == origin:
            login = self._of_index(index)
        login = login or self._known.get(origin)
        if login and login.password:
            return login
        asked = self._asked.get((origin, login.user if login else ""))
        if asked:
            return asked
        host = self._hosts().get(origin[1])
        return host if host and (login is None or host.user == login.user) else login

    def ask_keyring(self, url: str, index: "Index | None") -> Login | None:
        """The keyring's login for `url`, if the library is installed and knows one; may block, asked once an origin."""
        origin = origin_of(url)
        before = self.find(url, index)
        if before and before.password:
            return None
        user = before.user if before else ""
        if (origin, user) not in self._asked:
            places = [origin_text(url)]
            if index and origin_of(index.location) == origin:
                places.insert(0, split_login(index.location)[0])
            self._asked[origin, user] = _from_keyring([*places, origin[1]], user)
        return self._asked[origin, user]

    def _of_index(self, index: "Index") -> Login | None:
        inside = split_login(index.location)[1]
        name = re.sub(r"[^A-Z0-9]", "_", index.name.upper())
        for prefix in (f"GPUENV_INDEX_{name}_", f"UV_INDEX_{name}_"):
            user, password = (self._environ.get(prefix + what, "") for what in ("USERNAME", "PASSWORD"))
            if user or password:
                return Login(user or (inside.user if inside else ""), password)
        return inside

    def _hosts(self) -> dict[str, Login]:
        """The machines of the netrc file; its `default` entry is left out, it would go to every host."""
        if self._netrc is None:
            import netrc

            home = Path(self._environ.get("HOME") or "~").expanduser()
            try:
                hosts = netrc.netrc(self._environ.get("NETRC") or str(home / ".netrc")).hosts
            except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
                hosts = {}
            self._netrc = {host: Login(entry[0], entry[2] or "") for host, entry in hosts.items() if host != "default"}
        return self._netrc


def origin_text(url: str) -> str:
    """`https://host:port/` of a URL, without user information."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/"


def _from_keyring(places: list[str], user: str) -> Login | None:
    try:
        import keyring
    except ImportError:
        return None
    for place in places:
        try:
            found = keyring.get_credential(place, user or None)
        except Exception:  # noqa: S112 - backends raise what they like; a broken keyring is no keyring
            continue
        if found and found.password:
            return Login(found.username or user, found.password)
    return None
