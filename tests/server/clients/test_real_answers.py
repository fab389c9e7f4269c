"""Clients that else meet a written answer, on what models really say: `qwen3edge serve` on the tiny model and on the
public real one (QWEN3EDGE_REAL_MODEL is a file of it that is here already). What must hold of any answer is checked.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys

import pytest
from pydantic import BaseModel

from qwen3edge.convert import convert
from tests import real_file

openai = pytest.importorskip("openai")
pytestmark = pytest.mark.slow

QUESTION = "What is the weather in Prague?"


class Sky(BaseModel):
    city: str
    foggy: bool


@pytest.fixture(scope="module", params=["tiny", "real"])
def url(request, tiny_int4, tmp_path_factory):
    """Of OpenAI's API of a server, whose model is called `served`."""
    path = tiny_int4
    if request.param == "real":
        path = tmp_path_factory.mktemp("real") / "real.q3e"
        try:
            convert(os.environ.get("QWEN3EDGE_REAL_MODEL") or real_file.fetch(), path, "int4")
        except real_file.FetchError as error:
            pytest.skip(str(error))
    command = [sys.executable, "-m", "qwen3edge", "serve", path, "--port", "0", "--threads", "2"]
    command += ["--alias", f"served={path.stem}", "--context", "2048", "--sequences", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield re.search(r"http://[\d.]+:\d+", process.stdout.readline())[0] + "/v1"
        finally:
            process.terminate()


def test_openai_a_stream_is_the_whole(url):
    with openai.OpenAI(base_url=url, api_key="any", max_retries=0) as client:
        messages = [{"role": "user", "content": QUESTION}]
        body = {"model": "served", "messages": messages, "temperature": 0, "max_tokens": 60}
        whole = client.chat.completions.create(**body)
        chunks = list(client.chat.completions.create(**body, stream=True, stream_options={"include_usage": True}))
    (choice,), used = whole.choices, whole.usage
    said = "".join([chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices])
    assert said == choice.message.content and choice.finish_reason in ("stop", "length")
    assert used.total_tokens == used.prompt_tokens + used.completion_tokens
    assert chunks[-1].usage.completion_tokens == used.completion_tokens <= 60
    assert len({chunk.id for chunk in chunks}) == 1


@pytest.mark.parametrize("kind", ["OpenAIResponsesModel", "OpenAIChatCompletionsModel"])
def test_agents(url, kind):
    agents = pytest.importorskip("agents")
    client = openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=0)
    settings = agents.ModelSettings(temperature=0, max_tokens=60)
    model = getattr(agents, kind)(model="served", openai_client=client)
    agent = agents.Agent(name="Weather", instructions="Be brief.", model=model, model_settings=settings)

    async def streamed():
        found = agents.Runner.run_streamed(agent, "What is 12 + 7?")
        kinds = {event.type async for event in found.stream_events()}
        return kinds, found.final_output, (await agents.Runner.run(agent, "What is 12 + 7?")).final_output

    kinds, said, whole = asyncio.run(streamed())
    assert "raw_response_event" in kinds and said == whole


@pytest.mark.parametrize("kind", ["OpenAIChatModel", "OpenAIResponsesModel"])
def test_pydantic_ai(url, kind):
    """A call that must come comes, with the types that were asked for."""
    pydantic_ai = pytest.importorskip("pydantic_ai")
    models = pytest.importorskip("pydantic_ai.models.openai")
    providers = pytest.importorskip("pydantic_ai.providers.openai")
    model = getattr(models, kind)("served", provider=providers.OpenAIProvider(url, api_key="any"))
    settings = {"temperature": 0, "max_tokens": 300}
    found = pydantic_ai.Agent(model, output_type=Sky, model_settings=settings).run_sync(QUESTION)
    assert isinstance(found.output, Sky)
    calls = [part for message in found.all_messages() for part in message.parts if part.part_kind == "tool-call"]
    assert calls[-1].tool_name == "final_result" and calls[-1].tool_call_id


@pytest.mark.parametrize("mode", ["TOOLS", "JSON_SCHEMA"])
def test_instructor(url, mode):
    instructor = pytest.importorskip("instructor")
    client = instructor.from_openai(openai.OpenAI(base_url=url, api_key="any"), mode=instructor.Mode[mode])
    messages = [{"role": "user", "content": QUESTION}]
    asked = {"model": "served", "messages": messages, "response_model": Sky, "temperature": 0, "max_tokens": 300}
    assert isinstance(client.chat.completions.create(**asked, max_retries=0), Sky)


def test_llm(url, tmp_path, monkeypatch):
    llm = pytest.importorskip("llm")
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))
    settings = {"model_id": "edge", "model_name": "served", "api_base": url, "api_key_name": "edge",
                "supports_tools": True, "supports_schema": True}  # fmt: skip
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps([settings]))  # JSON is YAML
    (tmp_path / "keys.json").write_text(json.dumps({"edge": "any"}))
    model = llm.get_model("edge")
    asked = {"temperature": 0, "max_tokens": 60}
    pieces = list(model.prompt("What is 12 + 7?", stream=True, **asked))
    assert "".join(pieces) == model.prompt("What is 12 + 7?", stream=False, **asked).text()
    numbers = {"type": "object", "properties": {"a": {"type": "integer", "maximum": 99}}, "required": ["a"]}
    schema = {**numbers, "additionalProperties": False}
    found = json.loads(model.prompt("What is 12 + 7?", schema=schema, temperature=0, max_tokens=300).text())
    assert isinstance(found["a"], int)
