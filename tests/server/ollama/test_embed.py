"""Embeddings, as `Model.embed` gives them."""

import numpy as np
import pytest

import qwen3edge

TEXTS = ["What is 12 + 7?", "a cat", ""]


@pytest.fixture(scope="module")
def expected(tiny_int4):
    with qwen3edge.load(tiny_int4, context=64) as model:
        yield model.embed(TEXTS)


def test_embed(tiny, expected):
    found = tiny.post("/api/embed", json={"model": "tiny", "input": TEXTS, "keep_alive": "5m", "truncate": True}).json()
    assert (np.array(found["embeddings"], np.float32) == expected).all()
    assert found["model"] == "tiny" and found["total_duration"] > 0 and found["load_duration"] == 0
    assert found["prompt_eval_count"] >= sum(map(len, TEXTS)) // 5 + len(TEXTS)
    one = tiny.post("/api/embed", json={"model": "tiny:latest", "input": TEXTS[0]}).json()
    assert one["embeddings"] == found["embeddings"][:1]
    short = tiny.post("/api/embed", json={"input": TEXTS[0], "dimensions": 32}).json()["embeddings"]
    assert len(short[0]) == 32 and abs(sum(each * each for each in short[0]) - 1) < 1e-5


def test_of_older_clients(tiny, expected):
    found = tiny.post("/api/embeddings", json={"model": "tiny", "prompt": TEXTS[1]}).json()
    assert (np.array(found["embedding"], np.float32) == expected[1]).all()


def test_what_is_refused(tiny):
    for body in (
        {},
        {"input": []},
        {"input": 1},
        {"input": "a", "dimensions": 9999},
        {"input": "a", "keep_alive": "x"},
    ):
        assert tiny.post("/api/embed", json=body).status_code == 400
    refused = tiny.post("/api/embed", json={"input": "a " * 5000, "truncate": True})
    assert refused.status_code == 400 and "2048" in refused.json()["error"]
