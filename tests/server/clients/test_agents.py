"""openai-agents, which speaks to /v1/responses unless it is told otherwise."""

import asyncio

import pytest

from tests.generation.fakes import CLOSE, OPEN, ids
from tests.server.clients.conftest import call, text

agents = pytest.importorskip("agents")
openai = pytest.importorskip("openai")
pytestmark = pytest.mark.slow

THOUGHTS = [OPEN, *ids("hm"), CLOSE]
SAID = [[*THOUGHTS, *call("weather", '{"city": "Prague"}')], text("It is foggy.")]


@agents.function_tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"foggy in {city}"


@pytest.fixture(params=["OpenAIResponsesModel", "OpenAIChatCompletionsModel"])
def agent(request, told):
    client = openai.AsyncOpenAI(base_url=told.url, api_key="any", max_retries=0)
    model = getattr(agents, request.param)(model="scripted", openai_client=client)
    return agents.Agent(name="Weather", instructions="Be brief.", tools=[weather], model=model)


def test_a_tool_and_its_result(agent, told):
    told.will_say(*SAID)
    found = agents.Runner.run_sync(agent, "What is the weather in Prague?")
    assert found.final_output == "It is foggy."
    assert [item.output for item in found.new_items if item.type == "tool_call_output_item"] == ["foggy in Prague"]


def test_a_stream(agent, told):
    async def run():
        found = agents.Runner.run_streamed(agent, "What is the weather in Prague?")
        kinds = [event.type async for event in found.stream_events()]
        return kinds, found.final_output

    told.will_say(*SAID)
    kinds, said = asyncio.run(run())
    assert said == "It is foggy." and {"raw_response_event", "run_item_stream_event"} <= set(kinds)


def test_an_output_of_a_type_beside_tools(agent, told):
    """A schema and tools in one request."""
    told.will_say(call("weather", '{"city": "Prague"}'), text('{"response": 4}'))
    assert agents.Runner.run_sync(agent.clone(output_type=int), "How many letters?").final_output == 4
