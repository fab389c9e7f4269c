"""One set of tokens: alone, beside others that come and go, sent back to the queue, from a warm or a cold cache."""

import threading

import numpy as np
import pytest

from qwen3edge import _core
from qwen3edge.convert import convert
from qwen3edge.errors import BusyError, MemoryBudgetError, RequestError

PAGE = 64
CONTEXT = 512
SECONDS = 120  # until a test gives up


@pytest.fixture(scope="module", params=["dense", "moe"])
def file(request, tiny_model_path, tiny_moe_path, tmp_path_factory):
    folder = tiny_model_path if request.param == "dense" else tiny_moe_path
    out = tmp_path_factory.mktemp(request.param) / "int4.q3e"
    convert(folder, out, "int4")
    return _core.ModelFile(str(out))


def engine_of(file, pages=None, sequences=4, **settings) -> _core.Engine:
    """With so many pages for all sequences together."""
    settings = {"sequences": sequences, "context": CONTEXT, "threads": 1, "chunk": 128, **settings}
    plan = _core.plan(file, **settings)
    if pages is None:
        return _core.Engine(file, **settings)
    page = plan["kv_cache"] // plan["pages"]
    budget = plan["peak"] - (plan["pages"] - pages) * page + page // 2
    engine = _core.Engine(file, memory=budget, program=plan["program"], **settings)
    assert engine.plan["pages"] == pages
    return engine


def vocabulary(file) -> int:
    return next(t["rows"] for t in file.tensors() if t["name"] == "token_embd.weight")


class Asked:
    """A request, and what it gives alone: computed without a scheduler."""

    def __init__(self, file, prompt: list[int], tokens: int, **sampling: float) -> None:
        self.prompt, self.tokens, self.sampling = prompt, tokens, sampling
        self.vocabulary = vocabulary(file)
        engine, sampler, self.expected = engine_of(file, sequences=1), self.sampler(), []
        for token in prompt:
            sampler.accept(token, False)
        held, new = 0, prompt
        while len(self.expected) < tokens:
            count = len(new)
            rows = engine.forward(new, range(held, held + count), [0] * count, [False] * (count - 1) + [True])
            held += count
            new = [sampler.sample(rows[0])]
            sampler.accept(new[0], True)
            self.expected += new

    def sampler(self) -> _core.Sampler:
        return _core.Sampler(vocabulary=self.vocabulary, **self.sampling)

    def submit(self, scheduler: _core.Scheduler) -> _core.Generation:
        return scheduler.submit(self.prompt, self.sampler(), max_tokens=self.tokens)


def read(generation: _core.Generation, most: int | None = None) -> list[int]:
    tokens: list[int] = []
    while most is None or len(tokens) < most:
        news = generation.next()
        if news is None:
            break
        news.raise_error()
        tokens += news.tokens
    return tokens


def some_requests(file, rng, count: int) -> list[Asked]:
    """Prompts of a few texts with ends of their own, so that many begin alike."""
    texts = [rng.integers(0, 250, 300).tolist() for _ in range(2)]
    found = []
    for number in range(count):
        prompt = texts[int(rng.integers(2))][: int(rng.integers(1, 300))] + rng.integers(0, 250, 3).tolist()
        sampling = {"temperature": 0.0} if number % 2 else {"temperature": 1.5, "top_k": 50, "seed": number}
        found.append(Asked(file, prompt, int(rng.integers(1, 60)), repetition_penalty=1.1, **sampling))
    return found


@pytest.mark.parametrize("pages", [None, 11])
def test_one_set_of_tokens(file, seed, pages):
    """Random requests of several threads, a third of them cancelled in the middle, on few pages also."""
    rng = np.random.default_rng(seed)
    engine = engine_of(file, pages, threads=2)
    scheduler = _core.Scheduler(engine, vocabulary(file))
    requests, errors = some_requests(file, rng, 10), []

    def work(numbers: list[int], number: int) -> None:
        own = np.random.default_rng([seed, number])
        try:
            for each in numbers:
                asked = requests[each]
                generation = asked.submit(scheduler)
                if own.integers(3) == 0:
                    tokens = read(generation, int(own.integers(1, asked.tokens + 1)))
                    generation.cancel()
                    assert tokens == asked.expected[: len(tokens)]
                else:
                    assert read(generation) == asked.expected
        except BaseException as error:
            errors.append(error)

    threads = [
        threading.Thread(target=work, args=(rng.integers(0, len(requests), 12).tolist(), n), daemon=True)
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert not any(thread.is_alive() for thread in threads)
    assert not errors, errors
    counts = scheduler.counts
    assert (counts["running"], counts["waiting"], counts["free_sequences"]) == (0, 0, 4)
    assert engine.available_pages() == engine.plan["pages"], "every page came back, or is cached and unused"


def test_sent_back_to_the_queue(file):
    """Two answers that grow beyond what was promised them: the younger makes room, and comes to the same tokens."""
    requests = [Asked(file, [n, *range(100)], 300, temperature=1.0, seed=n) for n in (1, 2)]
    scheduler = _core.Scheduler(engine_of(file, 9), vocabulary(file))
    # Nothing is said of the length, so that an eighth of the context is promised.
    generations = [scheduler.submit(asked.prompt, asked.sampler()) for asked in requests]
    found: list[list[int]] = [[], []]
    while min(map(len, found)) < 300:
        for i, generation in enumerate(generations):
            if (news := generation.next()) is not None:
                found[i] += news.tokens
    assert [tokens[:300] for tokens in found] == [asked.expected for asked in requests]
    assert scheduler.counts["preemptions"] > 0
    for generation in generations:
        generation.cancel()


@pytest.mark.parametrize("pages", [None, 9])
def test_states_beside_answers(file, pages):
    """Bit by bit what the engine itself gives, up to the whole context, among answers that send others back."""
    rng = np.random.default_rng(3)
    prompts = [rng.integers(0, 250, size).tolist() for size in (1, 2, 64, 65, 129, CONTEXT - 1, CONTEXT)]
    width = next(t["columns"] for t in file.tensors() if t["name"] == "token_embd.weight")
    alone, expected = engine_of(file, sequences=1), []
    for prompt in prompts:
        state, size = np.empty((1, width), np.float32), len(prompt)
        alone.forward(prompt, range(size), [0] * size, [0] * (size - 1) + [2], hidden=state)
        expected.append(state[0].tolist())
    answers = [Asked(file, [n, *range(100)], 300, temperature=1.0, seed=n) for n in (1, 2)]
    scheduler = _core.Scheduler(engine_of(file, pages), vocabulary(file))
    running = [scheduler.submit(asked.prompt, asked.sampler(), max_tokens=300) for asked in answers]
    states = [scheduler.submit_state(prompt) for prompt in prompts]
    assert [read(generation) for generation in running] == [asked.expected for asked in answers]
    for generation, state in zip(states, expected, strict=True):
        news = generation.next()
        while news.finish is None:
            news = generation.next()
        assert news.finish == "stop" and news.tokens == [] and news.state == state
        assert generation.next() is None
    assert scheduler.counts["free_sequences"] == 4
    dropped = scheduler.submit_state(prompts[0])
    dropped.cancel()
    assert dropped.next().finish == "cancelled"
    with pytest.raises(RequestError, match=f"expected at most {CONTEXT} tokens .*, found {CONTEXT + 1}"):
        scheduler.submit_state([1] * (CONTEXT + 1))


def test_prefix_is_computed_once(file):
    """Four requests at once that begin alike: one computes the beginning, the others wait for it."""
    beginning = [n % 200 for n in range(300)]
    requests = [Asked(file, [*beginning, n], 4, temperature=0.0) for n in range(4)]
    engine = engine_of(file)
    scheduler = _core.Scheduler(engine, vocabulary(file))
    generations = [asked.submit(scheduler) for asked in requests]
    usages = []
    for generation, asked in zip(generations, requests, strict=True):
        tokens = []
        while (news := generation.next()) is not None:
            tokens += news.tokens
            usage = news.usage
        usages.append(usage)
        assert tokens == asked.expected
    assert [usage["cached_tokens"] for usage in usages] == [0, 300, 300, 300]
    assert read(requests[0].submit(scheduler)) == requests[0].expected


def test_one_that_waits_for_its_beginning_keeps_nobody_back(file):
    """Of two long prompts that begin alike the second waits for the first; what comes behind it is not."""
    text = [n % 240 for n in range(450)]
    long, fork = (Asked(file, [*text, n], 3, temperature=0.0) for n in (1, 2))
    short = Asked(file, [5, 6, 7], 2, temperature=0.0)
    scheduler = _core.Scheduler(engine_of(file), vocabulary(file))
    first, second, third = (asked.submit(scheduler) for asked in (long, fork, short))
    assert read(third) == short.expected
    assert second.poll() is None and scheduler.counts["waiting"] == 1, "the second has not begun"
    assert first.poll().computed_tokens < len(text)
    news = second.next()
    assert news.usage["cached_tokens"] == len(text)
    assert [*news.tokens, *read(second)] == fork.expected
    assert read(first) == long.expected


def test_one_that_was_passed_by_is_the_next(file):
    """It takes the first sequence that is free once its beginning was read, before all that came behind it."""
    text = [n % 240 for n in range(450)]
    long, fork = (Asked(file, [*text, n], 2, temperature=0.0) for n in (1, 2))
    passes, last = (Asked(file, [n, 6, 7], 60, temperature=0.0) for n in (5, 8))
    scheduler = _core.Scheduler(engine_of(file, sequences=2), vocabulary(file))
    first, second, third, fourth = (asked.submit(scheduler) for asked in (long, fork, passes, last))
    found = third.next().tokens
    assert second.poll() is None and scheduler.counts["waiting"] == 2
    news = second.next()
    assert fourth.poll() is None, "what came behind it waits"
    assert [*news.tokens, *read(second)] == fork.expected
    assert [*found, *read(third)] == passes.expected
    assert read(first) == long.expected and read(fourth) == last.expected


def test_prompts_beside_answers_take_part_of_a_step(file):
    """While an answer decodes a long prompt is read in pieces, and every step has a token for the answer."""
    long = Asked(file, [n % 240 for n in range(400)], 2, temperature=0.0)
    short = Asked(file, [5, 6, 7], 60, temperature=0.0)
    scheduler = _core.Scheduler(engine_of(file), vocabulary(file))
    first = short.submit(scheduler)
    begun = read(first, 2)
    second = long.submit(scheduler)
    steps = scheduler.counts["steps"]
    assert [*begun, *read(first)] == short.expected
    assert scheduler.counts["steps"] - steps >= len(short.expected) - len(begun)
    assert read(second) == long.expected


def test_refusals(file):
    engine = engine_of(file, sequences=1)
    size = vocabulary(file)
    scheduler = _core.Scheduler(engine, size, most_waiting=2)
    sampler = _core.Sampler(vocabulary=size)
    for prompt, text in (
        ([], "at least one token"),
        ([1] * CONTEXT, f"expected fewer than {CONTEXT} tokens .*, found {CONTEXT}"),
        ([size], f"expected token ids from 0 to {size - 1}, found {size}"),
    ):
        with pytest.raises(RequestError, match=text):
            scheduler.submit(prompt, sampler)
    with pytest.raises(RequestError, match="sampler: expected one for"):
        scheduler.submit([1], _core.Sampler(vocabulary=5))
    kept = [scheduler.submit([1], _core.Sampler(vocabulary=size)) for _ in range(2)]
    with pytest.raises(BusyError, match="at most 2 requests in the queue"):
        scheduler.submit([1], _core.Sampler(vocabulary=size))
    kept.pop().cancel()
    scheduler.submit([1], _core.Sampler(vocabulary=size))
    scheduler.close()
    assert kept[0].next().finish == "cancelled" and kept[0].next() is None
    with pytest.raises(RequestError, match="closed"):
        scheduler.submit([1], sampler)


def test_pages_of_those_who_drive_the_engine_themselves(file):
    engine = engine_of(file, 8, sequences=2)
    scheduler = _core.Scheduler(engine, vocabulary(file))
    own = scheduler.take_sequence()
    count = 7 * PAGE
    engine.forward([1] * count, range(count), [own] * count, [False] * count)
    asked = Asked(file, [2] * 100, 3, temperature=0.0)
    with pytest.raises(MemoryBudgetError, match="expected 2 more pages of the KV cache, found 1 free"):
        read(asked.submit(scheduler))
    scheduler.give_sequence(own)
    assert read(asked.submit(scheduler)) == asked.expected


def test_a_dropped_answer_ends(file):
    scheduler = _core.Scheduler(engine_of(file, sequences=1), vocabulary(file))
    asked = Asked(file, [1, 2, 3], 5, temperature=0.0)
    dropped = asked.submit(scheduler)
    read(dropped, 1)
    del dropped
    assert read(asked.submit(scheduler)) == asked.expected
    assert scheduler.counts["running"] == 0


def test_a_full_cache_that_shares_its_last_page(file):
    """All pages hold one conversation, and the next leaves it within the last one: no page is left for a copy."""
    engine = engine_of(file, sequences=1)
    scheduler = _core.Scheduler(engine, vocabulary(file))
    full = [n % 230 for n in range(CONTEXT - 2)]
    for prompt in (full, [*full[: CONTEXT - 20], 7], full):
        asked = Asked(file, prompt, 2, temperature=0.0)
        assert read(asked.submit(scheduler)) == asked.expected
