"""A server whose model says what a test has written down; and what clients make of its streams."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from starlette.testclient import TestClient

from qwen3edge.generation.model import Model
from qwen3edge.generation.opened import Opened
from qwen3edge.generation.sampler import SamplingDefaults
from qwen3edge.runtime.engine import Engine
from qwen3edge.server import hosted
from qwen3edge.server.app import make_app
from qwen3edge.server.body import Limits
from qwen3edge.server.hosted import Models
from qwen3edge.server.metrics import Metrics
from qwen3edge.server.safety import Access
from qwen3edge.settings import checked
from qwen3edge.text.template import ChatTemplate
from tests.generation.fakes import END, TEMPLATE, VOCABULARY, FakeCore, make_tokenizer

HI = [{"role": "user", "content": "hi"}]
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
URL = "http://localhost:8080"


@dataclass(frozen=True)
class _Config:
    stop_token_ids: tuple[int, ...] = (END, 256)
    vocab_size: int = VOCABULARY
    headless: bool = False


def make_model(core: FakeCore, template: str = TEMPLATE) -> Model:
    settings = checked({"seed": 0, "grammars": True}, trained_context=4096, cores=1)
    tokenizer = make_tokenizer()
    opened = Opened(
        None, _Config(), settings, tokenizer, ChatTemplate(template), SamplingDefaults(), "scripted", True, True
    )  # type: ignore[arg-type]  # fmt: skip
    return Model(opened, Engine(core, VOCABULARY))


class Scripted:
    """One server for each template."""

    def __init__(self, folder: Path, template: str = TEMPLATE, **settings: Any) -> None:
        path = folder / "scripted.q3e"
        path.touch()
        self.core = FakeCore([], **settings)
        self.metrics = Metrics()
        with patch.object(hosted, "load", lambda path, **settings: make_model(self.core, template)):
            self.models = Models({"scripted": path}, {}, {"memory": "1GiB"}, count=self.metrics.count_answer)
        self.app = make_app(self.models, self.metrics, Access(), Limits(1 << 20, receive_seconds=1))
        self.client = TestClient(self.app, base_url=URL)

    def __enter__(self) -> Scripted:
        self.client.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.client.__exit__(*error)

    def post(self, script: list[int], **body: Any) -> Any:
        """The response to a chat."""
        self.core.script, self.core.said = script, 0
        return self.client.post("/v1/chat/completions", json={"messages": HI, "temperature": 0, **body})

    def say(self, script: list[int], **body: Any) -> dict[str, Any]:
        """The answer's choice, which is the same as a whole and from a stream."""
        whole = self.post(script, **body)
        assert whole.status_code == 200, whole.text
        streamed = self.post(script, **body, stream=True, stream_options={"include_usage": True})
        assert streamed.status_code == 200, streamed.text
        found, (joined,), usage = whole.json(), *joined_chunks(streamed.text)
        (choice,) = found["choices"]
        calls = [call["function"] for call in choice["message"].pop("tool_calls", [])]
        choice["calls"] = calls
        assert joined == choice
        assert {**usage, "prompt_tokens_details": 0} == {**found["usage"], "prompt_tokens_details": 0}
        return {**choice["message"], "calls": calls, "finish": choice["finish_reason"], "usage": found["usage"]}


def events(stream: str) -> list[Any]:
    """The data of a stream's events, the last of which must be `[DONE]`."""
    lines = [line.removeprefix("data: ") for line in stream.split("\n\n") if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def joined_chunks(stream: str) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """The choices that a client puts together of a stream, and its usage. Checks what all clients rely on."""
    chunks, choices, usage = events(stream), {}, None
    assert len({chunk["id"] for chunk in chunks}) == 1
    for chunk in chunks:
        if not chunk["choices"]:
            assert chunk is chunks[-1]
            usage = chunk["usage"]
        for part in chunk["choices"]:
            delta, index = part["delta"], part["index"]
            if index not in choices:
                assert delta == {"role": "assistant", "content": ""}
                message = {
                    "role": "assistant",
                    "content": "",
                    "refusal": None,
                    "reasoning_content": "",
                    "reasoning": "",
                }
                choices[index] = {
                    "index": index,
                    "message": message,
                    "logprobs": None,
                    "finish_reason": None,
                    "calls": [],
                }
                continue
            choice = choices[index]
            assert choice["finish_reason"] is None and "role" not in delta
            for name in ("content", "reasoning_content", "reasoning"):
                choice["message"][name] += delta.get(name, "")
            for call in delta.get("tool_calls", ()):
                assert type(call["index"]) is int
                if call["index"] == len(choice["calls"]):
                    assert call["id"] and call["type"] == "function"
                    choice["calls"].append(dict(call["function"]))
                else:
                    assert "id" not in call
                    choice["calls"][call["index"]]["arguments"] += call["function"]["arguments"]
            if part["logprobs"] is not None:
                choice["logprobs"] = choice["logprobs"] or {"content": [], "refusal": None}
                choice["logprobs"]["content"] += part["logprobs"]["content"]
            choice["finish_reason"] = part["finish_reason"]
    for choice in choices.values():
        message = choice["message"]
        for name in ("reasoning_content", "reasoning"):
            message[name] = message[name] or None
        if choice["calls"] and not message["content"]:
            message["content"] = None
    return [choices[index] for index in sorted(choices)], usage
