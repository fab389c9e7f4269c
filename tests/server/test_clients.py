"""Clients that leave: their answers end within a step, wherever they are (C33)."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest

from tests.generation.fakes import END, ids
from tests.server.scripted import Scripted


class Slow:
    """A core that computes a step each time it is let to."""

    def __init__(self, server: Scripted) -> None:
        self.core, self.steps = server.core, threading.Semaphore(0)
        self._forward = server.core.forward
        server.core.forward = self.forward

    def forward(self, *arguments, **keywords):
        assert self.steps.acquire(timeout=10)
        return self._forward(*arguments, **keywords)


@pytest.fixture
def server(tmp_path):
    with Scripted(tmp_path) as found:
        found.core.script = [*ids("a" * 300), END]
        yield found


CHAT = "/v1/chat/completions"


class Client:
    """A request to the application itself, which leaves when it is told to."""

    def __init__(self, server: Scripted, text: str, stream: bool, path: str = CHAT, **more: object) -> None:
        """server: anything with an application."""
        asked = {CHAT: ("messages", [{"role": "user", "content": text}]), "/v1/responses": ("input", text)}
        name, value = asked.get(path, ("prompt", text))
        body = {name: value, "stream": stream, "temperature": 0, **more}
        self._incoming = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]
        self._left = asyncio.Event()
        self.sent: list[dict] = []
        scope = {
            "type": "http", "method": "POST", "path": path, "raw_path": b"", "query_string": b"",
            "headers": [(b"host", b"localhost")], "http_version": "1.1", "scheme": "http",
        }  # fmt: skip
        self.task = asyncio.ensure_future(server.app(scope, self._receive, self._send))

    async def _receive(self):
        if self._incoming:
            return self._incoming.pop()
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message):
        self.sent.append(message)

    def leave(self):
        self._left.set()


async def until(condition):
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to that")


def counts(server):
    (model,) = server.models.loaded.values()
    return model.engine.scheduler.counts


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("steps", [2, 20], ids=["prefill", "decode"])
@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/responses"])
def test_c33_one_that_is_computed(server, stream, steps, path):
    async def work():
        slow = Slow(server)
        client = Client(server, "word " * 40, stream, path)  # 13 chunks and more
        await until(lambda: counts(server)["running"] == 1)
        slow.steps.release(steps)
        await until(lambda: len(server.core.log) == steps)
        client.leave()
        await asyncio.sleep(0.05)
        slow.steps.release(50)
        await client.task
        assert steps <= len(server.core.log) <= steps + 1
        assert counts(server)["running"] == counts(server)["waiting"] == server.models.find(None).users == 0
        assert not any(message.get("body", b"").endswith(b"[DONE]\n\n") for message in client.sent)

    asyncio.run(work())
    assert server.say([*ids("yes"), END])["content"] == "yes"


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_c33_one_that_waits(server, stream):
    async def work():
        slow = Slow(server)
        first = Client(server, "one", stream=True)
        await until(lambda: counts(server)["running"] == 1)
        second = Client(server, "two", stream)
        await until(lambda: counts(server)["waiting"] == 1)
        second.leave()
        await asyncio.sleep(0.05)
        slow.steps.release(1000)
        await second.task
        assert server.models.find(None).users == 1
        await first.task
        assert first.sent[-2]["body"] == b"data: [DONE]\n\n" and len(server.core.log) > 300
        assert counts(server)["running"] == counts(server)["waiting"] == server.models.find(None).users == 0

    asyncio.run(work())
