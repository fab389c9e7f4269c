"""Requests that nobody sends by mistake: wrong in JSON, in HTTP, in time and in intent. Each gets a 4xx with a reason
or a right answer, and the next good one is served.

QWEN3EDGE_REQUESTS says how many; a full run has 10,000.
"""

from __future__ import annotations

import gzip
import json
import random
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.server.hostile.bodies import Maker
from tests.server.hostile.watching import Watched, amount
from tests.server.live import GET, Raw, post

GOOD = {"messages": [{"role": "user", "content": "What is 12 + 7?"}], "temperature": 0, "enable_thinking": False}
CHAT = "/v1/chat/completions"
KINDS = (*("right",) * 5, *("changed",) * 6, *("anything",) * 2, "bytes", *("wire",) * 3, *("path",) * 2, "good")
THREADS = 4
END = b"Connection: close\r\n\r\n"


class Attack:
    """Requests to one server. Any thread may take the next."""

    def __init__(self, server: Watched, seed: int) -> None:
        self.server, self.seed = server, seed
        self.document = server.client.get("/openapi.json").json()
        self.content = self._content(server.client.post(CHAT, json=GOOD).content)
        self.found: Counter[tuple[str, int]] = Counter()
        self.slow = time.monotonic() + 5
        self._lock = threading.Lock()

    def one(self, number: int) -> None:
        """What its response says is counted. Raises for one that no request may have."""
        draw = random.Random(f"{self.seed} {number}")
        kind = draw.choice(KINDS)
        with self._lock:
            if time.monotonic() > self.slow:  # slow ones take seconds
                self.slow, kind = time.monotonic() + 5, "slow"
        try:
            status = getattr(self, f"_{kind}")(draw)
        except Exception as error:
            raise AssertionError(f"request {number} of seed {self.seed} ({kind}): {error!r}") from error
        with self._lock:
            self.found[kind, status] += 1

    def _endpoint(self, draw: random.Random) -> tuple[str, dict[str, Any]]:
        """A path that takes a body, and the body's schema."""
        path, methods = draw.choice([each for each in self.document["paths"].items() if "post" in each[1]])
        content = methods["post"]["requestBody"]["content"]["application/json"]
        return path.replace("{name}", draw.choice("abc")), content["schema"]

    def _right(self, draw: random.Random) -> int:
        path, schema = self._endpoint(draw)
        return self._asked(post(path, Maker(self.document, draw).right(schema)))

    def _changed(self, draw: random.Random) -> int:
        path, schema = self._endpoint(draw)
        maker = Maker(self.document, draw)
        return self._asked(post(path, maker.written(maker.changed(maker.right(schema)))))

    def _anything(self, draw: random.Random) -> int:
        maker = Maker(self.document, draw)
        return self._asked(post(self._endpoint(draw)[0], maker.written(maker.anything())))

    def _bytes(self, draw: random.Random) -> int:
        body = draw.randbytes(draw.choice((0, 1, 10, 1000, 200_000)))
        return self._asked(post(self._endpoint(draw)[0], body), least=400)

    def _good(self, draw: random.Random) -> int:
        with Raw(self.server.address, 120) as raw:
            raw.send(post(CHAT, GOOD))
            status, body = raw.response()
        assert self._content(body) == self.content
        return status

    def _path(self, draw: random.Random) -> int:
        """Paths and hosts that are none."""
        path = draw.choice((
            "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/v1/models/..%2f..%2fetc", "/%00", "/;/",
            "/a" * 9000, "/sessions/..%2f..%2fx/load", "/sessions/.%00/save", "/v1/models/%ff", "/%c0%ae%c0%ae/",
            "/page/..%2f..%2f__init__.py", "/v1/chat/completions/", "/health?" + "a=1&" * 1000, "*", "http://evil.com/health",
            "/page/%2e%2e/%2e%2e/app.py",
        ))  # fmt: skip
        method = draw.choice(("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PATCH", "X"))
        foreign = draw.choice(("", "", "", "Host: evil.com", "Host: localhost\r\nOrigin: http://evil.com"))
        head = f"{method} {path} HTTP/1.1\r\n{foreign or 'Host: localhost'}\r\nContent-Length: 2\r\n"
        status = self._asked(head.encode() + END + b"{}", head=method == "HEAD")
        assert not foreign or status in (400, 403, 405) or len(path) > 9000
        return status

    def _wire(self, draw: random.Random) -> int:
        """What is wrong below JSON."""
        body = json.dumps(GOOD).encode()
        size = len(body)
        start = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\n".encode()
        chunk = f"{size:x}\r\n".encode() + body + b"\r\n"
        single = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
        packed = gzip.compress(b"\0" * 10_000_000)
        way = draw.randrange(16)
        if way < 4:  # half of it, and away; the reason is for nobody
            whole = post(CHAT, GOOD)
            with Raw(self.server.address) as raw:
                raw.send(whole[: draw.randrange(len(whole))])
                if way == 0:
                    raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # by RST
            return 0
        data = (
            start + b"Transfer-Encoding: chunked\r\n" + END + chunk + b"0\r\n\r\n",
            start + b"Transfer-Encoding: chunked\r\n" + END + single + b"0\r\n\r\n",
            start + b"Transfer-Encoding: chunked\r\n" + END + b"zz\r\n" + body,
            start + b"Transfer-Encoding: chunked\r\n" + END + b"-1\r\n" + body + b"\r\n0\r\n\r\n",
            start + b"Transfer-Encoding: chunked\r\n" + END + chunk + b"0\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
            start + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n" + END + chunk + b"0\r\n\r\n",
            start + f"Content-Length: {size - 9}\r\n".encode() + END + body,
            start + b"Content-Length: 99999999999999999999\r\n" + END + body,
            start + b"Content-Encoding: gzip\r\n" + f"Content-Length: {len(packed)}\r\n".encode() + END + packed,
            start + f"Content-Length: {size}\r\nContent-Length: {size}\r\n".encode() + END + body,
            draw.randbytes(draw.randrange(1, 3000)) + b"\r\n\r\n",
            start + b"X" * draw.choice((10, 70_000)) + b"\0: y\r\n" + END,
        )[way - 4]
        return self._asked(data)

    def _slow(self, draw: random.Random) -> int:
        """A byte now and then, but in time."""
        whole = post(CHAT, GOOD)
        with Raw(self.server.address, 120) as raw:
            for start in range(0, len(whole), 20):
                raw.send(whole[start : start + 20])
                time.sleep(draw.random() / 10)
            status, body = raw.response()
        assert self._content(body) == self.content
        return status

    def _asked(self, request: bytes, least: int = 200, head: bool = False) -> int:
        if request.startswith(b"POST") and END not in request:
            request = request.replace(b"\r\n\r\n", b"\r\n" + END, 1)
        with Raw(self.server.address, 120) as raw:
            raw.send(request)
            found = raw.rest()
        assert found.startswith(b"HTTP/1.1 "), f"expected a response, found {found[:100]!r} to {request[:300]!r}"
        status, body = int(found[9:12]), found.partition(b"\r\n\r\n")[2]
        assert least <= status < 300 or 400 <= status < 500, (status, body[:300], request[:3000])
        if status >= 400 and not head:
            error = json.loads(body)["error"]
            assert len(error if isinstance(error, str) else error["message"]) > 5
        return status

    @staticmethod
    def _content(body: bytes) -> str:
        content = json.loads(body)["choices"][0]["message"]["content"]
        assert content
        return str(content)


@pytest.mark.slow
def test_whatever_is_sent(serve, tmp_path, seed):
    server = Watched(serve("--alias", "tiny=int4", "--sessions", str(tmp_path / "sessions"), "--memory", "400MiB"))
    attack = Attack(server, seed)
    begun = server.status()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(attack.one, range(amount(500))))
    kinds: dict[str, dict[int, int]] = {}
    for (kind, status), count in sorted(attack.found.items()):
        kinds.setdefault(kind, {})[status] = count
    print(f"{attack.found.total()} requests:", *(f"{kind} {counts}" for kind, counts in kinds.items()), sep="\n  ")
    print(f"at the start {begun}, at the end {server.status()}")
    assert kinds["right"].get(200, 0) > sum(kinds["right"].values()) // 3
    assert set(kinds["good"]) == set(kinds.get("slow", {200: 1})) == {200}
    time.sleep(0.5)
    server.assert_unharmed()
    with Raw(server.address) as raw:
        raw.send(GET)
        assert raw.response() == (200, b'{"status":"ok"}')
    assert server.end() == ""
