"""Clients that ask a server for streams, some at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import httpx

from bench.quiet import BenchError

PATIENCE = 3600.0  # seconds


@dataclass
class Reply:
    """To one request. times: of each piece of text; all in seconds of one clock."""

    asked: float
    times: list[float] = field(default_factory=list)
    text: str = ""
    tokens: int = 0  # of the answer, as the server counts them

    @property
    def first(self) -> float:
        """Seconds until the first piece came."""
        return self.times[0] - self.asked

    @property
    def gaps(self) -> list[float]:
        return [after - before for before, after in zip(self.times, self.times[1:], strict=False)]


async def ask_all(url: str, bodies: Sequence[dict[str, Any]], clients: int) -> list[Reply]:
    """So many clients take one request after the other; the replies are in the order of the requests. Raises
    BenchError.
    """
    waiting = iter(enumerate(bodies))
    replies: dict[int, Reply] = {}

    async def client() -> None:
        for number, body in waiting:
            replies[number] = await _completion(connections, url, body)

    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=0)  # a server may close what it kept
    async with httpx.AsyncClient(timeout=PATIENCE, limits=limits, trust_env=False) as connections:
        await asyncio.gather(*(client() for _ in range(clients)))
    return [replies[number] for number in range(len(bodies))]


async def _completion(connections: httpx.AsyncClient, url: str, body: dict[str, Any]) -> Reply:
    asked = {**body, "stream": True, "stream_options": {"include_usage": True}}
    reply = Reply(perf_counter())
    async with connections.stream("POST", f"{url}/v1/completions", json=asked) as response:
        if response.status_code != 200:
            raise BenchError(f"{url}: {response.status_code}: {(await response.aread()).decode()[:300]}")
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            found = json.loads(line.removeprefix("data: "))
            if "error" in found:
                raise BenchError(f"{url}: {found['error']}")
            if found.get("usage"):
                reply.tokens = found["usage"]["completion_tokens"]
            if text := "".join(choice.get("text") or "" for choice in found["choices"]):
                reply.times.append(perf_counter())
                reply.text += text
    return reply
