"""HTTP as the index client needs it: pooled, retried, redirected by hand, silent about credentials.

Importing this module costs; it is imported when a client is entered.
"""

import asyncio
import email.utils
import os
import secrets
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NoReturn, TypeVar
from urllib.parse import urljoin, urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

import aiohttp
from yarl import URL

from gpuenv import __version__
from gpuenv.errors import NetworkError, OfflineError, TooLarge
from gpuenv.index.credentials import Credentials, Login, origin_of
from gpuenv.model.manifest import Index
from gpuenv.model.url import redact

__all__ = ["Answer", "Http", "Interrupted"]

T = TypeVar("T")

RETRIES = 3
BACKOFF = 0.25  # seconds before the first retry, doubled for each further one
LONGEST_WAIT = 30.0  # seconds; a server that asks for more patience than this is not answered
REDIRECTS = 10
CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 30.0
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_MOVED = {301, 302, 303, 307, 308}


class Interrupted(Exception):
    """One attempt failed in a way that another may mend. moved: it got some way, so the count of attempts restarts."""

    def __init__(self, cause: str, *, wait: float | None = None, moved: bool = False) -> None:
        super().__init__(cause)
        self.cause = cause
        self.wait = wait
        self.moved = moved


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. url: where it came from after redirects, without credentials."""

    status: int
    url: str
    headers: Mapping[str, str]
    body: bytes


class Http:
    """One session of requests in one event loop."""

    def __init__(
        self, credentials: Credentials, *, offline: bool, connections: int, environ: Mapping[str, str]
    ) -> None:
        self.credentials = credentials
        self.offline = offline
        self._environ = environ
        self._proxies = _proxies(environ)
        self._tls: ssl.SSLContext | None = None
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, ttl_dns_cache=300),
            # `connect` would count the time spent waiting for a free connection of the pool
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=_read_timeout(environ)),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"gpuenv/{__version__}"},
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()
        await asyncio.sleep(0)  # transports close in the next round of the loop

    async def fetch(self, url: str, index: Index | None, *, headers: Mapping[str, str], limit: int) -> Answer:
        """One small answer of a status that `_check` lets pass; anything else is a NetworkError, after retries."""

        async def attempt() -> Answer:
            async with self.open(url, index, headers=headers) as response:
                # of a file that was asked for in part and comes whole, nobody wants the body
                whole = "Range" in headers and response.status == 200
                body = b"" if whole else await _body(response, limit, url)
                return Answer(response.status, str(response.url), response.headers, body)

        return await self.retrying(url, index, attempt)

    async def retrying(self, url: str, index: Index | None, attempt: Callable[[], Awaitable[T]]) -> T:
        """Run `attempt` until it answers, at most RETRIES times again, with growing and random waits between."""
        failures = 0
        while True:
            try:
                return await attempt()
            except Interrupted as error:
                cause, wait, failures = error.cause, error.wait, 0 if error.moved else failures
            except aiohttp.ClientSSLError as error:
                _fail(url, index, f"no secure connection: {_words(error)}")
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, ConnectionError, TimeoutError) as error:
                cause, wait = _words(error), None
            except (aiohttp.ClientError, ValueError) as error:
                _fail(url, index, _words(error))
            failures += 1
            wait = BACKOFF * 2 ** (failures - 1) * (0.5 + secrets.randbelow(1000) / 1000) if wait is None else wait
            if failures > RETRIES or wait > LONGEST_WAIT:
                _fail(url, index, cause)
            await asyncio.sleep(wait)

    @asynccontextmanager
    async def open(
        self, url: str, index: Index | None, *, headers: Mapping[str, str], buffer: int = 1 << 16
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One attempt at an answer, its body unread; busy servers raise Interrupted, refusals NetworkError."""
        if self.offline:
            raise OfflineError(
                f"{redact(url)} is not in the cache, and the network is switched off",
                hints=["run the command once without --offline"],
            )
        login = self.credentials.find(url, index)
        response = await self._follow(url, headers, login, buffer)
        try:
            if response.status == 401:
                login = await asyncio.to_thread(self.credentials.ask_keyring, url, index)
                if login:
                    response.release()
                    response = await self._follow(url, headers, login, buffer)
            # not every server knows every kind of range, and whoever asks for one knows another way
            if not ("Range" in headers and response.status in (400, 501)):
                await _check(response, url, index, login)
            yield response
        finally:
            # a body that was not read to its end takes its connection with it
            if response.content.at_eof():
                response.release()
            else:
                response.close()

    async def _follow(
        self, url: str, headers: Mapping[str, str], login: Login | None, buffer: int
    ) -> aiohttp.ClientResponse:
        here = url
        for _ in range(REDIRECTS + 1):
            sent = {**headers, "Authorization": login.header} if login else dict(headers)
            response = await self._session.request(
                "GET",
                URL(here, encoded=here.isascii() and " " not in here),
                headers=sent,
                allow_redirects=False,
                proxy=self._proxy(here),
                ssl=self._context() if here.startswith("https:") and not self._usual_tls() else True,
                read_bufsize=buffer,
            )
            if response.status not in _MOVED or "Location" not in response.headers:
                return response
            there = urljoin(here, response.headers["Location"])
            response.close()
            if not there.startswith(("https://", "http://")) or (here[:6] == "https:" and there[:6] != "https:"):
                raise NetworkError(f"{redact(url)} redirects to {redact(there)}, which is not safe to follow")
            # what one server was told in confidence is not told to the next, nor ever again in this chain
            if "@" in urlsplit(there).netloc or origin_of(there) != origin_of(here):
                login = None
                there = _bare(there)
            here = there
        raise NetworkError(f"{redact(url)} redirects more than {REDIRECTS} times")

    def _usual_tls(self) -> bool:
        """Is the context that aiohttp makes when it is imported the right one? Making another takes 50 ms."""
        usual = all(self._environ.get(name) == os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
        file = self._environ.get("SSL_CERT_FILE")
        return usual and (not file or os.access(file, os.R_OK))

    def _context(self) -> ssl.SSLContext:
        """TLS with the system's certificates, or those that SSL_CERT_FILE and SSL_CERT_DIR name."""
        if self._tls is None:
            file, folder = self._environ.get("SSL_CERT_FILE"), self._environ.get("SSL_CERT_DIR")
            try:
                self._tls = ssl.create_default_context(cafile=file or None, capath=folder or None)
            except OSError as error:
                raise NetworkError(
                    f"the certificates in {file or folder} cannot be read", causes=[str(error)]
                ) from None
        return self._tls

    def _proxy(self, url: str) -> str | None:
        parts = urlsplit(url)
        proxy = self._proxies.get(parts.scheme) or self._proxies.get("all")
        if not proxy or proxy_bypass_environment(parts.netloc, self._proxies):
            return None
        return proxy if "://" in proxy else f"http://{proxy}"


def _bare(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """`http_proxy` and its siblings by scheme; the lower-case spelling wins, as it does for curl."""
    found: dict[str, str] = {}
    for scheme in ("http", "https", "all", "no"):
        value = environ.get(f"{scheme}_proxy", environ.get(f"{scheme.upper()}_PROXY", ""))
        if value:
            found[scheme] = value
    return found


def _read_timeout(environ: Mapping[str, str]) -> float:
    try:
        seconds = float(environ.get("GPUENV_HTTP_TIMEOUT") or environ.get("UV_HTTP_TIMEOUT") or READ_TIMEOUT)
    except ValueError:
        return READ_TIMEOUT
    return seconds if seconds > 0 else READ_TIMEOUT


async def _body(response: aiohttp.ClientResponse, limit: int, url: str) -> bytes:
    """The decoded body; more than `limit` bytes of it are refused, however small they were packed."""
    parts, size = [], 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > limit:
            raise TooLarge(f"{redact(url)} answered with more than {limit >> 20} MiB")
        parts.append(part)
    return b"".join(parts)


async def _check(response: aiohttp.ClientResponse, url: str, index: Index | None, login: Login | None) -> None:
    """Let useful answers pass; busy servers raise Interrupted, everything else a NetworkError."""
    status = response.status
    if status in (200, 206, 304, 404, 410, 416):
        return
    if status in _TRANSIENT:
        raise Interrupted(f"it answered {status} {response.reason}", wait=_retry_after(response.headers))
    if status in (401, 403):
        # storage services that may not list their keys say this of every key that does not exist
        xml = status == 403 and login is None and "xml" in response.headers.get("Content-Type", "")
        if xml and b"<Code>AccessDenied</Code>" in await response.content.read(4096):
            return
        _refuse(status, url, index)
    _fail(url, index, f"it answered {status} {response.reason}")


def _refuse(status: int, url: str, index: Index | None) -> NoReturn:
    if index is None:
        raise NetworkError(
            f"{redact(url)} refused access ({status})", hints=["put a login for this host into ~/.netrc"]
        )
    name = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in index.name.upper())
    raise NetworkError(
        f'index "{index.name}" refused access ({status}): {redact(url)}',
        hints=[f"set GPUENV_INDEX_{name}_USERNAME and GPUENV_INDEX_{name}_PASSWORD, or put a login into ~/.netrc"],
    )


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Retry-After in seconds (RFC 9110, 10.2.3), from seconds or from a date; capped."""
    text = headers.get("Retry-After", "").strip()
    if text.isdigit():
        return min(float(text), LONGEST_WAIT)
    try:
        return min(max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time()), LONGEST_WAIT)
    except ValueError:
        return None


def _fail(url: str, index: Index | None, cause: str) -> NoReturn:
    who = f'index "{index.name}"' if index else urlsplit(redact(url)).netloc
    raise NetworkError(f"{who} did not answer usefully: {redact(url)}", causes=[cause]) from None


def _words(error: Exception) -> str:
    """What happened, never with the library's own text where that may hold a URL."""
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return str(error.certificate_error)
    if isinstance(error, aiohttp.ClientConnectorError):
        return os.strerror(error.os_error.errno) if error.os_error.errno else str(error.os_error)
    if isinstance(error, aiohttp.ClientPayloadError):
        return "its answer ended early or cannot be unpacked"
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionResetError):
        return "it closed the connection"
    if isinstance(error, aiohttp.InvalidURL | ValueError):
        return "that is not a URL that can be opened"
    return str(error.strerror) if isinstance(error, OSError) and error.strerror else "it does not speak HTTP"
