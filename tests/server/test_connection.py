"""Connections of clients that send no request, half of one, or none of HTTP; and of those that do not read."""

import asyncio
import contextlib
import json
import threading
import time

import pytest

from qwen3edge.server import connection
from tests.server.live import GET, Raw, post, served
from tests.server.scripted import Scripted


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    return Scripted(tmp_path_factory.mktemp("live"))


@pytest.fixture(scope="module")
def address(server):
    """With short times of waiting."""
    patch = pytest.MonkeyPatch()
    patch.setattr(connection, "HEADER_SECONDS", 0.6)
    patch.setattr(connection, "READ_SECONDS", 0.5)
    patch.setattr(connection, "LINGER_SECONDS", 0.5)
    patch.setattr(connection, "MOST_CONNECTIONS", 12)
    with served(server.app) as found:
        yield found
    patch.undo()


def test_headers_that_do_not_come(address):
    """Slowly or not at all: the time is for all of them together."""
    for start, between in ((b"", b""), (b"GET /health HTTP/1.1\r\n", b"X: y\r\n"), (b"G", b"")):
        with Raw(address) as raw:
            begun = time.monotonic()
            raw.send(start)
            if between:
                for _ in range(5):
                    time.sleep(0.1)
                    raw.send(between)
            status, body = raw.response()
            assert status == 408 and "headers within 0.6 s" in json.loads(body)["error"]["message"]
            assert raw.rest() == b"" and 0.4 < time.monotonic() - begun < 5


def test_a_connection_is_kept_between_requests(address):
    with Raw(address) as raw:
        for _ in range(3):
            raw.send(GET[:9])
            time.sleep(0.3)
            raw.send(GET[9:])
            assert raw.response() == (200, b'{"status":"ok"}')


def test_a_body_that_is_slower_than_headers_may_be(address, server):
    """Its own time counts then, of which `Bounded` keeps the watch: 1 s here."""
    request = post("/tokenize", {"content": "a"})
    with Raw(address) as raw:
        raw.send(request[:-5])
        time.sleep(0.8)
        raw.send(request[-5:])
        assert raw.response()[0] == 200
    with Raw(address) as raw:
        raw.send(request[:-5])
        status, body = raw.response()
        assert status == 408 and "whole body within 1 s" in json.loads(body)["error"]["message"]


def test_a_refused_client_that_still_sends_reads_why(address):
    with Raw(address) as raw:
        raw.send(b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50000000\r\n\r\n")
        for _ in range(20):
            raw.send(b"x" * 100_000)
        assert raw.response()[0] == 413
        assert raw.rest() == b""


@pytest.mark.parametrize("bad", [
    b"\0\0\0\0\r\n\r\n", b"GET\r\n\r\n", b"GET /\xff HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"GET / HTTP/1.1\r\nHost localhost\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 200_000,
    b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n",
])  # fmt: skip
def test_what_is_no_http(address, bad):
    with Raw(address) as raw:
        raw.send(bad)
        status, body = raw.response()
        assert 400 <= status < 500 and json.loads(body)["error"]["message"].count("expected") == 1
        assert raw.rest() == b""
    with Raw(address) as raw:
        raw.send(GET)
        assert raw.response()[0] == 200


def test_requests_one_behind_the_other(address):
    """Each is answered, in order."""
    with Raw(address) as raw:
        last = GET[:-2] + b"Connection: close\r\n\r\n"
        raw.send(GET + post("/tokenize", {"content": "a"}) + post("/none", {}) + last)
        parts = raw.rest().split(b"HTTP/1.1 ")[1:]
        assert [int(part[:3]) for part in parts] == [200, 200, 404, 200]


def test_a_client_that_does_not_read(address):
    """It is left after a while."""
    ended = threading.Event()

    async def endless(scope, receive, send):
        assert scope["type"] == "http"
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while (await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})) is None:
            with contextlib.suppress(asyncio.TimeoutError):
                assert (await asyncio.wait_for(receive(), 0.001))["type"] == "http.disconnect"
                ended.set()
                return

    with served(endless) as other, Raw(other) as raw:
        raw.send(GET)
        assert not ended.wait(0.3) and ended.wait(10)
        assert len(raw.rest()) > 100_000


def test_no_more_connections_than_allowed(address):
    held = [Raw(address) for _ in range(12)]
    try:
        with Raw(address) as raw:
            status, body = raw.response()
            assert status == 429 and "at most 12 connections" in json.loads(body)["error"]["message"]
    finally:
        for each in held:
            each.__exit__()
    time.sleep(0.1)
    with Raw(address) as raw:
        raw.send(GET)
        assert raw.response()[0] == 200
