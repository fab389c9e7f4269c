"""Qwen3.5 on the CPU: logits against transformers in float32, and by `==` among our own tiers, chunks and batches."""

import numpy as np
import pytest
import torch

from qwen3edge import _core
from tests.checkpoints import run, save, to_q3e
from tests.models.hybrid_checkpoints import DENSE, MOE, HybridShape, make_hybrid, reference_of
from tests.runtime.test_parity import before_ties

TOLERANCE = 1e-4  # of the logits' rms
COMMON = 0.999
"""Where a head's query and key are nearly at right angles, its norm divides what is little but rounding by its length:
so much of the tokens have no such head. For the others the reference says how much of a logit no float32 can know."""
UNKNOWN = 30  # times what float64 moves by when each weight does by up to half a step of float32


def logits_of(model: torch.nn.Module, tokens: np.ndarray, shape: HybridShape) -> tuple[np.ndarray, int]:
    """In one pass, without a cache; and the tokens before the first at whose experts a rounding may decide."""
    with torch.no_grad():
        asked = {"output_router_logits": True} if shape.experts else {}
        out = model(torch.from_numpy(tokens)[None], use_cache=False, **asked)
    return out.logits[0].numpy(), before_ties(out.router_logits, shape.top) if shape.experts else len(tokens)


@pytest.mark.parametrize("shape", [*DENSE, *MOE], ids=lambda s: s.name)
def test_f32_logits(shape, tmp_path, seed):
    """Ours, and transformers' for comparison, against the reference in float64: of beginnings of one text, as
    transformers takes other sums for each length.
    """
    model = make_hybrid(shape, seed)
    engine = _core.Engine(_core.ModelFile(str(to_q3e(save(model, tmp_path), "f32"))), context=600, threads=2, kv="f32")
    rng = np.random.default_rng(seed)
    for _ in range(20):  # texts, until a rounding decides about no expert of the first tokens
        tokens = rng.integers(0, shape.vocab, 600)
        if logits_of(model, tokens, shape)[1] > 65:
            break
    reference = reference_of(model, shape)
    exact, moved = (each.logits(each.hidden(tokens)) for each in (reference, reference.nearby(rng)))
    found: dict[str, list[np.ndarray]] = {"ours": [], "transformers": [], "float64": []}
    for count in (1, 2, 3, 4, 63, 65, int(rng.integers(66, 600)), 600):
        theirs, end = logits_of(model, tokens[:count], shape)
        engine.truncate(0, 0)
        rms = np.sqrt((exact[:count] ** 2).mean())
        for errors, logits in zip(found.values(), (run(engine, tokens[:count]), theirs, moved), strict=True):
            errors.append(np.abs(logits[:end] - exact[:end]).max(axis=1) / rms)
    ours, theirs, unknown = (np.concatenate(errors) for errors in found.values())
    print(f"{len(ours)} tokens: ours {ours.max():.1e}, transformers {theirs.max():.1e}, unknown {unknown.max():.1e}")
    assert (ours <= np.maximum(TOLERANCE, UNKNOWN * unknown)).all()
    assert (ours > TOLERANCE).sum() <= max(1, (1 - COMMON) * len(ours)) and len(ours) > 100


EXACT = HybridShape("one-answer", hidden=288, heads=8, kv_heads=2, value_heads=4, delta_size=32, layers=3, interval=2)
EXACT_MOE = HybridShape("one-answer-moe", ffn=64, experts=16, top=4, layers=3, interval=2, tied=False)


@pytest.fixture(scope="module", params=[EXACT, EXACT_MOE], ids=lambda s: s.name)
def folder(request, tmp_path_factory):
    return save(make_hybrid(request.param, 7), tmp_path_factory.mktemp(request.param.name))


@pytest.fixture(scope="module", params=["int4", "f32"])
def file(request, folder):
    return _core.ModelFile(str(to_q3e(folder, request.param)))


def engine(file: _core.ModelFile, **settings: object) -> _core.Engine:
    return _core.Engine(file, **{"context": 256, "threads": 2, **settings})


@pytest.fixture
def tokens(seed):
    return np.random.default_rng(seed).integers(0, EXACT.vocab, 100)


def test_tiers_and_threads(file, tokens):
    """The scalar tier takes fifty times as long as the others."""
    tokens = tokens[:30]
    expected = run(engine(file, isa="scalar", threads=3), tokens)
    assert np.isfinite(expected).all()
    for isa in _core.isa_tiers()[1:]:
        for threads in (1, 2, 3):
            assert (run(engine(file, isa=isa, threads=threads), tokens) == expected).all(), (isa, threads)


@pytest.mark.parametrize("kv", ["int8", "int4"])
def test_chunks(file, tokens, kv):
    expected = run(engine(file, kv=kv), tokens)
    for chunk in (1, 64):
        assert (run(engine(file, kv=kv, chunk=chunk), tokens) == expected).all(), chunk
    for step in (3, 100):
        by_hand = engine(file, kv=kv)
        parts = [run(by_hand, tokens[i : i + step], start=i) for i in range(0, len(tokens), step)]
        assert (np.concatenate(parts) == expected).all(), step


def test_every_split(file, tokens):
    """Wherever a prompt of a few tokens is cut in two: the convolution's inputs come from both sides."""
    tokens = tokens[:9]
    one = engine(file)
    expected = run(one, tokens)
    for cut in range(1, len(tokens)):
        one.truncate(0, 0)
        parts = [run(one, tokens[:cut]), run(one, tokens[cut:], start=cut)]
        assert (np.concatenate(parts) == expected).all(), cut


def test_batch(file, seed):
    """Five sequences of different lengths in one ragged batch, decoded together, against each one alone."""
    rng = np.random.default_rng(seed)
    prompts = [rng.integers(0, EXACT.vocab, n) for n in (1, 2, 64, 3, 90)]
    for settings in ({}, {"chunk": 16}):
        together = engine(file, sequences=5, **settings)
        tokens = np.concatenate(prompts)
        positions = np.concatenate([np.arange(len(p)) for p in prompts])
        slots = np.concatenate([np.full(len(p), i) for i, p in enumerate(prompts)])
        logits = together.forward(tokens, positions, slots, np.ones(len(tokens), bool))
        following = rng.integers(0, EXACT.vocab, 5)
        some = np.array([4, 0, 2])  # while the others wait
        decoded = together.forward(following[some], [len(prompts[i]) for i in some], some, np.ones(3, bool))
        for i, prompt in enumerate(prompts):
            alone = engine(file)
            assert (run(alone, prompt) == logits[slots == i]).all(), i
            if i in some:
                ours = run(alone, following[i : i + 1], start=len(prompt))[0]
                assert (ours == decoded[some == i][0]).all(), i


@pytest.mark.slow
def test_ten_thousand_tokens_do_not_drift(tmp_path, seed):
    """Layers of delta nets alone, in chunks and token after token, against float64."""
    shape, count, part = HybridShape("drift", hidden=96, layers=3, ffn=96, tied=False), 10_000, 100
    model = make_hybrid(shape, seed)
    reference = reference_of(model, shape)
    tokens = np.random.default_rng(seed).integers(0, shape.vocab, count)
    hidden = reference.hidden(tokens)
    file = _core.ModelFile(str(to_q3e(save(model, tmp_path), "f32")))
    one = _core.Engine(file, context=count, threads=2, kv="f32")
    found = []
    for first in range(0, count, part):
        ours = run(one, tokens[first : first + part], start=first)
        exact = reference.logits(hidden[first : first + part])
        found.append(np.abs(ours - exact).max(axis=1) / np.sqrt((exact**2).mean()))
    early, late = np.concatenate(found[5:15]), np.concatenate(found[-10:])
    assert np.quantile(late, 0.99) <= TOLERANCE and np.median(late) <= 2 * np.median(early)
