"""Many chats, a fifth of whose clients leave at some point: nothing is lost but what they asked for, memory stays flat,
the budget holds.

QWEN3EDGE_REQUESTS says how many; a full run has 10,000.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.server.hostile.bodies import MOST_TOKENS
from tests.server.hostile.watching import Watched, amount
from tests.server.live import Raw, post
from tests.server.scripted import joined_chunks

CHAT = "/v1/chat/completions"
KINDS = 40
"""Different requests."""
LEAVES = ("before its end", "at once", "while its prompt is read", "in the answer", "in a whole answer")
WAYS = ("whole", "stream") * 10 + LEAVES
THREADS = 6
GROWTH = 2 << 20
"""Bytes by which RssAnon + VmSwap may grow from the half to the end."""


def made(draw: random.Random, number: int) -> dict[str, Any]:
    """Some begin alike, some are long, some answer in a form."""
    text = draw.choice(("What is 12 + 7? ", "Count from 3 to 9. ", "Go on. ")) * draw.choice((1, 1, 5, 60))
    body = {
        "messages": [
            {"role": "system", "content": "You are a helpful assistant. " * draw.choice((1, 10))},
            {"role": "user", "content": f"{text}{number}"},
        ],
        "max_tokens": draw.randrange(1, MOST_TOKENS + 1),
        "temperature": draw.choice((0, 1.5)),
        "seed": number,
        "enable_thinking": draw.random() < 0.5,
    }
    return body | ({"response_format": {"type": "json_object"}} if number % 8 == 0 else {})


class Soak:
    """Requests to one server, and what each says alone."""

    def __init__(self, server: Watched, seed: int) -> None:
        draw = random.Random(seed)
        self.server, self.seed = server, seed
        self.bodies = [made(draw, number) for number in range(KINDS)]
        self.said = [self._whole(body) for body in self.bodies]
        self.ways: Counter[str] = Counter()
        self._lock = threading.Lock()

    def one(self, number: int) -> None:
        draw = random.Random(f"{self.seed} {number}")
        which, way = draw.randrange(KINDS), draw.choice(WAYS)
        body = self.bodies[which]
        with self._lock:
            self.ways[way] += 1
        if way == "whole":
            assert self._whole(body) == self.said[which]
        elif way == "stream":
            assert self._stream(body) == self.said[which]
        else:
            self._leave(way, body, draw)

    def _whole(self, body: dict[str, Any]) -> tuple[str, str | None, str]:
        with Raw(self.server.address, 120) as raw:
            raw.send(post(CHAT, body))
            status, text = raw.response()
        assert status == 200, text
        return _said(json.loads(text)["choices"][0])

    def _stream(self, body: dict[str, Any]) -> tuple[str, str | None, str]:
        request = post(CHAT, {**body, "stream": True}).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
        with Raw(self.server.address, 120) as raw:
            raw.send(request)
            head, _, text = raw.rest().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), text
        ((choice,), _) = joined_chunks(unchunked(text).decode())
        return _said(choice)

    def _leave(self, way: str, body: dict[str, Any], draw: random.Random) -> None:
        streams = way in ("in the answer", "while its prompt is read")
        request = post(
            CHAT, {**body, "stream": streams, "max_tokens": 400, "ignore_eos": "response_format" not in body}
        )
        with Raw(self.server.address, 120) as raw:
            if way == "before its end":
                raw.send(request[: draw.randrange(len(request))])
                return
            raw.send(request)
            if way == "in a whole answer":
                time.sleep(draw.random() / 10)
            for _ in range(draw.randrange(1, 20) if way == "in the answer" else streams):
                raw.socket.recv(100)


def unchunked(data: bytes) -> bytes:
    """A body in chunks."""
    parts = []
    while data:
        size, _, data = data.partition(b"\r\n")
        parts.append(data[: int(size, 16)])
        data = data[int(size, 16) + 2 :]
    return b"".join(parts)


def _said(choice: dict[str, Any]) -> tuple[str, str | None, str]:
    message = choice["message"]
    return message["content"], message["reasoning"], choice["finish_reason"]


@pytest.mark.slow
def test_clients_that_leave(serve, seed):
    server = Watched(serve("--alias", "tiny=int4", "--memory", "170MiB", "--sequences", "4", "--draft-tokens", "4"))
    soak = Soak(server, seed)
    seen = [server.status()]
    for half in (range(amount(500) // 2), range(amount(500) // 2, amount(500))):
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(soak.one, half))
        end = time.monotonic() + 20
        while server.busy() and time.monotonic() < end:
            time.sleep(0.05)
        server.assert_unharmed()
        seen.append(server.status())
    left = sum(soak.ways[way] for way in LEAVES)
    print(f"{soak.ways.total()} requests, of which {left} clients left: {dict(soak.ways)}")
    print("at the start, the half and the end:", *seen, sep="\n  ")
    print("memory:", server.props()["memory"], "counts:", server.props()["models"]["int4"]["counts"])
    assert [soak._whole(body) for body in soak.bodies] == soak.said
    assert seen[2]["anonymous"] - seen[1]["anonymous"] <= GROWTH
    for name in ("files", "threads"):  # one more: a connection that is kept, a thread that was not needed before
        assert seen[2][name] <= seen[1][name] + 1
    assert server.end() == ""
