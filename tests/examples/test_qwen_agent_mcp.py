"""examples/qwen_agent_mcp.py on the tiny model: the agent calls the tool of its own server and tells what it said."""

import importlib.util
import os
import subprocess
import sys

import pytest

from examples import qwen_agent_mcp
from tests.conftest import ROOT
from tests.server.conftest import serve  # noqa: F401  # a fixture

PROGRAM = ROOT / "examples" / "qwen_agent_mcp.py"


def test_its_arguments_are_told():
    found = subprocess.run([sys.executable, PROGRAM, "--help"], capture_output=True, text=True, check=True)
    assert "--url" in found.stdout and "qwen3edge serve" in qwen_agent_mcp.__doc__


@pytest.mark.slow
@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("qwen_agent", "mcp")), reason="needs qwen-agent and mcp"
)
def test_the_agent(serve):  # noqa: F811
    """Without a network: what it says is what its tool knows, which the model does not."""
    server = serve()
    command = [sys.executable, PROGRAM, "--url", f"{server.base_url}/v1", "--model", "int4"]
    offline = {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
    for city, sky in (("Prague", "foggy"), ("Oslo", "snowy")):
        found = subprocess.run(
            [*command, f"What is the weather in {city}?"], env=os.environ | offline, capture_output=True, text=True,
            check=False, timeout=120,
        )  # fmt: skip
        assert found.returncode == 0, found.stderr
        lines = found.stdout.splitlines()
        assert any(f'"city": "{city}", "sky": "{sky}"' in line for line in lines if line.startswith("function: "))
        assert sky in lines[-1] and lines[-1].startswith("assistant: ")
