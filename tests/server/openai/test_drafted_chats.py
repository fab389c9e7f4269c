"""With draft tokens: a server that looks them up says the same as one that does not."""

import json

import pytest
from starlette.testclient import TestClient

from qwen3edge.server.app import make_app
from qwen3edge.server.hosted import Models
from qwen3edge.server.metrics import Metrics
from qwen3edge.server.safety import Access
from tests.server.conftest import SETTINGS
from tests.server.scripted import URL

QUESTION = [{"role": "user", "content": "Say it three times: a, b, a, b. What is 47 + 38? What is 47 + 38?"}]
ITEM = {"type": "object", "properties": {"n": {"enum": [1, 2, 30]}}, "required": ["n"], "additionalProperties": False}
SCHEMA = {"type": "array", "minItems": 4, "maxItems": 6, "items": ITEM}
FORM = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}}


@pytest.fixture(scope="module")
def drafting(tiny_int4):
    models = Models({"tiny": tiny_int4}, {}, {**SETTINGS, "draft_tokens": 8})
    with TestClient(make_app(models, Metrics(), Access()), base_url=URL) as client:
        yield client
        counts = client.get("/props").json()["models"]["tiny"]["counts"]
        assert counts["drafted"] > 0


def answers(client, **body):
    body = {"messages": QUESTION, "max_tokens": 80, "temperature": 0, **body}
    found = client.post("/v1/chat/completions", json=body).json()
    usage = found["usage"]["completion_tokens_details"]
    return found["choices"][0]["message"], found["choices"][0]["finish_reason"], usage["reasoning_tokens"]


@pytest.mark.parametrize("budget", [0, 3, 9])
def test_c16_the_budget_holds_in_every_turn(tiny, drafting, budget):
    talk = [*QUESTION]
    for question in ("What is 12 + 7?", "What is 35 + 4?"):
        body = {"messages": talk, "thinking_budget": budget, "enable_thinking": True}
        found = answers(drafting, **body)
        assert found == answers(tiny, **body) and found[2] == budget
        talk += [found[0], {"role": "user", "content": question}]


@pytest.mark.parametrize("thinking", [False, True])
def test_c23_a_schema_behind_thoughts(tiny, drafting, thinking):
    """No token is taken twice where the thoughts end."""
    for seed in range(2):
        body = {**FORM, "enable_thinking": thinking, "thinking_budget": 7, "temperature": 1.2, "seed": seed}
        message, reason, _ = answers(drafting, **body)
        assert (message, reason) == answers(tiny, **body)[:2]
        assert message["content"].startswith("[") and not message["content"].startswith("[[")
        assert reason == "length" or 4 <= len(json.loads(message["content"])) <= 6
