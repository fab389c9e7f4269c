"""States that cannot be cut: where they go back to, who else goes on from there, what is computed again."""

from __future__ import annotations

import numpy as np
import pytest

from qwen3edge import _core
from qwen3edge.errors import MemoryBudgetError
from tests.checkpoints import run, save, to_q3e
from tests.models.hybrid_checkpoints import HybridShape, make_hybrid

SHAPE = HybridShape("snapshots", layers=3, interval=2)
CONTEXT = 512
STATE = (
    2 * 4 * (SHAPE.value_heads * SHAPE.delta_size**2 + 3 * (2 * SHAPE.key_heads + SHAPE.value_heads) * SHAPE.delta_size)
)
"""Bytes of two delta nets."""


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> _core.ModelFile:
    return _core.ModelFile(str(to_q3e(save(make_hybrid(SHAPE, 3), tmp_path_factory.mktemp("snapshots")), "int4")))


def engine(file: _core.ModelFile, **settings: object) -> _core.Engine:
    return _core.Engine(file, **{"context": CONTEXT, "threads": 2, "memory": 4 << 30, **settings})


@pytest.fixture
def text(seed) -> np.ndarray:
    return np.random.default_rng(seed).integers(2, SHAPE.vocab, 300)


@pytest.mark.parametrize("kv", ["int8", "int4"])
def test_a_sequence_goes_back_to_its_snapshots(file, text, kv):
    fresh = run(engine(file, kv=kv), text[:200])
    one = engine(file, kv=kv, snapshots=1)
    for begin, end in ((0, 64), (64, 128), (128, 200)):
        run(one, text[begin:end], start=begin)
        one.snapshot(0)
    assert one.truncate(0, 190) == 128
    assert (run(one, text[128:200], start=128) == fresh[128:]).all()
    assert one.truncate(0, 100) == 0, "two are kept, the newest: one for the sequence, one for those that left"
    assert (run(one, text[:200]) == fresh).all()


@pytest.mark.parametrize("kv", ["int8", "int4"])
def test_another_sequence_goes_on_from_what_was_kept(file, text, kv):
    other = np.concatenate([text[:128], text[:50]])
    fresh = run(engine(file, kv=kv), other)
    one = engine(file, kv=kv, sequences=2)
    run(one, text[:128])
    one.snapshot(0, text[:128])
    run(one, text[128:200], start=128)
    one.keep(0, text[:200])
    assert one.reuse(1, other) == 128
    assert (run(one, other[128:], slot=1, start=128) == fresh[128:]).all()
    one.truncate(0, 0)
    assert one.reuse(0, text[:250]) == (128 if kv == "int4" else 200), "in int4 whole pages are shared"
    begin = one.length(0)
    assert (run(one, text[begin:250], start=begin) == run(engine(file, kv=kv), text[:250])[begin:]).all()
    one.clear_prefixes()
    assert one.reuse(1, other) == 0


def test_a_sequence_shares_what_it_has(file, text):
    one = engine(file, sequences=3)
    run(one, text[:90])
    one.snapshot(0)
    run(one, text[90:120], start=90)
    assert one.share(0, 1, 110) == 90 and one.share(0, 2, 120) == 120
    expected = run(engine(file), np.concatenate([text[:120], text[:9]]))
    assert (run(one, text[90:120], slot=1, start=90) == expected[90:120]).all()
    assert (run(one, text[:9], slot=2, start=120) == expected[120:]).all()
    assert one.truncate(1, 95) == 90, "what it was given is its own, too"


def test_tokens_that_are_not_the_sequences_are_refused(file, text):
    one = engine(file)
    run(one, text[:20])
    with pytest.raises(Exception, match="expected all 20 of the sequence"):
        one.snapshot(0, text[:19])


def test_the_plan_counts_states_and_snapshots(file):
    settings = {"context": CONTEXT, "threads": 1, "memory": 4 << 30}
    plans = {n: _core.plan(file, sequences=3, snapshots=n, **settings) for n in (0, 1, 2)}
    each = STATE + 4 * CONTEXT
    assert plans[2]["kv_cache"] - plans[1]["kv_cache"] == plans[1]["kv_cache"] - plans[0]["kv_cache"] == 4 * each
    alone = _core.plan(file, snapshots=0, **settings)["kv_cache"]
    assert plans[0]["kv_cache"] - alone > 2 * STATE
    with pytest.raises(MemoryBudgetError):
        _core.plan(file, snapshots=64, **{**settings, "memory": plans[0]["peak"]})


# ---- through the scheduler ----


class Answers:
    """Greedy answers of a scheduler; what each computed of its prompt."""

    def __init__(self, file: _core.ModelFile, **settings: object) -> None:
        self.file, self.kv = file, settings.get("kv", "int8")
        self.engine = engine(file, **settings)
        self.scheduler = _core.Scheduler(self.engine, SHAPE.vocab)

    def submit(self, prompt: list[int], boundaries: tuple[int, ...] = (), count: int = 6) -> _core.Generation:
        sampler = _core.Sampler(vocabulary=SHAPE.vocab, temperature=0.0)
        return self.scheduler.submit(prompt, sampler, max_tokens=count, boundaries=boundaries)

    def read(self, generation: _core.Generation) -> tuple[list[int], int]:
        """The answer, and how much of the prompt was cached."""
        tokens: list[int] = []
        while (news := generation.next()) is not None:
            news.raise_error()
            tokens += news.tokens
            usage = news.usage
        return tokens, usage["cached_tokens"]

    def ask(self, prompt: list[int], *boundaries: int) -> tuple[list[int], int]:
        answer, cached = self.read(self.submit(prompt, boundaries))
        assert answer == greedy(self.file, prompt, 6, self.kv)
        return answer, cached


def greedy(file: _core.ModelFile, prompt: list[int], count: int, kv: object = "int8") -> list[int]:
    """By an engine of its own, without a scheduler."""
    alone, tokens = engine(file, kv=kv), list(prompt)
    logits = run(alone, np.array(prompt))[-1]
    for _ in range(count):
        tokens.append(int(np.argmax(logits)))
        logits = run(alone, np.array(tokens[-1:]), start=len(tokens) - 1)[-1]
    return tokens[len(prompt) :]


def test_ten_turns_whose_thoughts_are_forgotten(file, seed):
    """Each prompt has the last one up to where its answer was asked for, and something else behind."""
    rng, answers = np.random.default_rng(seed), Answers(file)
    prompt: list[int] = []
    kept = 0
    for _ in range(10):
        prompt = [*prompt[:kept], *rng.integers(2, SHAPE.vocab, 17).tolist()]
        before, kept = kept, len(prompt) - 4  # "<|im_start|>assistant\n<think>\n"
        _, cached = answers.ask(prompt, kept)
        assert cached == before, "all that both prompts have"


def test_a_tool_loop(file, seed):
    """Prompts that go on behind the whole answer: all of it but its last token, which was not computed, is there."""
    rng, answers = np.random.default_rng(seed), Answers(file)
    prompt, before = rng.integers(2, SHAPE.vocab, 40).tolist(), 0
    for _ in range(4):
        answer, cached = answers.ask(prompt, len(prompt) - 3)
        assert cached == before
        prompt = [*prompt, *answer]
        before = len(prompt) - 1
        prompt += rng.integers(2, SHAPE.vocab, 9).tolist()


def test_again_edited_and_two_branches(file, seed):
    rng, answers = np.random.default_rng(seed), Answers(file, snapshots=8)
    first = rng.integers(2, SHAPE.vocab, 80).tolist()
    answers.ask(first, 76)
    assert answers.ask(first, 76)[1] == 76, "regenerated"
    branches = [[*first[:76], *rng.integers(2, SHAPE.vocab, 30).tolist()] for _ in range(2)]
    for branch in branches:
        assert answers.ask(branch, 100)[1] == 76
    for branch in branches:
        assert answers.ask([*branch[:100], *first[:20]], 110)[1] == 100
    assert answers.ask([*first[:50], *first[:9]], 55)[1] == 0, "nothing was kept so early"


@pytest.mark.parametrize(("chunk", "shared"), [(32, 128), (256, 130)])
def test_prompts_together_share_what_they_begin_with(file, chunk, shared, seed):
    """The second waits for the first to be where both part, or a few tokens before, and goes on from there."""
    rng, answers = np.random.default_rng(seed), Answers(file, sequences=2, chunk=chunk)
    start = rng.integers(2, SHAPE.vocab, 130).tolist()
    prompts = [[*start, *rng.integers(2, SHAPE.vocab, 60).tolist()] for _ in range(2)]
    generations = [answers.submit(prompt) for prompt in prompts]
    (one, nothing), (two, cached) = (answers.read(generation) for generation in generations)
    assert [one, two] == [greedy(file, prompt, 6) for prompt in prompts]
    assert (nothing, cached) == (0, shared)


def test_no_room_for_snapshots(file, seed):
    answers = Answers(file, snapshots=0, sequences=2)
    prompt = np.random.default_rng(seed).integers(2, SHAPE.vocab, 70).tolist()
    for _ in range(2):
        assert answers.ask(prompt, 60)[1] == 0
    generations = [answers.submit([*prompt, last]) for last in (3, 4)]
    assert [answers.read(g)[0] for g in generations] == [greedy(file, [*prompt, last], 6) for last in (3, 4)]


def test_the_least_recently_used_makes_room(file, seed):
    """Two snapshots, for one sequence and for those that left: those of the last conversation push out another's."""
    rng, answers = np.random.default_rng(seed), Answers(file, snapshots=1)
    one, two = (rng.integers(2, SHAPE.vocab, 60).tolist() for _ in range(2))
    answers.ask(one, 50)
    answers.ask(two, 50)
    assert answers.ask(two, 50)[1] == 50
    assert answers.ask(one, 50)[1] == 0


def test_a_conversation_outlives_another(file, seed):
    """Two snapshots for the sequence that is, and two for the one that was."""
    rng, answers = np.random.default_rng(seed), Answers(file)
    one, two = (rng.integers(2, SHAPE.vocab, 60).tolist() for _ in range(2))
    answers.ask(one, 50)
    answers.ask(two, 50)
    assert answers.ask(one, 50)[1] == 50


@pytest.mark.parametrize("kv", ["int8", "int4"])
def test_a_saved_session_goes_on(file, text, tmp_path, kv):
    """From the answer's end, and from where it was asked for, whatever the next prompt does with the answer."""
    prompt = text[:200].tolist()
    answers = Answers(file, kv=kv)
    answer, _ = answers.ask(prompt, 150)
    answers.engine.save_session([*prompt, *answer], tmp_path / "saved", b"note")
    for following, most in (([*prompt, *answer, 5], len(prompt) + len(answer) - 1), ([*prompt[:150], 7, 5], 150)):
        other = Answers(file, kv=kv)
        assert other.engine.load_session(tmp_path / "saved") == ([*prompt, *answer], b"note")
        again, cached = other.read(other.submit(following))
        assert cached == (most if kv == "int8" else 128), "in int4 no page ends where the answer does"
        assert again == greedy(file, following, 6, kv)
