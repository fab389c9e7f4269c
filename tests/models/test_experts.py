"""One answer everywhere, with experts: logits compared by `==` across tiers, threads, batch sizes and chunking."""

import re

import numpy as np
import pytest
import torch

from qwen3edge import _core
from qwen3edge.errors import RequestError
from tests.checkpoints import Shape, make_model, run, save, to_q3e

# Short and whole blocks of 256, panels that fill no item, experts that no token takes and some that many take.
SHAPE = Shape(
    "experts", family="qwen3_moe", hidden=288, layers=2, heads=2, kv_heads=1, ffn=352, vocab=300, experts=20, top=3
)
LOSSY_TOLERANCE = 1e-3  # of the rms: routers three times as sharp pass on more of float32's rounding
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
    # One thread has enough panels of a token's experts for larger items.
    assert (run(engine(file, chunk=1, threads=1), tokens) == expected).all()


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


def leave_out_small(model, share):
    """Makes a model of transformers leave out experts of a smaller share of a token's weights."""

    def forward(gate, _, routed):
        logits, weights, experts = routed
        kept = weights >= share * weights.sum(-1, keepdim=True)
        kept[:, 0] = True
        scores = torch.where(kept, weights, 0)
        gate.left_out = gate.left_out + int((~kept).sum())
        return logits, scores * weights.sum(-1, keepdim=True) / scores.sum(-1, keepdim=True), experts

    for layer in model.model.layers:
        layer.mlp.gate.left_out = 0
        layer.mlp.gate.register_forward_hook(forward)


@pytest.mark.parametrize("norm_topk", [True, False])
def test_small_experts_are_left_out(norm_topk, tmp_path, seed):
    shape = Shape(
        "lossy", family="qwen3_moe", hidden=128, layers=3, heads=2, kv_heads=1, ffn=96, vocab=300, experts=16, top=4,
        norm_topk=norm_topk,
    )  # fmt: skip
    model = make_model(shape, seed)
    for layer in model.model.layers:
        layer.mlp.gate.weight.data *= 3  # shares that differ
    file = _core.ModelFile(str(to_q3e(save(model, tmp_path), "f32")))
    exact = engine(file, kv="f32")
    tokens = np.random.default_rng(seed).integers(0, 300, 200)
    exact_logits = run(exact, tokens)
    assert exact.metrics["experts_left_out"] == 0
    share = 0.15
    leave_out_small(model, share)
    with torch.no_grad():
        expected = model(torch.from_numpy(tokens)[None]).logits[0].numpy()
    lossy = engine(file, kv="f32", min_expert_share=share)
    assert lossy.plan["min_expert_share"] == pytest.approx(share)
    logits = run(lossy, tokens)
    rms = np.sqrt((expected**2).mean())
    assert np.abs(logits - expected).max() <= LOSSY_TOLERANCE * rms
    assert np.abs(logits - exact_logits).max() > 1e-2 * rms
    left_out = sum(layer.mlp.gate.left_out for layer in model.model.layers)
    assert lossy.metrics["experts_left_out"] == left_out > 0.1 * 200 * 3 * 4
    # One token at a time, other chunks, and from slots: the same bits.
    small = engine(file, kv="f32", min_expert_share=share, chunk=7)
    assert (run(small, tokens[:150]) == logits[:150]).all()
    for i in range(150, 160):
        assert (run(small, tokens[i : i + 1], start=i) == logits[i]).all()
    settings = {"kv": "f32", "min_expert_share": share, "program": 1 << 20, "chunk": 64}
    memory = _core.plan(file, context=320, threads=2, **settings)["peak"] - 1
    streamed = engine(file, memory=memory, **settings)
    assert streamed.plan["expert_slots"] > 0
    assert (run(streamed, tokens) == logits).all()


def test_shares_out_of_range(file, tiny_int4):
    for share in (-0.1, 1.0, float("nan")):
        with pytest.raises(RequestError, match=re.escape("min_expert_share: expected 0 to below 1")):
            engine(file, min_expert_share=share)
    with pytest.raises(RequestError, match="expected a mixture of experts, found a dense model"):
        engine(_core.ModelFile(str(tiny_int4)), min_expert_share=0.1)


def test_scratch_counts_every_slot(checkpoint):
    """The plan grows with the chunk by what experts of so many tokens need."""
    file = _core.ModelFile(str(to_q3e(checkpoint, "int4")))
    small, large = (_core.plan(file, context=320, threads=1, chunk=chunk)["scratch"] for chunk in (100, 200))
    slots = 100 * SHAPE.top
    assert large - small >= slots * (SHAPE.hidden * 5 + SHAPE.ffn * 5)
