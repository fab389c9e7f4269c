"""llm, the command: a model of its configuration, tools, schemas."""

import json

import pytest

from tests.server.clients.conftest import call, text

llm = pytest.importorskip("llm")
pytestmark = pytest.mark.slow


@pytest.fixture
def model(told, tmp_path, monkeypatch):
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))
    settings = [{"model_id": "edge", "model_name": "scripted", "api_base": told.url, "api_key_name": "edge",
                 "supports_tools": True, "supports_schema": True}]  # fmt: skip
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps(settings))  # JSON is YAML
    (tmp_path / "keys.json").write_text(json.dumps({"edge": "any"}))
    return llm.get_model("edge")


@pytest.mark.parametrize("stream", [True, False])
def test_a_prompt(model, told, stream):
    told.will_say(text("It is foggy."))
    assert model.prompt("How is it?", stream=stream).text() == "It is foggy."


def test_a_tool_and_its_result(model, told):
    def weather(city: str) -> str:
        """The weather of a city."""
        return f"foggy in {city}"

    told.will_say(call("weather", '{"city": "Prague"}'), text("It is foggy."))
    assert model.chain("How is it in Prague?", tools=[weather]).text() == "It is foggy."


def test_a_schema(model, told):
    told.will_say(text('{"a": 19}'))
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    assert json.loads(model.prompt("What is 12 + 7?", schema=schema).text()) == {"a": 19}
