"""Ollama's own client, which Home Assistant is built on."""

import asyncio
import json

import ollama
import pytest

from tests.generation.fakes import CALL, CALLED, CLOSE, END, OPEN, ids

ASK = [{"role": "user", "content": "What is 12 + 7?"}]
GREEDY = {"temperature": 0, "num_predict": 60}
SUM = [CALL, *ids('{"name": "add", "arguments": {"a": 12, "b": 7}}'), CALLED]


def add(a: int, b: int) -> int:
    """The sum.

    Args:
        a: a number
        b: another
    """
    return a + b


@pytest.fixture(scope="module")
def client(url):
    return ollama.Client(url)


def test_chat(client):
    found = client.chat("tiny", ASK, think=False, options=GREEDY)
    assert found.message.content and found.message.thinking is None and found.done
    assert found.prompt_eval_count > 0 and found.eval_duration > 0
    thought = client.chat("tiny", ASK, think=True, options=GREEDY)
    assert thought.message.thinking


def test_a_stream(client):
    parts = list(client.chat("tiny:latest", ASK, options=GREEDY, stream=True))
    whole = client.chat("tiny", ASK, options=GREEDY)
    for name in ("content", "thinking"):
        assert "".join(getattr(part.message, name) or "" for part in parts) == (getattr(whole.message, name) or "")
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].eval_count == whole.eval_count


def test_a_schema(client):
    schema = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
    found = client.chat("tiny", ASK, think=False, format=schema, options=GREEDY)
    assert found.message.content.startswith("{")
    assert found.done_reason == "length" or "sum" in json.loads(found.message.content)


def test_tools(told):
    """A function of Python becomes a tool; its result goes back."""
    client, messages = ollama.Client(told.root), list(ASK)
    told.say([*SUM, END])
    found = client.chat("scripted", messages, tools=[add])
    (call,) = found.message.tool_calls
    assert (call.function.name, call.function.arguments) == ("add", {"a": 12, "b": 7})
    result = str(add(**call.function.arguments))
    messages += [found.message, {"role": "tool", "content": result, "tool_name": call.function.name}]
    told.say([*ids("It is 19."), END])
    assert client.chat("scripted", messages, tools=[add]).message.content == "It is 19."


def test_as_home_assistant_asks(told):
    """A stream with tools, think, num_ctx from a form, and keep_alive."""
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}

    async def ask(keep_alive):
        told.say([OPEN, *ids("hm"), CLOSE, *SUM, END])
        stream = await ollama.AsyncClient(told.root).chat(
            model="scripted", messages=[ollama.Message(role="user", content="Add!")], tools=[tool], stream=True,
            keep_alive=keep_alive, options={"num_ctx": 8192.0}, think=False, format=None,
        )  # fmt: skip
        return [part async for part in stream]

    for keep_alive in (-1, "300s"):
        parts = asyncio.run(ask(keep_alive))
        assert "".join(part["message"].get("thinking") or "" for part in parts) == "hm"
        calls = [call for part in parts for call in part["message"].get("tool_calls") or ()]
        assert calls[0]["function"]["arguments"] == {"a": 12, "b": 7} and parts[-1]["done"]


def test_generate(client):
    found = client.generate("tiny", "What is 12 + 7?", system="Add.", think=False, options=GREEDY)
    parts = client.generate("tiny", "What is 12 + 7?", system="Add.", think=False, options=GREEDY, stream=True)
    assert "".join(part.response for part in parts) == found.response
    raw = client.generate("tiny", "12 + 7 =", raw=True, options={"num_predict": 4})
    assert raw.prompt_eval_count < found.prompt_eval_count and raw.eval_count <= 4


def test_embed(client):
    found = client.embed("tiny", ["a cat", "a dog"], dimensions=64)
    assert [len(vector) for vector in found.embeddings] == [64, 64]
    assert len(client.embeddings("tiny", "a cat").embedding) > 64


def test_models(client):
    served = ("int4", "tiny", "text-embedding-3-small")
    assert [model.model for model in client.list().models] == [f"{name}:latest" for name in served]
    shown = client.show("tiny")
    assert shown.capabilities == ["completion", "tools", "thinking"] and shown.details.family == "qwen3"
    assert shown.modelinfo["qwen3.context_length"] == 2048
    client.chat("tiny", ASK, options={"num_predict": 1}, keep_alive="5m")
    (running,) = client.ps().models
    assert running.model == "int4:latest" and running.context_length == 2048 and running.expires_at.year < 9999


def test_errors(client):
    with pytest.raises(ollama.ResponseError, match="expected one of the models that are served") as refused:
        client.chat("llama3.2", ASK)
    assert refused.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match=r"options\.mirostat"):
        client.chat("tiny", ASK, options={"mirostat": 2})
    with pytest.raises(ollama.ResponseError, match="--allow-pull"):
        client.pull("Qwen/Qwen3-0.6B")
    with pytest.raises(ollama.ResponseError, match="images"):
        client.chat("tiny", [{"role": "user", "content": "a", "images": ["aGk="]}])
