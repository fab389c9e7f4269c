"""Tokens that a state can go back by, as drafts need them: what is taken back leaves no trace."""

from __future__ import annotations

import random

import numpy as np
import pytest

from qwen3edge import _core
from qwen3edge.errors import UnsupportedModelError
from tests.checkpoints import run, save, to_q3e
from tests.models.hybrid_checkpoints import HybridShape, make_hybrid

SHAPE = HybridShape("pending", layers=3, interval=2, vocab=300)
DRAFTS = 4
MOST = DRAFTS + 1
CONTEXT = 320


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> _core.ModelFile:
    return _core.ModelFile(str(to_q3e(save(make_hybrid(SHAPE, 4), tmp_path_factory.mktemp("pending")), "int4")))


def engine(file: _core.ModelFile, **settings: object) -> _core.Engine:
    return _core.Engine(file, **{"context": CONTEXT, "threads": 2, "memory": 4 << 30, **settings})


def drafting(file: _core.ModelFile, **settings: object) -> _core.Engine:
    return engine(file, draft_tokens=DRAFTS, **settings)


class Alone:
    """Logits of sequences that nobody took anything back of, each computed once."""

    def __init__(self, file: _core.ModelFile, kv: str) -> None:
        self._file, self._kv = file, kv
        self._known: dict[tuple[int, ...], np.ndarray] = {}

    def last(self, tokens: list[int]) -> np.ndarray:
        key = tuple(tokens)
        if key not in self._known:
            self._known[key] = run(engine(self._file, kv=self._kv), np.array(tokens))[-1]
        return self._known[key]


@pytest.mark.parametrize("isa", _core.isa_tiers())
def test_any_number_of_the_last_tokens_is_taken_back(file, isa, seed):
    text = np.random.default_rng(seed).integers(2, SHAPE.vocab, 200)
    fresh = run(engine(file, isa=isa), text)
    one, at = drafting(file, isa=isa), 90
    run(one, text[:at])
    for wrong in range(MOST + 1):
        for right in range(1 if wrong < MOST else 0, MOST + 1 - wrong):
            tokens = np.concatenate([text[at : at + right], text[:wrong]])
            logits = run(one, tokens, start=at)
            assert (logits[:right] == fresh[at : at + right]).all(), f"{right} right, {wrong} wrong"
            assert one.truncate(0, at + right) == at + right
            at += right
    assert (run(one, text[at:], start=at) == fresh[at:]).all()


@pytest.mark.parametrize("kv", ["int8", "int4"])
def test_steps_back_snapshots_and_shares_in_any_order(file, kv, seed):
    """Two sequences; after each step the next token's logits are those of the tokens alone."""
    draw, alone = random.Random(seed), Alone(file, kv)
    one, texts = drafting(file, kv=kv, sequences=2, chunk=16), [list[int](), list[int]()]

    def some(count: int) -> list[int]:
        return [draw.randrange(2, SHAPE.vocab) for _ in range(count)]

    for _ in range(60):
        which = draw.randrange(2)
        text = texts[which]
        what = draw.choice(("step", "step", "step", "prompt", "back", "far back", "snapshot", "keep", "share", "reuse"))
        if what in ("step", "prompt") and len(text) < CONTEXT - 60:
            new = some(draw.randrange(1, MOST + 1) if what == "step" else draw.randrange(MOST + 1, 50))
            logits = run(one, np.array(new), slot=which, start=len(text))[-1]
            text += new
            assert (logits == alone.last(text)).all()
        elif what in ("back", "far back") and text:
            back = draw.randrange(MOST if what == "back" else len(text))
            del text[one.truncate(which, max(len(text) - back, 0)) :]
        elif what == "snapshot" and text:
            one.snapshot(which, text)
        elif what == "keep" and text:
            one.keep(which, text)
        elif what == "share" and text:
            texts[1 - which] = text[: one.share(which, 1 - which, draw.randrange(1, len(text) + 1))]
        elif what == "reuse":
            texts[which] = texts[1 - which][: one.reuse(which, texts[1 - which])] if texts[1 - which] else text
        assert [one.length(0), one.length(1)] == [len(text) for text in texts]


def test_both_sequences_of_a_step_go_back_by_their_own(file, seed):
    texts = np.random.default_rng(seed).integers(2, SHAPE.vocab, (2, 60))
    fresh = [run(engine(file), text) for text in texts]
    one, at = drafting(file, sequences=2), [40, 43]
    for which, text in enumerate(texts):
        run(one, text[: at[which]], slot=which)
    for counts, back in (((3, 5), (1, 4)), ((1, 4), (0, 0)), ((5, 1), (5, 0))):
        tokens = [token for which, n in enumerate(counts) for token in texts[which][at[which] : at[which] + n]]
        positions = [at[which] + i for which, n in enumerate(counts) for i in range(n)]
        slots = [which for which, n in enumerate(counts) for _ in range(n)]
        logits = one.forward(tokens, positions, slots, [True] * sum(counts))
        expected = np.concatenate([fresh[which][at[which] : at[which] + n] for which, n in enumerate(counts)])
        assert (logits == expected).all()
        for which in range(2):
            at[which] += counts[which] - back[which]
            assert one.truncate(which, at[which]) == at[which]


def test_a_longer_step_is_final(file, seed):
    text = np.random.default_rng(seed).integers(2, SHAPE.vocab, 40)
    one = drafting(file)
    run(one, text[:30])
    run(one, text[30 : 30 + MOST + 1], start=30)
    assert one.truncate(0, 30 + MOST) == 0


def test_the_plan_counts_them(file):
    settings = {"context": CONTEXT, "threads": 1, "memory": 4 << 30, "snapshots": 0}
    floats = 3 * SHAPE.key_heads * SHAPE.delta_size + 2 * SHAPE.value_heads * SHAPE.delta_size + 2 * SHAPE.value_heads
    for sequences in (1, 3):
        settings["sequences"] = sequences
        without, some = (_core.plan(file, draft_tokens=n, **settings)["kv_cache"] for n in (0, DRAFTS))
        assert some - without == sequences * MOST * 2 * 4 * floats, "of two delta nets"


@pytest.mark.parametrize("kv", ["int8", "int4"])
def test_drafted_answers_are_the_plain_ones(file, kv, seed):
    """Greedy ones of three words, which soon repeat themselves, so that there is something to look up."""
    draw = random.Random(seed)
    prompts = []
    for _ in range(6):
        part = [draw.randrange(3) for _ in range(draw.randrange(3, 20))]
        prompts.append((part * 8)[: draw.randrange(20, 120)])

    def answers(drafts: int) -> tuple[list[list[int]], int]:
        one = _core.Scheduler(engine(file, kv=kv, sequences=3, draft_tokens=drafts), SHAPE.vocab)
        running = [
            one.submit(prompt, _core.Sampler(vocabulary=SHAPE.vocab, usable=3, temperature=0.0), max_tokens=80)
            for prompt in prompts
        ]
        found: list[list[int]] = []
        for generation in running:
            found.append([])
            while (news := generation.next()) is not None:
                news.raise_error()
                found[-1] += news.tokens
        return found, one.counts["accepted_drafts"]

    plain, drafted = answers(0), answers(DRAFTS)
    assert drafted[0] == plain[0]
    assert drafted[1] > 0


def test_a_hybrid_cannot_draft_for_others(file):
    with pytest.raises(UnsupportedModelError, match="draft: expected a model whose cache can be cut"):
        _core.Scheduler(drafting(file), SHAPE.vocab, draft=engine(file))
