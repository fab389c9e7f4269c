"""Two small hubs on loopback, as Hugging Face's and ModelScope's clients see them, which can be told to misbehave."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

_CDN_HOST = "127.0.0.2"  # loopback as well, and no host that a cookie of the other is for


@dataclass(frozen=True)
class Fault:
    """What is done to one request of a path. status: in place of the answer. cut: the connection ends after so many
    bytes. body: in place of the content. ranges: False to ignore them. stall: seconds before each 64 KiB.
    """

    status: int = 0
    retry_after: str | None = None
    cut: int | None = None
    body: bytes | None = None
    ranges: bool = True
    stall: float = 0.0
    headers: tuple[tuple[str, str], ...] = ()


@dataclass
class Repository:
    """Files by path. token: that is demanded. told: changes what the listing says of a file."""

    files: dict[str, bytes]
    token: str | None = None
    told: Callable[[dict[str, Any]], dict[str, Any]] = lambda entry: entry
    small: int = 1 << 16  # larger files are kept as LFS, on the CDN
    faults: dict[str, list[Fault]] = field(default_factory=lambda: defaultdict(list))  # by path; "" is the listing

    @property
    def sha(self) -> str:
        """The commit."""
        every = sorted((path, sha256(data)) for path, data in self.files.items())
        return hashlib.sha1(json.dumps(every).encode()).hexdigest()


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    host: str  # "hub" or "cdn"
    method: str
    path: str
    range: str
    authorization: str
    cookie: str


class Hub:
    """Both servers, and what they have."""

    def __init__(self, source: str) -> None:
        style: type[_Handler] = _STYLES[source]
        self.source = source
        self.repositories: dict[str, Repository] = {}
        self.asked: list[Asked] = []
        self.sent = 0  # bytes of files and listings
        self.busy = threading.Event()  # set while bytes of a large file go out
        self._servers = [_Server(self, style, "hub"), _Server(self, _Cdn, "cdn")]

    @property
    def url(self) -> str:
        """The endpoint."""
        return f"http://127.0.0.1:{self._servers[0].server_port}"

    @property
    def cdn(self) -> str:
        """Another origin, which no token may reach."""
        return f"http://{_CDN_HOST}:{self._servers[1].server_port}"

    def fetched(self) -> list[str]:
        """The paths of files that were asked for, with the first byte."""
        return [f"{ask.path}@{ask.range}" for ask in self.asked if ask.host == "cdn"]

    def close(self) -> None:
        """Ends both."""
        for server in self._servers:
            server.shutdown()
            server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, hub: Hub, handler: type[_Handler], name: str) -> None:
        self.hub, self.name = hub, name
        super().__init__(("127.0.0.1" if name == "hub" else _CDN_HOST, 0), handler)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that are killed are the point."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a body does not wait until its headers are acknowledged
    server: _Server

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        headers, parts = self.headers, urlsplit(self.path)
        path = unquote(parts.path)
        self.server.hub.asked.append(
            Asked(
                self.server.name,
                self.command,
                path,
                headers.get("Range", ""),
                headers.get("Authorization", ""),
                headers.get("Cookie", ""),
            )
        )
        self.respond(path, {key: values[0] for key, values in parse_qs(parts.query).items()})

    def respond(self, path: str, query: dict[str, str]) -> None:
        """Of each kind."""
        raise NotImplementedError

    def repository(self, name: str) -> Repository | None:
        """None where the client was told off already."""
        found = self.server.hub.repositories.get(name)
        if found is None:
            self.send(404, b'{"error": "Repository not found"}')
            return None
        given = (self.headers.get("Authorization", "").removeprefix("Bearer "), self.headers.get("Cookie", ""))
        if found.token is not None and found.token != given[0] and found.token not in given[1]:
            self.send(401 if not given[0] else 403, b'{"error": "Access to model is restricted"}')
            return None
        return found

    def fault(self, repository: Repository, path: str) -> Fault:
        """The next one of a path."""
        waiting = repository.faults[path]
        return waiting.pop(0) if waiting and self.command == "GET" else Fault()

    def send(self, status: int, body: bytes = b"", headers: tuple[tuple[str, str], ...] = ()) -> None:
        """A whole answer."""
        self.send_response(status)
        for key, value in headers:
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
            self.server.hub.sent += len(body)

    def send_refusal(self, fault: Fault) -> None:
        """An error of the server."""
        after = (("Retry-After", fault.retry_after),) if fault.retry_after else ()
        self.send(fault.status, b'{"error": "as it was told to"}', (*after, *fault.headers))

    def send_file(self, data: bytes, fault: Fault) -> None:
        """With ranges, and with what the fault does to it."""
        if fault.status:
            self.send_refusal(fault)
            return
        data = data if fault.body is None else fault.body
        begin, asked = 0, self.headers.get("Range", "")
        if asked.startswith("bytes=") and fault.ranges:
            begin = int(asked.removeprefix("bytes=").partition("-")[0])
            if begin >= len(data):
                self.send(416, headers=(("Content-Range", f"bytes */{len(data)}"),))
                return
        self.send_response(206 if begin else 200)
        own = dict(fault.headers)
        if begin:
            self.send_header("Content-Range", own.pop("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}"))
        self.send_header("Content-Length", own.pop("Content-Length", str(len(data) - begin)))
        for key, value in own.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        end = len(data) if fault.cut is None else min(len(data), begin + fault.cut)
        step = 1 << 16
        for at in range(begin, end, step):
            self.wfile.write(data[at : min(at + step, end)])
            self.server.hub.sent += min(at + step, end) - at
            if fault.stall:
                self.server.hub.busy.set()
                time.sleep(fault.stall)
        if end < len(data):
            self.close_connection = True


class _HuggingFace(_Handler):
    def respond(self, path: str, query: dict[str, str]) -> None:
        if path.startswith("/api/models/"):
            name = "/".join(path.removeprefix("/api/models/").split("/")[:2])
            if (found := self.repository(name)) is not None:
                self._list(name, found, files="blobs" in query)
            return
        owner, model, kind, revision, *rest = path.removeprefix("/").split("/")
        if kind != "resolve" or (found := self.repository(f"{owner}/{model}")) is None:
            return
        file = "/".join(rest)
        if revision not in (found.sha, "main") or file not in found.files:
            self.send(404, b'{"error": "Entry not found"}', (("X-Error-Code", "EntryNotFound"),))
        elif len(found.files[file]) > found.small:
            place = f"{self.server.hub.cdn}/{owner}/{model}/{file}?Signature=of-the-cdn"
            digest, size = sha256(found.files[file]), str(len(found.files[file]))
            linked = (("X-Linked-Etag", f'"{digest}"'), ("X-Linked-Size", size))
            self.send(302, headers=(("Location", place), ("X-Repo-Commit", found.sha), *linked))
        else:
            fault = self.fault(found, file)
            commit = (("X-Repo-Commit", found.sha), ("ETag", f'"{git_hash(found.files[file])}"'))
            self.send_file(found.files[file], replace(fault, headers=(*commit, *fault.headers)))

    def _list(self, name: str, found: Repository, *, files: bool) -> None:
        fault = self.fault(found, "")
        if fault.status:
            self.send_refusal(fault)
            return
        siblings = []
        for path, data in found.files.items():
            entry: dict[str, Any] = {"rfilename": path}
            if files:
                entry |= {"size": len(data), "blobId": git_hash(data)}
                if len(data) > found.small:
                    digest = sha256(data)
                    entry["lfs"] = {"sha256": digest, "size": len(data), "pointerSize": 130}
            siblings.append(found.told(entry))
        body = json.dumps({"_id": "1", "id": name, "sha": found.sha, "siblings": siblings}).encode()
        self.send(200, body if fault.body is None else fault.body)


class _ModelScope(_Handler):
    def respond(self, path: str, query: dict[str, str]) -> None:
        words = path.removeprefix("/api/v1/models/").split("/")
        name = "/".join(words[:2])
        if (found := self.repository(name)) is None:
            return
        if words[2:] == ["repo", "files"]:
            fault = self.fault(found, "")
            if fault.status:
                self.send_refusal(fault)
                return
            files = [
                found.told({"Path": path, "Name": path.rpartition("/")[2], "Type": "blob", "Size": len(data),
                            "Sha256": sha256(data), "Revision": found.sha})
                for path, data in found.files.items()
            ]  # fmt: skip
            body = json.dumps({"Code": 200, "Data": {"Files": files}, "Success": True}).encode()
            self.send(200, body if fault.body is None else fault.body)
        elif words[2:] == ["repo"] and query.get("FilePath") in found.files:
            file = query["FilePath"]
            if len(found.files[file]) > found.small:
                self.send(302, headers=(("Location", f"{self.server.hub.cdn}/{name}/{file}?Signature=of-the-cdn"),))
            else:
                self.send_file(found.files[file], self.fault(found, file))
        else:
            self.send(404, b'{"Code": 10010205001, "Message": "not there", "Success": false}')


class _Cdn(_Handler):
    def respond(self, path: str, query: dict[str, str]) -> None:
        owner, model, *rest = path.removeprefix("/").split("/")
        found, file = self.server.hub.repositories[f"{owner}/{model}"], "/".join(rest)
        assert query == {"Signature": "of-the-cdn"}
        self.send_file(found.files[file], self.fault(found, file))


@functools.lru_cache
def sha256(data: bytes) -> str:
    """Of a file, once."""
    return hashlib.sha256(data).hexdigest()


def git_hash(data: bytes) -> str:
    """Of a blob."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


_STYLES = {"huggingface": _HuggingFace, "modelscope": _ModelScope}


@contextlib.contextmanager
def running(source: str) -> Iterator[Hub]:
    """A hub of one kind, until the end of the block."""
    hub = Hub(source)
    try:
        yield hub
    finally:
        hub.close()
