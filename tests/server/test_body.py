"""Bodies: bounded before anything is made of them."""

import json

import pytest
from starlette.testclient import TestClient

from qwen3edge.server.body import MOST_AT_ONCE, MOST_DEPTH, MOST_VALUES, Bounded, Limits, parsed
from qwen3edge.server.errors import BodyError
from qwen3edge.server.sse import JsonResponse
from tests.server.scripted import Scripted


def test_json():
    body = {"a": ['"[[{{', "\\", 'x"y', {"b": [1, 2.5, None, True]}], "ä": "🦙"}
    assert parsed(json.dumps(body).encode()) == parsed(json.dumps(body, ensure_ascii=False).encode()) == body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"{'a': 1}",
        b"\xff",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1e999}',
        b'{"a": [-1e999]}',
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_no_json_object(body):
    with pytest.raises(BodyError, match="expected a"):
        parsed(body)


def test_bombs():
    """Small bodies that would become large: deep ones, and ones of many values. Brackets in strings are none."""
    with pytest.raises(BodyError, match=f"nested at most {MOST_DEPTH} deep"):
        parsed(b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    with pytest.raises(BodyError, match=f"at most {MOST_VALUES} values"):
        parsed(b'{"a": [' + b"[]," * MOST_VALUES + b"[]]}")
    assert len(parsed(json.dumps({"a": "[" * MOST_VALUES * 2}).encode())["a"]) == 2 * MOST_VALUES


def test_sizes(tmp_path):
    with Scripted(tmp_path) as server:
        large = {"messages": [{"role": "user", "content": "x" * (1 << 20)}]}
        for content in (json.dumps(large), iter([json.dumps(large).encode()])):  # with its length told, and without
            response = server.client.post("/v1/chat/completions", content=content)
            assert response.status_code == 413 and response.headers["connection"] == "close"
        response = server.client.post("/v1/chat/completions", content=b"x", headers={"Content-Encoding": "gzip"})
        assert response.status_code == 415
        assert server.say([258])["finish"] == "stop"


def test_what_all_requests_together_may_hold():
    """The memory of those that are answered counts until the end."""
    inside = []

    async def app(scope, receive, send):
        inside.append((await receive())["body"])
        if len(inside) < 10:
            statuses.append(client.post("/", content=b"x" * 1000).status_code)
        await JsonResponse(len(inside))(scope, receive, send)

    statuses = []
    bounded = Bounded(app, Limits(1000), lambda scope, error: JsonResponse({}, error.status))
    client = TestClient(bounded)
    assert client.post("/", content=b"x" * 1000).status_code == 200
    assert inside == [b"x" * 1000] * MOST_AT_ONCE and statuses == [429] + [200] * (MOST_AT_ONCE - 1)
    inside.clear()
    assert client.post("/", content=b"x").status_code == 200


@pytest.mark.parametrize("end", [b"", b"\\", b'\\"'])
def test_strings_without_an_end_take_linear_time(end):
    """A million escaped quotes: quadratic time would be hours."""
    with pytest.raises(BodyError, match="JSON"):
        parsed(b'"' + b'\\"' * 1_000_000 + end)
