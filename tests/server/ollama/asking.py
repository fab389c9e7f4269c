"""Ollama's chats of a scripted server, as a whole and line by line: a client sees the same."""

from __future__ import annotations

import json
from typing import Any

from tests.server.scripted import HI, Scripted

TIMES = ("created_at", "total_duration", "load_duration", "prompt_eval_duration", "eval_duration")


def post(server: Scripted, script: list[int], path: str = "/api/chat", **body: Any) -> Any:
    """The response. options are added to greedy ones."""
    server.core.script, server.core.said = script, 0
    options = {"temperature": 0, **(body.pop("options", None) or {})}
    prompt = {"messages": HI} if path == "/api/chat" else {"prompt": "hi"}
    return server.client.post(path, json={"model": "scripted", **prompt, "options": options, **body})


def lines(stream: str) -> list[dict[str, Any]]:
    """Of a stream."""
    assert stream.endswith("\n")
    return [json.loads(line) for line in stream.splitlines()]


def say(server: Scripted, script: list[int], path: str = "/api/chat", **body: Any) -> dict[str, Any]:
    """The whole answer, which a client that reads the lines puts together as well; without times."""
    whole = post(server, script, path, **body, stream=False)
    assert whole.status_code == 200, whole.text
    streamed = post(server, script, path, **body)
    assert streamed.status_code == 200 and streamed.headers["content-type"] == "application/x-ndjson", streamed.text
    found, joined = whole.json(), joined_lines(lines(streamed.text))
    for each in (found, joined):
        for name in TIMES:
            value = each.pop(name)
            assert (type(value) is int and value >= 0) if name.endswith("duration") else value.endswith("Z")
        for call in each.get("message", {}).get("tool_calls", ()):
            assert call.pop("id")
    assert joined == found
    return found


def joined_lines(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Checks that only the last is done."""
    *parts, last = found
    assert last["done"] and not any(part["done"] for part in parts) and "done_reason" not in "".join(map(str, parts))
    assert len({part["model"] for part in found}) == 1
    texts, calls, logprobs = {"content": "", "thinking": "", "response": ""}, [], []
    for part in found:
        said = part.get("message", part)
        assert said.get("role", "assistant") == "assistant"
        for name in texts:
            texts[name] += said.get(name, "")
        calls += said.get("tool_calls", [])
        logprobs += part.get("logprobs", [])
    more = {"thinking": texts["thinking"]} if texts["thinking"] else {}
    probable = {"logprobs": logprobs} if logprobs else {}
    if "message" not in last:
        return {**last, "response": texts["response"], **more, **probable}
    called = {"tool_calls": calls} if calls else {}
    return {**last, "message": {"role": "assistant", "content": texts["content"], **more, **called}, **probable}
