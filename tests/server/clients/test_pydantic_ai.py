"""pydantic-ai, which takes tool_choice=required, strict tools and schemas at their word."""

import asyncio

import pytest
from pydantic import BaseModel

from tests.server.clients.conftest import call, text

pydantic_ai = pytest.importorskip("pydantic_ai")
models = pytest.importorskip("pydantic_ai.models.openai")
providers = pytest.importorskip("pydantic_ai.providers.openai")
pytestmark = pytest.mark.slow


class Sky(BaseModel):
    city: str
    foggy: bool


SKY = '{"city": "Prague", "foggy": true}'


def weather(city: str) -> str:
    """The weather of a city."""
    return f"foggy in {city}"


@pytest.fixture(params=["OpenAIChatModel", "OpenAIResponsesModel"])
def model(request, told):
    return getattr(models, request.param)("scripted", provider=providers.OpenAIProvider(told.url, api_key="any"))


def test_a_tool_and_its_result(model, told):
    told.will_say(call("weather", '{"city": "Prague"}'), text("It is foggy."))
    found = pydantic_ai.Agent(model, tools=[weather], instructions="Be brief.").run_sync("What is the weather?")
    assert found.output == "It is foggy."
    returned = [part.content for message in found.all_messages() for part in message.parts
                if part.part_kind == "tool-return"]  # fmt: skip
    assert returned == ["foggy in Prague"]


def test_a_type_by_a_call_that_must_come(model, told):
    told.will_say(call("final_result", SKY))
    assert pydantic_ai.Agent(model, output_type=Sky).run_sync("hi").output == Sky(city="Prague", foggy=True)


def test_a_type_by_a_schema(model, told):
    told.will_say(text(SKY))
    found = pydantic_ai.Agent(model, output_type=pydantic_ai.NativeOutput(Sky)).run_sync("hi")
    assert found.output == Sky(city="Prague", foggy=True)


def test_a_stream(model, told):
    async def run():
        async with pydantic_ai.Agent(model).run_stream("hi") as found:
            return [piece async for piece in found.stream_text(delta=True, debounce_by=None)]

    told.will_say(text("It is foggy."))
    pieces = asyncio.run(run())
    assert "".join(pieces) == "It is foggy." and len(pieces) > 1
