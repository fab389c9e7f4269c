"""One answer everywhere: logits compared by `==` across tiers, threads, batch sizes, chunking and reused prefixes."""

import functools

import numpy as np
import pytest

from qwen3edge import _core
from tests.checkpoints import Shape, make_model, run, save, to_q3e

QUANTS = ["int4", "int8", "q4z64", "q6z32", "q4g32", "q4a64", "q8g32", "bf16", "f32"]
CACHES = ["int8", "int4", "bf16", "f32"]
SHAPE = Shape("one-answer", hidden=320, ffn=576, heads=8, kv_heads=2, head_dim=64, vocab=600, tied=False)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save(make_model(SHAPE, 7), tmp_path_factory.mktemp("one-answer"))


def pairs() -> list:
    """Of weights and caches. All weights meet one cache, all caches one kind of weights; the others are slow tests."""
    fast = [(quant, kv) for quant in QUANTS for kv in CACHES if quant == "int4" or kv == "int8"]
    slow = [(quant, kv) for quant in QUANTS for kv in CACHES if (quant, kv) not in fast]
    marked = [pytest.param(*pair, marks=pytest.mark.slow) for pair in slow]
    return [*fast, *marked]


@pytest.fixture(scope="module")
def files(checkpoint):
    """files("int4"): the checkpoint, converted once."""
    return functools.cache(lambda quant: _core.ModelFile(str(to_q3e(checkpoint, quant))))


@pytest.fixture
def file(files, quant):
    return files(quant)


def engine(file, **settings) -> _core.Engine:
    return _core.Engine(file, **{"context": 256, "threads": 2, **settings})


@pytest.mark.parametrize(("quant", "kv"), pairs())
def test_tiers_and_threads(file, quant, kv, seed):
    """The scalar tier takes fifty times as long as the others: it meets every weight and every cache, not all pairs."""
    tokens = np.random.default_rng(seed).integers(0, SHAPE.vocab, 90)
    scalar = "int8" in (quant, kv)
    expected = run(engine(file, kv=kv, isa="scalar" if scalar else _core.isa_tiers()[-1], threads=1), tokens)
    assert np.isfinite(expected).all()
    for isa in _core.isa_tiers() if scalar else _core.isa_tiers()[1:]:
        for threads in (3,) if isa == "scalar" else (1, 2, 3):
            assert (run(engine(file, kv=kv, isa=isa, threads=threads), tokens) == expected).all(), (isa, threads)


@pytest.mark.parametrize(("quant", "kv"), pairs())
def test_chunks(file, kv, seed):
    tokens = np.random.default_rng(seed).integers(0, SHAPE.vocab, 150)
    expected = run(engine(file, kv=kv), tokens)
    for chunk in (1, 7, 64):
        assert (run(engine(file, kv=kv, chunk=chunk), tokens) == expected).all(), chunk
    # One thread reads all KV heads of a token together.
    assert (run(engine(file, kv=kv, chunk=1, threads=1), tokens) == expected).all()
    by_hand = engine(file, kv=kv)
    parts = [run(by_hand, tokens[i : i + 13], start=i) for i in range(0, 150, 13)]
    assert (np.concatenate(parts) == expected).all()


@pytest.mark.parametrize(("quant", "kv"), pairs())
def test_batch(file, kv, seed):
    """Five sequences of different lengths in one ragged batch, decoded together, against each one alone."""
    rng = np.random.default_rng(seed)
    prompts = [rng.integers(0, SHAPE.vocab, n) for n in (1, 40, 64, 65, 130)]
    together = engine(file, kv=kv, sequences=5)
    tokens = np.concatenate(prompts)
    positions = np.concatenate([np.arange(len(p)) for p in prompts])
    slots = np.concatenate([np.full(len(p), i) for i, p in enumerate(prompts)])
    logits = together.forward(tokens, positions, slots, np.ones(len(tokens), bool))
    following = rng.integers(0, SHAPE.vocab, 5)
    decoded = together.forward(following, [len(p) for p in prompts], np.arange(5), np.ones(5, bool))
    for i, prompt in enumerate(prompts):
        alone = engine(file, kv=kv)
        assert (run(alone, prompt) == logits[slots == i]).all(), i
        assert (run(alone, following[i : i + 1], start=len(prompt))[0] == decoded[i]).all(), i


@pytest.mark.parametrize(("quant", "kv"), pairs())
def test_reused_prefix(file, kv, seed):
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, SHAPE.vocab, 150), rng.integers(0, SHAPE.vocab, 150)
    second[:70] = first[:70]
    fresh = run(engine(file, kv=kv), second)
    reused = engine(file, kv=kv)
    run(reused, first)
    begin = reused.truncate(0, 70)
    assert begin == (64 if kv == "int4" else 70), "a page whose keys are packed is computed again"
    assert (run(reused, second[begin:], start=begin) == fresh[begin:]).all()
    begin = reused.truncate(0, 140)
    assert begin == 140
    assert (run(reused, second[140:], start=140) == fresh[140:]).all()
    begin = reused.truncate(0, 65)
    assert (run(reused, second[begin:], start=begin) == fresh[begin:]).all()


@pytest.mark.parametrize("quant", QUANTS)
def test_want_logits(file):
    tokens = np.arange(20)
    expected = run(engine(file), tokens)
    want = np.zeros(20, bool)
    want[[3, 19]] = True
    chosen = engine(file).forward(tokens, np.arange(20), np.zeros(20, int), want)
    assert (chosen == expected[want]).all()
    assert engine(file).forward(tokens, np.arange(20), np.zeros(20, int), np.zeros(20, bool)).shape == (0, SHAPE.vocab)
