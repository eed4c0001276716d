"""A package index on the loopback interface, as good or as bad as a test wants it.

    with SimpleServer() as server:
        server.add(make_wheel(tmp_path, "numpy", "2.0"))
        ... Index("local", server.url) ...
        assert server.paths == ["/simple/numpy/"]

Pages are at `/simple/NAME/`, wheels at `/files/FILENAME`, their metadata at `/files/FILENAME.metadata`, their native
facts at `/files/FILENAME.native.json`.
"""

import base64
import gzip
import hashlib
import html
import json
import re
import socket
import struct
import threading
import time
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

__all__ = ["Fault", "Request", "SimpleServer"]

TIMEOUT = 10.0  # seconds after which the server gives up on a silent client
JSON = "application/vnd.pypi.simple.v1+json"


@dataclass(frozen=True)
class Request:
    """One request as it came: method, path with query, and headers by lower-case name."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Fault:
    """What goes wrong for the next `times` requests whose path contains `path`.

    status: answered instead, with `headers` and `body`. reset: the connection is reset after `after` bytes of the body.
    truncate: the connection is closed after `after` bytes. wait: seconds before the answer.
    """

    path: str
    times: int = 1
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    reset: bool = False
    truncate: bool = False
    after: int = 0
    wait: float = 0.0


@dataclass
class Offered:
    """One file and what the index says of it."""

    path: Path
    name: str
    entry: dict[str, Any]
    metadata: bytes | None
    native: bytes | None = None


@dataclass
class SimpleServer:
    """The index. Every field may be changed while it runs.

    style: `json` or `html`. etag, cache_control: of pages. ranges: files come in parts if asked for.
    suffix_ranges: also `bytes=-N`. sizes, digests: what pages state. users: name to password; then 401 without a login.
    redirects: path to location, 302. overrides: path to (status, headers, body), answered as they stand.
    """

    style: str = "json"
    etag: bool = True
    cache_control: str | None = "max-age=600"
    ranges: bool = True
    suffix_ranges: bool = True
    sizes: bool = True
    digests: bool = True
    absolute_urls: bool = True
    zipped: bool = False
    users: dict[str, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    redirects: dict[str, str] = field(default_factory=dict)
    overrides: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    files: dict[str, Offered] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self._lock = threading.Lock()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(TIMEOUT)

    @property
    def root(self) -> str:
        """`http://127.0.0.1:PORT`."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """The simple index."""
        return f"{self.root}/simple/"

    @property
    def paths(self) -> list[str]:
        """The paths asked for so far, in order."""
        return [request.path for request in self.requests]

    def add(
        self,
        path: Path,
        *,
        requires_python: str | None = None,
        yanked: str | bool = False,
        metadata: bool = True,
        uploaded: str | None = None,
        native: bytes | None = None,
        **entry: Any,
    ) -> str:
        """Offer a file; `entry` replaces keys of its JSON entry (`core_metadata=True`). Returns its URL."""
        data = path.read_bytes()
        name = re.sub(r"[-_.]+", "-", path.name.split("-")[0]).lower()
        text = _metadata_of(path) if metadata and path.suffix == ".whl" else None
        known: dict[str, Any] = {"filename": path.name, "hashes": {"sha256": hashlib.sha256(data).hexdigest()}}
        known |= {"size": len(data), "yanked": yanked}
        known |= {"requires-python": requires_python} if requires_python else {}
        known |= {"upload-time": uploaded} if uploaded else {}
        known |= {"core-metadata": {"sha256": hashlib.sha256(text).hexdigest()}} if text is not None else {}
        known |= {"native-facts": {"sha256": hashlib.sha256(native).hexdigest()}} if native is not None else {}
        known |= {key.replace("_", "-"): value for key, value in entry.items()}
        self.files[path.name] = Offered(path, name, known, text, native)
        return f"{self.root}/files/{path.name}"

    def count(self, part: str) -> int:
        """How many requests so far had `part` in their path."""
        return sum(part in path for path in self.paths)

    def take_fault(self, path: str) -> Fault | None:
        """The fault that this request runs into, used up by it."""
        with self._lock:
            for fault in self.faults:
                if fault.times > 0 and fault.path in path:
                    fault.times -= 1
                    return fault
        return None

    def page(self, name: str) -> tuple[str, bytes] | None:
        """Content type and body of a project page."""
        offered = [file for file in self.files.values() if file.name == name]
        if not offered:
            return None
        entries = [self._entry(file) for file in offered]
        if self.style == "json":
            page = {"meta": {"api-version": "1.1"}, "name": name, "files": entries}
            return JSON, json.dumps(page).encode()
        lines = "".join(_anchor(entry) for entry in entries)
        return "text/html", f"<!DOCTYPE html><html><body><h1>Links</h1>\n{lines}</body></html>".encode()

    def _entry(self, file: Offered) -> dict[str, Any]:
        prefix = f"{self.root}/files/" if self.absolute_urls else "../../files/"
        entry = {"url": prefix + file.path.name, **file.entry}
        if not self.sizes:
            entry.pop("size", None)
        if not self.digests:
            entry["hashes"] = {}
        return entry


def _metadata_of(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA")))


def _anchor(entry: dict[str, Any]) -> str:
    sha256 = entry["hashes"].get("sha256")
    attributes = {"href": entry["url"] + (f"#sha256={sha256}" if sha256 else "")}
    if "requires-python" in entry:
        attributes["data-requires-python"] = entry["requires-python"]
    if entry["yanked"] is not False:
        attributes["data-yanked"] = entry["yanked"] if isinstance(entry["yanked"], str) else ""
    if entry.get("core-metadata"):
        attributes["data-core-metadata"] = f"sha256={entry['core-metadata']['sha256']}"
    if entry.get("native-facts"):
        attributes["data-native-facts"] = f"sha256={entry['native-facts']['sha256']}"
    text = " ".join(f'{key}="{html.escape(value)}"' for key, value in attributes.items())
    return f"<a {text}>{html.escape(entry['filename'])}</a><br>\n"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, index: SimpleServer) -> None:
        self.index = index
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of what is tested."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = TIMEOUT
    server: _Server
    # without this, small answers wait for the client's delayed acknowledgement
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
        """Requests are in SimpleServer.requests; tests print nothing."""

    def do_HEAD(self) -> None:
        """A file's headers."""
        self._answer()

    def do_GET(self) -> None:
        """A page, a file, or what goes wrong with it."""
        self._answer()

    def _answer(self) -> None:
        index = self.server.index
        headers = {key.lower(): value for key, value in self.headers.items()}
        index.requests.append(Request(self.command, self.path, headers))
        fault = index.take_fault(self.path)
        if fault and fault.wait:
            time.sleep(fault.wait)
        path = unquote(urlsplit(self.path).path)
        if fault and fault.status is not None:
            self._send(fault.status, fault.headers, fault.body)
        elif not self._allowed(headers):
            self._send(401, {"WWW-Authenticate": 'Basic realm="index"'}, b"")
        elif path in index.redirects:
            self._send(302, {"Location": index.redirects[path]}, b"")
        elif path in index.overrides:
            self._send(*index.overrides[path], fault=fault)
        elif path.startswith("/simple/"):
            self._page(path.removeprefix("/simple/").strip("/"), headers, fault)
        else:
            self._file(path.removeprefix("/files/"), headers, fault)

    def _allowed(self, headers: dict[str, str]) -> bool:
        users = self.server.index.users
        known = {"Basic " + base64.b64encode(f"{user}:{word}".encode()).decode() for user, word in users.items()}
        return not users or headers.get("authorization") in known

    def _page(self, name: str, headers: dict[str, str], fault: Fault | None) -> None:
        index = self.server.index
        page = index.page(name)
        said = {"Cache-Control": index.cache_control} if index.cache_control else {}
        if page is None:
            return self._send(404, said, b"no such project")
        kind, body = page
        said["Content-Type"] = kind
        if index.etag:
            said["ETag"] = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
            if headers.get("if-none-match") == said["ETag"]:
                return self._send(304, said, b"")
        if index.zipped:
            said["Content-Encoding"] = "gzip"
            body = gzip.compress(body)
        return self._send(200, said, body, fault=fault)

    def _file(self, filename: str, headers: dict[str, str], fault: Fault | None) -> None:
        index = self.server.index
        offered = index.files.get(filename.removesuffix(".metadata").removesuffix(".native.json"))
        beside = {".metadata": offered.metadata, ".native.json": offered.native} if offered else {}
        what = next((suffix for suffix in beside if filename.endswith(suffix)), None)
        if offered is None or (what and beside[what] is None):
            return self._send(404, {}, b"no such file")
        if what:
            return self._send(200, {}, beside[what] or b"", fault=fault)
        data = offered.path.read_bytes()
        said = {"ETag": f'"{hashlib.sha256(data).hexdigest()[:16]}"'}
        if headers.get("if-none-match") == said["ETag"]:
            return self._send(304, said, b"")
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", headers.get("range", ""))
        if not index.ranges or not asked or headers.get("if-range", said["ETag"]) != said["ETag"]:
            return self._send(200, said, data, fault=fault)
        if not asked.group(1) and not index.suffix_ranges:
            return self._send(501, {}, b"")
        start = int(asked.group(1)) if asked.group(1) else max(0, len(data) - int(asked.group(2)))
        stop = min(len(data), int(asked.group(2)) + 1) if asked.group(1) and asked.group(2) else len(data)
        if start >= len(data):
            return self._send(416, {"Content-Range": f"bytes */{len(data)}"}, b"")
        said["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        return self._send(206, said, data[start:stop], fault=fault)

    def _send(self, status: int, headers: dict[str, str], body: bytes, *, fault: Fault | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD" or status == 304:
            return
        # whoever announces more than there is cannot keep the connection
        self.close_connection = self.close_connection or "Content-Length" in headers
        cut = fault is not None and (fault.reset or fault.truncate)
        self.wfile.write(body[: fault.after] if fault and cut else body)
        if fault and cut:
            self.wfile.flush()
            self.close_connection = True
            # a reset throws away what the client has not taken yet
            time.sleep(0.3 if fault.after > 1000 else 0)
            if fault.reset:
                # linger 0 makes close() send a reset
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
