"""What the OpenAPI document says of answers."""

import jsonschema
import pytest
from starlette.testclient import TestClient

from qwen3edge.server.app import make_app
from qwen3edge.server.hosted import Models
from qwen3edge.server.metrics import Metrics
from qwen3edge.server.safety import Access
from qwen3edge.server.sessions import Sessions
from tests.generation.fakes import CALL, CALLED, CLOSE, END, OPEN, ids
from tests.server.conftest import SETTINGS
from tests.server.held import JSON, Held, closed
from tests.server.scripted import HI, TOOLS, URL

REQUESTS = [
    ("POST", "/v1/chat/completions", {"messages": HI, "max_tokens": 20, "n": 2, "logprobs": True, "top_logprobs": 2}),
    ("POST", "/v1/chat/completions", {"messages": HI, "max_tokens": 2, "enable_thinking": False}),
    ("POST", "/v1/completions", {"prompt": ["12 +", "a"], "max_tokens": 4, "logprobs": 2, "echo": True}),
    ("POST", "/v1/completions", {"prompt": "12 +", "max_tokens": 4}),
    ("POST", "/v1/responses", {"input": "hi", "max_output_tokens": 9, "top_logprobs": 2}),
    ("POST", "/v1/responses", {"input": "hi", "reasoning": {"summary": "auto"}, "text": {"format": {"type": "text"}}}),
    ("POST", "/v1/embeddings", {"input": ["a", "b"]}),
    ("POST", "/v1/embeddings", {"input": "a", "encoding_format": "base64"}),
    ("GET", "/v1/models", None),
    ("GET", "/v1/models/{name}", None),
    ("POST", "/v1/messages", {"messages": HI, "max_tokens": 20, "thinking": {"type": "enabled", "budget_tokens": 4}}),
    ("POST", "/v1/messages/count_tokens", {"messages": HI}),
    ("POST", "/api/chat", {"messages": HI, "stream": False, "options": {"num_predict": 20}}),
    ("POST", "/api/chat", {"model": "tiny"}),
    ("POST", "/api/generate", {"prompt": "hi", "stream": False, "options": {"num_predict": 20}}),
    ("POST", "/api/embed", {"input": ["a", "b"]}),
    ("POST", "/api/embeddings", {"prompt": "a"}),
    ("GET", "/api/tags", None),
    ("GET", "/api/ps", None),
    ("POST", "/api/show", {"model": "tiny"}),
    ("GET", "/api/version", None),
    ("GET", "/health", None),
    ("GET", "/props", None),
    ("POST", "/tokenize", {"content": "hi"}),
    ("POST", "/tokenize", {"content": "hi", "with_pieces": True}),
    ("POST", "/detokenize", {"tokens": [1, 2]}),
    ("POST", "/apply-template", {"messages": HI}),
    ("POST", "/sessions/{name}/save", {"messages": HI}),
    ("GET", "/sessions", None),
    ("POST", "/sessions/{name}/load", {}),
    ("DELETE", "/sessions/{name}", None),
]
ELSEWHERE = {"Reranking", "OllamaPulled"}  # of another model, and of a hub
CALLED_TEXT = [
    OPEN,
    *ids("hm"),
    CLOSE,
    *ids("so"),
    CALL,
    *ids('{"name": "weather", "arguments": {"city": "x"}}'),
    CALLED,
]
FUNCTION = {"name": "weather", "parameters": {"type": "object"}}


@pytest.fixture(scope="module")
def held(tiny_int4, tmp_path_factory):
    metrics = Metrics()
    models = Models({"tiny": tiny_int4}, {}, SETTINGS, count=metrics.count_answer)
    saved = Sessions(tmp_path_factory.mktemp("sessions") / "saved")
    with saved, TestClient(make_app(models, metrics, Access(), saved=saved), base_url=URL) as client:
        yield Held(client)


def test_every_answer_is_one_of_the_document(held):
    for method, path, body in REQUESTS:
        held.ask(method, path, body, "tiny")
    told = [each["responses"]["200"]["content"] for path in held.document["paths"].values() for each in path.values()]
    names = {content[JSON]["schema"]["$ref"].rpartition("/")[2] for content in told if JSON in content}
    assert names == held.asked | ELSEWHERE


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": HI, "tools": TOOLS}),
        ("/v1/responses", {"input": "hi", "tools": [{"type": "function", **FUNCTION}]}),
        (
            "/v1/messages",
            {"messages": HI, "max_tokens": 99, "tools": [{"name": "weather", "input_schema": {"type": "object"}}]},
        ),
        ("/api/chat", {"messages": HI, "stream": False, "tools": TOOLS}),
    ],
)
def test_answers_with_thoughts_text_and_calls(scripted, path, body):
    scripted.core.script, scripted.core.said = [*CALLED_TEXT, END], 0
    assert "weather" in str(Held(scripted.client).ask("POST", path, body))


def test_a_schema_refuses_what_it_does_not_name(held):
    schema = {**closed(held.document["components"]["schemas"]["Health"])}
    jsonschema.validate({"status": "ok"}, schema)
    for wrong in ({}, {"status": "bad"}, {"status": "ok", "more": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)
