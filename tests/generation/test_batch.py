"""Several answers at once, for threads and for coroutines, and what a request can ask for besides its text."""

import asyncio
import gc
import inspect
import math
import threading

import numpy as np
import pytest

import qwen3edge
from qwen3edge.errors import BusyError, RequestError
from qwen3edge.generation.options import DEFAULTS, Options

SUMS = ["What is 12 + 7?", "What is 35 + 4?", "What is 3 + 3?", "What is 47 + 38?", "Say hello."]
GREEDY: Options = {"thinking": False, "temperature": 0.0}


@pytest.fixture(scope="module")
def model(tiny_q3e):
    with qwen3edge.load(tiny_q3e("int8"), context=512, threads=1, sequences=4, seed=1) as loaded:
        yield loaded


def tokens_alone(model, request, **options):
    answer = model.generate(request, **options)
    answer.read()
    return answer.tokens


def test_batch(model):
    alone = [tokens_alone(model, sum, **GREEDY) for sum in SUMS]
    steps = model.engine.scheduler.counts["steps"]
    answers = model.generate_batch(SUMS, **GREEDY)
    texts = [answer.read() for answer in answers]
    assert texts[:2] == ["12 + 7 = 19", "35 + 4 = 39"]
    assert [answer.tokens for answer in answers] == alone
    together = model.engine.scheduler.counts["steps"] - steps
    assert together < sum(map(len, alone)) * 0.6, "steps are shared"


def test_choices(model):
    """n answers to a request differ, and each can be asked for again alone."""
    options = {"thinking": False, "temperature": 50.0, "top_p": 1.0, "max_tokens": 20}
    answers = model.generate_batch(SUMS[:2], n=3, **options)
    for answer in answers:
        answer.read()
    for first in (0, 3):
        group = answers[first : first + 3]
        assert len({answer.usage.seed for answer in group}) == 1
        assert len({tuple(answer.tokens) for answer in group}) == 3
    for number, answer in enumerate(answers):
        seed, choice = answer.usage.seed, number % 3
        assert tokens_alone(model, SUMS[number // 3], seed=seed, choice=choice, **options) == answer.tokens
    assert [a.usage.cached_tokens > 0 for a in model.generate_batch(["Tell me more of it."], n=2, **GREEDY)] == [
        False
    ] * 2


def test_batch_that_is_refused_leaves_nothing(model):
    with pytest.raises(RequestError, match="context"):
        model.generate_batch(["hi", "word " * 3000], **GREEDY)
    with pytest.raises(BusyError):
        model.generate_batch(["hi"], n=2000, **GREEDY)
    gc.collect()
    counts = model.engine.scheduler.counts
    assert (counts["running"], counts["waiting"], counts["free_sequences"]) == (0, 0, 4)
    for wrong in ({"n": 0}, {"n": 1.5}, {"n": 2**33}):
        with pytest.raises(RequestError, match="expected n"):
            model.generate_batch(["hi"], **wrong)
    with pytest.raises(RequestError, match="requests"):
        model.generate_batch("hi")


def test_coroutines(model):
    """More of them than sequences, with one that gives up."""
    alone = [tokens_alone(model, sum, **GREEDY) for sum in SUMS]

    async def one(request):
        answer = model.generate(request, **GREEDY)
        pieces = [piece async for piece in answer]
        assert "".join(pieces) == answer.content
        return answer

    async def all_of_them():
        async with model.generate("Go on for ever.", temperature=100, top_k=0, top_p=1, ignore_eos=True) as endless:
            await anext(endless)
            found = await asyncio.gather(*map(one, SUMS))
        assert endless.finish_reason == "cancelled"
        answer = model.generate("Go on for ever.", temperature=100, top_k=0, top_p=1, ignore_eos=True, seed=3)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(answer.aread(), 0.05)
        taken = len(answer.tokens)
        await anext(answer)  # who gave up waiting can go on: nothing is lost
        await answer.aclose()
        assert len(answer.tokens) > taken
        sync = tokens_alone(
            model, "Go on for ever.", temperature=100, top_k=0, top_p=1, ignore_eos=True, seed=3, max_tokens=taken
        )
        assert answer.tokens[:taken] == sync
        return found

    before = threading.active_count()
    found = asyncio.run(all_of_them())
    assert [answer.tokens for answer in found] == alone
    assert threading.active_count() <= before + 2, "one thread for all coroutines, and one for asyncio's own"


def test_error_in_a_coroutine(model):
    async def read():
        def broken(done, of):
            raise ValueError("progress")

        with pytest.raises(ValueError, match="progress"):
            await model.generate("hi", progress=broken).aread()

    asyncio.run(read())


def test_logprobs(model):
    """Against the logits themselves."""
    answer = model.generate(SUMS[0], logprobs=True, top_logprobs=3, prompt_logprobs=True, **GREEDY)
    answer.read()
    prompt = model.tokens_of(SUMS[0], thinking=False)
    usable = model.tokenizer.vocabulary_size
    logits = model.logits([*prompt, *answer.tokens])[:, :usable].astype(np.float64)
    expected = (
        logits
        - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
        - logits.max(1, keepdims=True)
    )
    assert [each.token for each in answer.prompt_logprobs] == prompt[1:]
    assert [each.token for each in answer.logprobs] == answer.tokens
    assert answer.usage.cached_tokens == 0, "what is scored is computed"
    for row, found in zip(expected, [*answer.prompt_logprobs, *answer.logprobs], strict=False):
        assert math.isclose(found.logprob, row[found.token], rel_tol=1e-9, abs_tol=1e-9)
        assert [token for token, _ in found.top] == sorted(range(usable), key=lambda t: (-row[t], t))[:3]
        assert all(math.isclose(value, row[token], rel_tol=1e-9, abs_tol=1e-9) for token, value in found.top)
    again = model.generate(SUMS[0], logprobs=True, **GREEDY)
    again.read()
    assert [each.logprob for each in again.logprobs] == [each.logprob for each in answer.logprobs]
    assert not again.prompt_logprobs and not again.logprobs[0].top
    with pytest.raises(RequestError, match="top_logprobs"):
        model.generate("hi", top_logprobs=2)
    with pytest.raises(RequestError, match="top_logprobs"):
        model.generate("hi", logprobs=True, top_logprobs=21)


def test_prompt_logprobs_beside_others(model):
    """On few rows of logits, while others decode: the same numbers."""
    options = {"prompt_logprobs": True, "max_tokens": 1, **GREEDY}
    text = "One two three four five six seven eight nine ten. " * 4
    alone = model.generate(text, **options)
    alone.read()
    answers = [*model.generate_batch(SUMS, **GREEDY), *model.generate_batch([text, text], **options)]
    for answer in answers:
        answer.read()
    assert answers[-1].prompt_logprobs == answers[-2].prompt_logprobs == alone.prompt_logprobs
    assert len(alone.prompt_logprobs) == alone.usage.prompt_tokens - 1


def test_ends(model):
    greedy = tokens_alone(model, SUMS[0], **GREEDY)
    end = greedy[-1]
    longer = tokens_alone(model, SUMS[0], min_tokens=len(greedy) + 5, max_tokens=len(greedy) + 8, **GREEDY)
    assert longer[: len(greedy) - 1] == greedy[:-1] and len(longer) >= len(greedy) + 5
    assert end not in longer[: len(greedy) + 4]
    endless = tokens_alone(model, SUMS[0], ignore_eos=True, max_tokens=40, **GREEDY)
    assert len(endless) == 40 and end not in endless
    stop = greedy[3]
    assert tokens_alone(model, SUMS[0], stop_token_ids=[stop], **GREEDY) == greedy[: greedy.index(stop) + 1]
    barred = tokens_alone(model, SUMS[0], stop_token_ids=[stop], min_tokens=8, ignore_eos=True, max_tokens=30, **GREEDY)
    assert stop not in barred[:8] and end not in barred
    for name, wrong in (
        ("stop_token_ids", [-1]), ("stop_token_ids", [10**6]), ("stop_token_ids", "a"), ("min_tokens", -1),
        ("min_tokens", 2.5), ("ignore_eos", 1), ("choice", -1), ("mask", 3), ("logprobs", 1), ("prompt_logprobs", None),
    ):  # fmt: skip
        with pytest.raises(RequestError, match=name):
            model.generate("hi", **{name: wrong})
    with pytest.raises(RequestError, match="min_tokens"):
        model.generate("hi", min_tokens=5, max_tokens=4)


def test_mask(model):
    """A grammar that allows digits alone, four of them, then the end."""
    digits = [model.tokenizer.encode(digit)[0] for digit in "0123456789"]
    end = tokens_alone(model, SUMS[0], **GREEDY)[-1]
    seen: list[int] = []

    def grammar(tokens):
        seen.extend(tokens)
        words = np.zeros(model.config.vocab_size // 32 + 1, np.int32)
        for token in digits if len(seen) < 4 else [end]:
            words.view(np.uint32)[token // 32] |= np.uint32(1 << (token % 32))
        return words

    answers = [model.generate(SUMS[0], mask=grammar, **GREEDY), *model.generate_batch(SUMS, **GREEDY)]
    texts = [answer.read() for answer in reversed(answers)][::-1]
    assert texts[0].isdigit() and len(texts[0]) == 4
    assert answers[0].tokens == [*seen, end]
    assert texts[1] == "12 + 7 = 19", "others are left alone"
    for broken in (lambda tokens: 1 // 0, lambda tokens: "abc", lambda tokens: np.zeros((2, 2), np.int32)):
        answer = model.generate("hi", mask=broken, **GREEDY)
        with pytest.raises((ZeroDivisionError, RequestError)):
            answer.read()
        assert answer.finish_reason == "error"
    for words in (0, 4, model.tokenizer.vocabulary_size // 32 - 1, model.config.vocab_size // 32 + 2):
        answer = model.generate("hi", mask=lambda tokens, n=words: np.ones(n, np.uint32), **GREEDY)
        with pytest.raises(RequestError, match=f"mask: expected .* words of 32 tokens, found {words}$"):
            answer.read()
    nothing = model.generate("hi", mask=lambda tokens: np.zeros(80, np.uint32), **GREEDY)
    with pytest.raises(RequestError, match="may be picked"):
        nothing.read()
    assert model.generate(SUMS[0], mask=lambda tokens: None, **GREEDY).read() == "12 + 7 = 19"


def test_every_option_is_explained(model):
    for call in (model.generate, model.session().generate):
        parameters = dict(inspect.signature(call).parameters)
        assert parameters.pop("request").default is inspect.Parameter.empty
        assert {name: found.default for name, found in parameters.items()} == DEFAULTS
        text = inspect.getdoc(call)
        named = {
            "top_k",
            "top_p",
            "min_p",
            "presence_penalty",
            "frequency_penalty",
            "repetition_penalty",
            "top_logprobs",
        }
        assert all(f"\n{name}: " in text or (name in named and name in text) for name in DEFAULTS)


def test_dropped_answers_leave_the_queue(model):
    """Nobody needs to compute a step for that."""
    for _ in range(3):
        answers = model.generate_batch(["hi"], n=1000, **GREEDY)
        del answers
        gc.collect()
    assert model.generate(SUMS[0], **GREEDY).read() == "12 + 7 = 19"


def test_a_mask_that_waits_for_an_answer_is_refused(model):
    held: list[qwen3edge.Answer] = []
    for wait in (lambda tokens: model.generate("hi", **GREEDY).read(), lambda tokens: model.close()):
        held[:] = [model.generate(SUMS[0], mask=wait, **GREEDY)]
        with pytest.raises(RequestError, match="outside of a step"):
            held[0].read()
        assert held[0].finish_reason == "error"
    held[:] = [model.generate(SUMS[0], mask=lambda tokens: held[0].close(), **GREEDY)]
    assert held[0].read() == "" and held[0].finish_reason == "cancelled"
    assert model.generate(SUMS[0], **GREEDY).read() == "12 + 7 = 19"
    with pytest.raises(RequestError, match="mask"):
        model.generate_batch(SUMS, mask=lambda tokens: None, **GREEDY)
    with pytest.raises(RequestError, match="thinking_budget_message"):
        model.generate("hi", thinking_budget=1, thinking_budget_message="a" * 2000)
