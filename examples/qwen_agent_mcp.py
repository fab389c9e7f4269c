"""An agent of Qwen-Agent with a tool that a Model Context Protocol server has, on a local server, without a network.

    pip install qwen-agent 'mcp<2' python-dateutil soundfile pandas tqdm
    qwen3edge serve model.q3e
    python examples/qwen_agent_mcp.py "What is the weather in Prague?"

The same file is the agent and, with --tools, the server of its tool, which the agent starts and speaks to by stdio.
"""

from __future__ import annotations

import argparse
import sys

SKIES = {"Prague": "foggy", "Oslo": "snowy", "Madrid": "sunny"}
"""What this example knows of the world."""


def serve_tools() -> None:
    """Answers the agent's calls until it closes our input."""
    from mcp.server.fastmcp import FastMCP  # noqa: PLC0415

    server = FastMCP("weather")

    @server.tool()
    def get_weather(city: str) -> str:
        """Get the weather of a city"""
        return f'{{"city": "{city}", "sky": "{SKIES.get(city, "unknown")}"}}'

    server.run("stdio")


def ask(question: str, url: str, key: str, model: str) -> list[dict[str, object]]:
    """The messages with which the agent answers: its calls, what the tool said, and the answer."""
    from qwen_agent.agents import Assistant  # noqa: PLC0415
    from qwen_agent.tools import MCPManager  # noqa: PLC0415

    command = {"command": sys.executable, "args": [__file__, "--tools"]}
    tools = MCPManager().initConfig({"mcpServers": {"weather": command}})
    for tool in tools:  # named weather-get_weather: small models leave out what comes first
        tool.name = tool.name.removeprefix("weather-")
    agent = Assistant(
        llm={
            "model": model,
            "model_server": url,
            "api_key": key,
            # The server reads calls; Qwen-Agent would write tools into the prompt and read them itself.
            "generate_cfg": {"use_raw_api": True, "temperature": 0},
        },
        function_list=tools,
    )
    messages: list[dict[str, object]] = []
    for messages in agent.run([{"role": "user", "content": question}]):  # noqa: B007  # each time all so far
        pass
    return messages


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", nargs="?", default="What is the weather in Prague?")
    parser.add_argument("--url", default="http://127.0.0.1:8080/v1")
    parser.add_argument("--key", default="none", help="if the server demands one")
    parser.add_argument("--model", default="model", help="its name on the server")
    parser.add_argument("--tools", action="store_true", help="be the tool's server")
    given = parser.parse_args()
    if given.tools:
        serve_tools()
        return 0
    for message in ask(given.question, given.url, given.key, given.model):
        print(f"{message['role']}: {message.get('function_call') or message['content']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
