"""What requests share: one memory within its budget, and every step."""

from __future__ import annotations

import asyncio
import json
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.testclient import TestClient

from bench.process_memory import memory_of
from qwen3edge.server.app import make_app
from qwen3edge.server.hosted import Models
from qwen3edge.server.metrics import Metrics
from qwen3edge.server.safety import Access
from tests.server.scripted import URL
from tests.server.test_clients import Client, until

CHAT = "/v1/chat/completions"
ENDLESS = {"ignore_eos": True, "temperature": 3, "top_k": 0, "top_p": 1}
CHUNK = 16
BUDGET = 170 << 20


def test_c34_the_budget_holds(serve, seed):
    """Ever new prompts, more than the cache has room for, beside ones that are refused: nothing takes more."""
    server = serve("--alias", "tiny=int4", "--memory", f"{BUDGET}", "--sequences", "2")
    draw = random.Random(seed)
    letters = [chr(draw.randrange(0x4E00, 0x9FFF)) for _ in range(400)]

    def ask(number: int) -> int:
        text = "".join(random.Random(seed + number).choices(letters, k=300))
        body = {"messages": [{"role": "user", "content": text}], "max_tokens": 8, **ENDLESS}
        if number % 5 == 4:
            body["messages"] *= 300  # more than the context
        return server.post(CHAT, json=body).status_code

    plan = server.get("/props").json()["models"]["tiny"]["plan"]
    with ThreadPoolExecutor(6) as pool:
        statuses = list(pool.map(ask, range(10)))
    assert [status == 400 for status in statuses] == [number % 5 == 4 for number in range(10)]
    assert set(statuses) == {200, 400}
    memory = server.get("/props").json()["memory"]
    assert plan["peak"] + (20 << 20) < memory["budget"] == BUDGET
    assert memory["peak"] <= memory_of(server.process.pid)["VmHWM"] <= BUDGET
    prompts = [line for line in server.get("/metrics").text.splitlines() if line.startswith("qwen3edge_prompt_tokens")]
    assert sum(float(line.split()[-1]) for line in prompts[:1]) > 2 * plan["context"]


@pytest.fixture
def small_steps(tiny_int4):
    """A server whose steps have few tokens of a prompt."""
    settings = {"sequences": 4, "threads": 2, "context": 2048, "chunk": CHUNK}
    models = Models({"tiny": tiny_int4}, {}, settings)
    app = make_app(models, Metrics(), Access())
    with TestClient(app, base_url=URL) as client:
        client.app, client.models = app, models
        yield client


def words(client: Client) -> int:
    """Pieces that a stream has brought."""
    return sum(b'"delta":{"content":"' in each.get("body", b"") and b'"content":""' not in each["body"]
               for each in client.sent)  # fmt: skip


def test_c35_a_long_prompt_does_not_stop_the_others(small_steps):
    """An answer goes on while it is read, a step after each of its pieces, and a short request overtakes it."""
    prompt = "word " * 1500
    tokens = small_steps.post("/tokenize", json={"content": prompt}).json()["tokens"]

    async def work() -> None:
        more = {**ENDLESS, "enable_thinking": False}
        first = Client(small_steps, "Go on.", stream=True, max_tokens=1500, **more)
        await until(lambda: words(first) > 3)
        long = Client(small_steps, prompt, stream=True, max_tokens=1, **more)
        await until(lambda: len(long.sent) > 1)  # its role: it runs or waits
        before = words(first)
        short = Client(small_steps, "Hi", stream=True, max_tokens=2, **more)
        await short.task
        assert not long.task.done()
        await long.task
        assert len(tokens) > 1000 and words(first) - before > len(tokens) // CHUNK // 4
        first.leave()
        await first.task

    asyncio.run(work())


def test_c35_the_end_of_the_long_one(small_steps):
    """And it says the same as alone."""
    body = {"messages": [{"role": "user", "content": "word " * 600}], "max_tokens": 9, "temperature": 0}
    alone = small_steps.post(CHAT, json=body).json()["choices"]

    async def work() -> None:
        clients = [Client(small_steps, text, stream=False, max_tokens=9) for text in ("word " * 600, "Hi", "Go on.")]
        await asyncio.gather(*(client.task for client in clients))
        assert json.loads(clients[0].sent[-1]["body"])["choices"] == alone

    asyncio.run(work())
