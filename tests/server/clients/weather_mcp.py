"""An MCP server of one tool, over stdio: `python weather_mcp.py`."""

from mcp.server.fastmcp import FastMCP

server = FastMCP("sky")


@server.tool()
def weather(city: str) -> str:
    """The weather of a city."""
    return f"foggy in {city}"


if __name__ == "__main__":
    server.run()
