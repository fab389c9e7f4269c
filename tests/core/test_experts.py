"""One answer everywhere, with experts: logits compared by `==` across tiers, threads, batch sizes and chunking."""

import numpy as np
import pytest

from qwen3edge import _core
from tests.checkpoints import Shape, make_model, run, save, to_q3e

# Short and whole blocks of 256, panels that fill no item, experts that no token takes and some that many take.
SHAPE = Shape(
    "experts", family="qwen3_moe", hidden=288, layers=2, heads=2, kv_heads=1, ffn=352, vocab=300, experts=20, top=3
)
HALF_STEP = 0.51 / 127  # of a block's largest value, by which rounded activations may differ
QUANTS = ["int4", "q4z64", "int8", "q4g32", "f32"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    model = make_model(SHAPE, 7)
    for layer in model.model.layers:
        layer.mlp.gate.weight.data[:3] *= 3  # favourites: more than one matmul's tokens, while others get none
    return save(model, tmp_path_factory.mktemp("experts"))


@pytest.fixture(scope="module", params=QUANTS)
def file(request, checkpoint):
    return _core.ModelFile(str(to_q3e(checkpoint, request.param)))


def engine(file, **settings) -> _core.Engine:
    return _core.Engine(file, **{"context": 320, "threads": 2, **settings})


def test_tiers_and_threads(file, seed):
    tokens = np.random.default_rng(seed).integers(0, SHAPE.vocab, 40)
    expected = run(engine(file, isa="scalar", threads=1), tokens)
    assert np.isfinite(expected).all()
    for isa in _core.isa_tiers():
        for threads in (1, 2, 3):
            assert (run(engine(file, isa=isa, threads=threads), tokens) == expected).all(), (isa, threads)


def test_chunks(file, seed):
    tokens = np.random.default_rng(seed).integers(0, SHAPE.vocab, 300)
    expected = run(engine(file), tokens)
    for chunk in (1, 7, 64, 300):
        assert (run(engine(file, chunk=chunk), tokens) == expected).all(), chunk


def test_batch(file, seed):
    """Sequences of different lengths in one ragged batch, decoded together, against each one alone."""
    rng = np.random.default_rng(seed)
    prompts = [rng.integers(0, SHAPE.vocab, n) for n in (1, 30, 65)]
    together = engine(file, sequences=3)
    positions = np.concatenate([np.arange(len(p)) for p in prompts])
    slots = np.concatenate([np.full(len(p), i) for i, p in enumerate(prompts)])
    logits = together.forward(np.concatenate(prompts), positions, slots, np.ones(len(positions), bool))
    following = rng.integers(0, SHAPE.vocab, 3)
    decoded = together.forward(following, [len(p) for p in prompts], np.arange(3), np.ones(3, bool))
    for i, prompt in enumerate(prompts):
        alone = engine(file)
        assert (run(alone, prompt) == logits[slots == i]).all(), i
        assert (run(alone, following[i : i + 1], start=len(prompt))[0] == decoded[i]).all(), i


def test_an_observer_sees_what_experts_multiply(file):
    seen = {}
    watched = engine(file)
    watched.observe(lambda tensor, layer, expert, values: seen.setdefault((layer, tensor), {}).update({expert: values}))
    tokens = np.arange(12)
    logits = run(watched, tokens)
    assert (logits == run(engine(file), tokens)).all()
    for layer in range(SHAPE.layers):
        routed, hidden = seen[layer, "ffn_gate_up_exps"], seen[layer, "ffn_down_exps"]
        everything = seen[layer, "ffn_gate_inp"][-1]
        assert everything.shape == (12, SHAPE.hidden)
        assert sum(len(rows) for rows in routed.values()) == 12 * SHAPE.top
        router = file.dequantize(f"blk.{layer}.ffn_gate_inp.weight")
        chosen = np.argsort(-(everything @ router.T), axis=1)[:, : SHAPE.top]
        gate_up = file.dequantize(f"blk.{layer}.ffn_gate_up_exps.weight").reshape(
            SHAPE.experts, -1, 2, 16, SHAPE.hidden
        )
        for expert, rows in routed.items():
            mine = everything[(chosen == expert).any(axis=1)]
            assert (np.abs(rows - mine) <= HALF_STEP * np.abs(mine).max(axis=1, keepdims=True) + 1e-6).all()
            gate, up = (gate_up[expert, :, i].reshape(-1, SHAPE.hidden) for i in (0, 1))
            product = rows @ gate.T
            expected = product / (1 + np.exp(-product)) * (rows @ up.T)
            largest = np.abs(expected).max(axis=1, keepdims=True)
            assert (np.abs(hidden[expert] - expected) <= HALF_STEP * largest + 1e-4).all()


def test_scratch_counts_every_slot(checkpoint):
    """The plan grows with the chunk by what experts of so many tokens need."""
    file = _core.ModelFile(str(to_q3e(checkpoint, "int4")))
    small, large = (_core.plan(file, context=320, threads=1, chunk=chunk)["scratch"] for chunk in (100, 200))
    slots = 100 * SHAPE.top
    assert large - small >= slots * (SHAPE.hidden * 5 + SHAPE.ffn * 5)
