"""Messages of a scripted server, as a whole and from a stream: a client sees the same."""

from __future__ import annotations

import json
from typing import Any

from tests.server.scripted import HI, Scripted

TOOLS = [{"name": "weather", "description": "of a city", "input_schema": {"type": "object"}}]


def post(server: Scripted, script: list[int], path: str = "/v1/messages", **body: Any) -> Any:
    """The response; a parameter that is None is left out."""
    server.core.script, server.core.said = script, 0
    asked = {"messages": HI, "max_tokens": 99, "temperature": 0, **body}
    return server.client.post(path, json={name: value for name, value in asked.items() if value is not None})


def say(server: Scripted, script: list[int], **body: Any) -> dict[str, Any]:
    """The message, which a client that reads the stream puts together as well."""
    whole = post(server, script, **body)
    assert whole.status_code == 200, whole.text
    streamed = post(server, script, **body, stream=True)
    assert streamed.status_code == 200, streamed.text
    found, joined = whole.json(), put_together(events(streamed.text))
    for each in (found, joined):
        assert each.pop("id").startswith("msg_")
        for block in each["content"]:
            assert block["type"] != "tool_use" or block.pop("id")
        used = each["usage"]
        used["prompt"] = used.pop("input_tokens") + used.pop("cache_read_input_tokens")  # the second time it is cached
    assert joined == found
    return found


def events(stream: str) -> list[dict[str, Any]]:
    """Of a stream, each with its name; pings are left out."""
    found = []
    for text in filter(None, stream.split("\n\n")):
        name, data = text.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        found += [] if event["type"] == "ping" else [event]
    return found


def put_together(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The message of a stream. Checks the order that clients rely on."""
    first, *blocks, delta, last = found
    assert (first["type"], delta["type"], last["type"]) == ("message_start", "message_delta", "message_stop")
    message, opened = first["message"], None
    assert message["content"] == [] and message["stop_reason"] is None and message["usage"]["output_tokens"] == 0
    for event in blocks:
        kind, index = event["type"].removeprefix("content_block_"), event["index"]
        if kind == "start":
            assert opened is None and index == len(message["content"])
            opened = {**event["content_block"], "json": ""}
        elif kind == "delta":
            assert index == len(message["content"])
            add(opened, event["delta"])
        else:
            text = opened.pop("json")
            message["content"].append({**opened, "input": json.loads(text)} if text else opened)
            opened = None
    assert opened is None
    return {**message, **delta["delta"], "usage": delta["usage"]}


def add(block: dict[str, Any], delta: dict[str, str]) -> None:
    kind, where = delta["type"], block["type"]
    if kind == "input_json_delta":
        assert where == "tool_use"
        block["json"] += delta["partial_json"]
        return
    name = kind.removesuffix("_delta")
    assert name == where or (name, where) == ("signature", "thinking")
    assert where != "thinking" or not block["signature"]  # which is the last
    block[name] += delta[name]
