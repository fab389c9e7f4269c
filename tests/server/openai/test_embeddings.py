"""Embeddings: the same numbers as the library's, in both encodings, beside answers and not in their way."""

import asyncio
import base64

import numpy as np
import pytest

from qwen3edge.generation.model import load
from qwen3edge.server import states
from tests.server.conftest import SETTINGS
from tests.server.test_clients import until

TEXTS = ["The capital of China is Beijing.", "", "Instruct: find\nQuery:x", "naïve 東京 🙂 <|im_end|>", "word " * 200]


def embed(client, given, **body):
    response = client.post("/v1/embeddings", json={"input": given, **body})
    assert response.status_code == 200, response.text
    return response.json()


def vectors(found):
    assert [each["index"] for each in found["data"]] == list(range(len(found["data"])))
    return np.array([each["embedding"] for each in found["data"]], np.float32)


@pytest.fixture(scope="module")
def model(tiny_int4):
    with load(tiny_int4, **SETTINGS) as loaded:
        yield loaded


def test_the_library_says_the_same(tiny, model):
    """To the last bit; a text, several, their tokens."""
    expected = model.embed(TEXTS)
    found = embed(tiny, TEXTS, model="other")
    assert np.array_equal(vectors(found), expected)
    assert found["object"] == "list" and found["model"] == "other"
    assert np.array_equal(vectors(embed(tiny, TEXTS[0])), expected[:1])
    tokens = [model.tokenizer.encode(text) for text in TEXTS if text]
    assert np.array_equal(vectors(embed(tiny, tokens)), expected[[0, 2, 3, 4]])
    assert np.array_equal(vectors(embed(tiny, tokens[0])), expected[:1])
    assert np.array_equal(vectors(embed(tiny, [*tokens[0], model.tokenizer.token_id("<|endoftext|>")])), expected[:1])
    count = sum(len(model.tokenizer.encode(text)) + 1 for text in TEXTS)
    assert found["usage"] == {"prompt_tokens": count, "total_tokens": count}


@pytest.mark.parametrize("dimensions", [1, 32, 256])
def test_encodings_and_dimensions(tiny, model, dimensions):
    expected = model.embed(TEXTS[:2], dimensions=dimensions)
    assert np.array_equal(vectors(embed(tiny, TEXTS[:2], dimensions=dimensions)), expected)
    packed = embed(tiny, TEXTS[:2], dimensions=dimensions, encoding_format="base64")
    found = [np.frombuffer(base64.b64decode(each["embedding"]), "<f4") for each in packed["data"]]
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("body", "parameter", "said"),
    [
        ({"input": []}, "input", "1 to 2048 texts"),
        ({"input": ["a"] * 2049}, "input", "found 2049"),
        ({"input": 7}, "input", "valid string"),
        ({"input": [[]]}, None, "found 0"),
        ({"input": [-1]}, None, "token ids from 0"),
        ({"input": [10**30]}, None, "token"),
        ({"input": "a", "dimensions": 0}, "dimensions", "greater than"),
        ({"input": "a", "dimensions": 257}, None, "from 1 to 256"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format", "'float' or 'base64'"),
        ({"input": "a", "input_type": "query"}, "input_type", "does not know"),
        ({"input": ["a", "word " * 3000]}, None, "input[1]: expected at most 2048 tokens"),
    ],
)  # fmt: skip
def test_what_is_refused(tiny, body, parameter, said):
    response = tiny.post("/v1/embeddings", json=body)
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, parameter) and said in error["message"]
    assert tiny.app.state.service.models.find(None).users == 0


def test_more_numbers_than_the_memory_for_them(tiny, monkeypatch):
    monkeypatch.setattr(states, "MOST_NUMBERS", 1000)
    response = tiny.post("/v1/embeddings", json={"input": ["a"] * 4})
    assert response.status_code == 400 and "found 4 of 256" in response.json()["error"]["message"]
    assert len(embed(tiny, ["a"] * 4, dimensions=250)["data"]) == 4


def test_answers_come_meanwhile(tiny, model):
    """Half of the sequences stay free, so a chat does not wait for the texts before it."""
    service = tiny.app.state.service
    order = []

    async def work():
        async def texts():
            await states.embed(service.models, None, [f"{i} " + "stay " * 50 for i in range(24)])
            order.append("texts")

        async def chat():
            await until(lambda: counts(tiny)["running"] == 2)
            lease = await service.models.lease(None)
            async for _ in lease.model.generate("hi", max_tokens=3, thinking=False):
                pass
            lease.release()
            order.append("chat")

        await asyncio.gather(texts(), chat())

    tiny.portal.call(work)
    assert order == ["chat", "texts"]


def test_c33_a_client_that_leaves(tiny):
    service = tiny.app.state.service

    async def work():
        task = asyncio.ensure_future(states.embed(service.models, None, [f"{i} " + "leave " * 100 for i in range(400)]))
        await until(lambda: counts(tiny)["running"] == 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert counts(tiny)["running"] == counts(tiny)["waiting"] == service.models.find(None).users == 0

    tiny.portal.call(work)
    assert len(embed(tiny, "a")["data"]) == 1


def counts(client):
    (model,) = client.app.state.service.models.loaded.values()
    return model.engine.scheduler.counts
