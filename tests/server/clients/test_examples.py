"""examples/clients: every file parses, and what it names is there on a server."""

import json
import re
import subprocess
import sys

import pytest
import yaml

from tests.conftest import ROOT

FOLDER = ROOT / "examples" / "clients"
SERVER = "http://127.0.0.1:8080"


def text(name):
    return (FOLDER / name).read_text(encoding="utf-8")


def claude_code():
    settings = json.loads(text("claude-code.json"))["env"]
    assert all(isinstance(value, str) for value in settings.values())
    return settings["ANTHROPIC_BASE_URL"], {settings[name] for name in settings if name.endswith("_MODEL")}


def codex():
    tomllib = pytest.importorskip("tomllib")  # Python has it from 3.11 on
    config = tomllib.loads(text("codex.toml"))
    provider = config["model_providers"][config["model_provider"]]
    assert provider["wire_api"] == "responses"
    return provider["base_url"], {config["model"]}


def continues():
    (model,) = yaml.safe_load(text("continue.yaml"))["models"]
    return model["apiBase"], {model["model"]}


def litellm():
    (listed,) = yaml.safe_load(text("litellm.yaml"))["model_list"]
    parameters = listed["litellm_params"]
    provider, _, model = parameters["model"].partition("/")
    assert provider == "openai"
    return parameters["api_base"], {model, listed["model_name"]}


@pytest.mark.parametrize(
    ("read", "called"),
    [
        (claude_code, ["/v1/messages", "/v1/messages/count_tokens"]), (codex, ["/models"]),
        (continues, ["/chat/completions"]), (litellm, ["/chat/completions"]),
    ],
)  # fmt: skip
def test_files(tiny, read, called):
    """Their address, with what the client adds, is a path of the server."""
    base, models = read()
    assert base.startswith(SERVER) and models == {"qwen3"}
    paths = tiny.get("/openapi.json").json()["paths"]
    assert {base.removeprefix(SERVER) + path for path in called} <= set(paths)


def test_what_the_page_says():
    page = text("README.md")
    assert len(page.split()) <= 250
    assert set(re.findall(r"\]\(([\w.-]+)\)", page)) == {path.name for path in FOLDER.iterdir()} - {"README.md"}
    assert set(re.findall(r"http://[\d.:]+", page)) == {SERVER}
    command = [sys.executable, "-m", "qwen3edge", "serve", "--help"]
    known = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    asked = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", page)) - {"--config"}  # which is LiteLLM's
    assert len(asked) >= 3 and all(option in known for option in asked)


def test_the_program_compiles():
    compile(text("with_langchain.py"), "with_langchain.py", "exec")


@pytest.mark.slow
def test_the_program_prints_an_answer(url):
    pytest.importorskip("langchain_ollama")
    command = [sys.executable, FOLDER / "with_langchain.py", url, "tiny"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()
