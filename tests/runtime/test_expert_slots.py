"""Slots for experts: who leaves, what counts as a hit, and what a prompt leaves in place."""

import json
from collections import OrderedDict

import numpy as np
import pytest

from qwen3edge import _core
from qwen3edge.convert import convert
from qwen3edge.errors import MemoryBudgetError, RequestError
from qwen3edge.text.tokenizer import Tokenizer
from tests.checkpoints import Shape, make_model, run, save, to_q3e
from tests.reference import expert_traces

SHAPE = Shape(
    "slots", family="qwen3_moe", hidden=128, layers=4, heads=2, kv_heads=1, ffn=96, vocab=300, experts=24, top=3
)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return _core.ModelFile(str(to_q3e(save(make_model(SHAPE, 5), tmp_path_factory.mktemp("slots")), "int4")))


def lru_hits(trace: np.ndarray, slots: int, warm: int) -> int:
    """Of a least-recently-used cache of all layers, full from the start; what is there is used first."""
    cache = OrderedDict.fromkeys(divmod(key, SHAPE.experts) for key in range(slots))
    hits = 0
    for t, layers in enumerate(trace):
        for layer, experts in enumerate(layers):
            keys = [(layer, int(e)) for e in experts]
            there = [k for k in keys if k in cache]
            hits += len(there) * (t >= warm)
            for key in there:
                cache.move_to_end(key)
            for key in [k for k in keys if k not in there]:
                if len(cache) == slots:
                    cache.popitem(last=False)
                cache[key] = None
    return hits


@pytest.mark.parametrize("slots", [6, 13, 40, 96])
def test_hits_are_those_of_lru(file, slots, seed):
    trace = expert_traces.make_trace(SHAPE.layers, SHAPE.experts, SHAPE.top, 60, seed)
    result = _core.kernels.replay_experts(file, slots, trace, 20)
    assert result["hits"] + result["misses"] == 40 * SHAPE.layers * SHAPE.top
    assert result["hits"] == lru_hits(trace, slots, 20)
    expert = _core.plan(file, context=1, threads=1)["expert_bytes"]
    assert 0 < result["bytes_read"] <= result["misses"] * expert or result["misses"] == 0
    assert result["tokens"] == 40 and result["disk"] > 0
    assert 0 < result["wait_seconds"] <= result["seconds"]


def test_bad_traces(file):
    trace = np.zeros((2, SHAPE.layers, SHAPE.top), np.uint32)
    for slots, bad, warm in ((1, trace, 0), (8, trace + SHAPE.experts, 0), (8, trace.ravel()[:-1], 0), (8, trace, 2)):
        with pytest.raises(RequestError):
            _core.kernels.replay_experts(file, slots, bad, warm)


def test_traces_have_the_measured_locality(seed):
    trace = expert_traces.make_trace(2, 128, 8, 400, seed)
    for layer in range(2):
        following, within = expert_traces.locality(trace[:, layer])
        assert abs(following - expert_traces.NEXT) < 0.06 and abs(within - expert_traces.WITHIN_EIGHT) < 0.06
    assert all(len(set(row)) == 8 for row in trace.reshape(-1, 8).tolist())


def test_a_prompt_keeps_what_the_next_one_hits(file, seed):
    """Prompts choose nearly all experts of a layer: pushed through a plain LRU, none would be there the next time."""
    settings = {"context": 128, "threads": 2, "chunk": 64, "program": 1 << 20}
    memory = _core.plan(file, **settings)["peak"]
    while True:
        memory -= 4096
        try:
            plan = _core.plan(file, memory=memory, **settings)
        except MemoryBudgetError:
            pytest.fail("no budget with half of the experts")
        if 0 < plan["expert_slots"] <= plan["experts"] // 2:
            break
    engine = _core.Engine(file, memory=memory, **settings)
    tokens = np.random.default_rng(seed).integers(0, SHAPE.vocab, 64)
    run(engine, tokens)
    first = engine.metrics
    run(engine, tokens)
    second = engine.metrics
    hits, misses = (second[k] - first[k] for k in ("expert_hits", "expert_misses"))
    assert hits >= 0.3 * (hits + misses)


def test_guesses_of_the_next_layer_are_mostly_right(tiny_moe_path, tmp_path):
    """A trained model's router, asked a layer early; by chance a quarter of the guesses would be right."""
    path = tmp_path / "tiny-moe.q3e"
    convert(tiny_moe_path, path, "int8")
    items = (tiny_moe_path / "heldout.jsonl").read_text(encoding="utf-8").splitlines()
    file = _core.ModelFile(str(path))
    tokens = Tokenizer.from_metadata(file).encode(
        " ".join(json.loads(line)["messages"][0]["content"] for line in items[:40])
    )
    settings = {"context": 256, "threads": 1, "chunk": 64, "program": 1 << 20}
    memory = _core.plan(file, **settings)["peak"]
    while not 0 < (plan := _core.plan(file, memory=memory, **settings))["expert_slots"] <= plan["experts"] // 3:
        memory -= 4096
    engine = _core.Engine(file, memory=memory, **settings)
    for position, token in enumerate(tokens[:200]):
        engine.forward([token], [position], [0], [False])
    metrics = engine.metrics
    assert metrics["expert_guesses"] > 200
    assert metrics["expert_guesses_right"] > 0.6 * metrics["expert_guesses"]
    # What was guessed wrong is read in vain, and nothing is read twice.
    missed, wrong = metrics["expert_misses"], metrics["expert_guesses"] - metrics["expert_guesses_right"]
    assert metrics["bytes_read"] <= (missed + wrong) * plan["expert_bytes"]
    print(metrics)
