"""qwen-agent, by its own prompts and by the server's, with a tool of Python's and one of an MCP server."""

import json
import sys
from pathlib import Path

import pytest

from tests.server.clients.conftest import call, text

agents = pytest.importorskip("qwen_agent.agents")
tools = pytest.importorskip("qwen_agent.tools.base")
pytestmark = pytest.mark.slow

MESSAGES = [{"role": "user", "content": "What is the weather in Prague?"}]


class Weather(tools.BaseTool):
    name = "weather"
    description = "The weather of a city"
    parameters = {  # noqa: RUF012
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]
    }  # fmt: skip

    def call(self, params, **_):
        return f"foggy in {json.loads(params)['city']}"


@pytest.mark.parametrize("raw", [False, True], ids=["own prompts", "tools of the server"])
def test_a_tool_and_its_result(told, raw):
    """Its own prompts leave the reading of calls to it: without tools they are text."""
    told.will_say(call("weather", '{"city": "Prague"}'), text("It is foggy."))
    found = said(assistant(told, [Weather()], raw))
    assert [message["role"] for message in found] == ["assistant", "function", "assistant"]
    assert (found[1]["content"], found[2]["content"]) == ("foggy in Prague", "It is foggy.")


def test_a_tool_of_an_mcp_server(told):
    managers = pytest.importorskip("qwen_agent.tools.mcp_manager")
    server = Path(__file__).with_name("weather_mcp.py")
    servers = {"mcpServers": {"sky": {"command": sys.executable, "args": [str(server)]}}}
    told.will_say(call("sky-weather", '{"city": "Prague"}'), text("It is foggy."))
    found = said(assistant(told, [servers], raw=True))
    assert [message["role"] for message in found] == ["assistant", "function", "assistant"]
    assert "foggy in Prague" in found[1]["content"]
    managers.MCPManager().shutdown()


def assistant(told, functions, raw):
    settings = {"model": "scripted", "model_server": told.url, "api_key": "any", "model_type": "oai",
                "generate_cfg": {"use_raw_api": raw, "max_retries": 0}}  # fmt: skip
    return agents.Assistant(llm=settings, function_list=functions)


def said(assistant):
    *_, last = assistant.run(messages=MESSAGES)
    return last
