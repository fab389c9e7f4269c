"""The AI SDK of npm, by its provider for servers of this kind: texts, streams, tools, objects."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.generation.fakes import CLOSE, OPEN, ids
from tests.server.clients.conftest import call, text

pytestmark = pytest.mark.slow

FOLDER = ROOT / "build" / "npm"
SCRIPT = Path(__file__).with_name("ai_sdk.mjs")


@pytest.fixture
def node():
    program = shutil.which("node")
    if program is None:
        pytest.skip("expected node on PATH, found none")
    if not (FOLDER / "node_modules" / "@ai-sdk" / "openai-compatible").is_dir():
        pytest.skip(f"expected its packages, found none: npm install --prefix {FOLDER} ai @ai-sdk/openai-compatible")
    return program


def test_texts_streams_tools_and_objects(node, told):
    thinks = [OPEN, *ids("hm"), CLOSE, *text("It is foggy.")]
    calls = [call("weather", '{"city": "Prague"}'), text("It is foggy.")]
    told.will_say(thinks, thinks, *calls, *calls, text('{"a": 19}'))
    found = subprocess.run([node, SCRIPT, FOLDER, told.url], capture_output=True, text=True, timeout=100, check=False)
    assert found.returncode == 0, found.stderr
    made = json.loads(found.stdout)
    said = {"reasoning": "hm", "tokens": len(thinks) + 1}
    assert made["plain"] == {"text": "It is foggy.", **said}
    pieces = made["streamed"].pop("pieces")
    assert made["streamed"] == said and "".join(pieces) == "It is foggy." and len(pieces) > 1
    assert made["called"] == made["streamedCall"] == {"text": "It is foggy.", "results": ["foggy in Prague"]}
    assert made["object"] == {"a": 19}
