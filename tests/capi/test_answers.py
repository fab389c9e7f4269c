"""Answers through the C API: the tokens and texts of Python's for the same seed, until somebody stops them."""

import ctypes
import threading
from ctypes import byref, c_size_t
from itertools import groupby

import numpy as np
import pytest

from tests.capi.asking import answered, heard, new_answer, new_request, prompt_tokens
from tests.capi.library import BAD_ARGUMENT, CANCELLED, MASK, OK, UNSUPPORTED_MODEL, CallError
from tests.reference.chats import read_records

HI = [{"role": "user", "content": "hi"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
        },
    }
]
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Köln", "days": 2}}\n</tool_call>'


def same(api, both, messages, options=None, **python):
    """Asks both the same; the C API's answer, which is held against Python's. options: of the C API where it has other
    names.
    """
    answer = both.python.generate(messages, **python)
    answer.read()
    c = {
        name: python[name]
        for name in ("seed", "tools", "thinking", "stop", "max_tokens", "min_tokens")
        if name in python
    }
    found = answered(api, both.c, messages, **{**c, **(options or {})})
    assert found.tokens == answer.tokens
    assert (found.content, found.reasoning) == (answer.content, answer.reasoning)
    assert [call[:2] for call in found.calls if call[2] == "complete"] == [
        [c.name, c.arguments] for c in answer.tool_calls
    ]
    finish = "length" if found.finish in ("max_tokens", "context") else found.finish
    assert (finish, found.stop_string) == (answer.finish_reason, answer.stop_string)
    usage, expected = found.usage, answer.usage
    assert usage.seed == expected.seed and usage.prompt_tokens == usage.computed_tokens == expected.prompt_tokens
    assert usage.completion_tokens == expected.completion_tokens == len(found.tokens)
    assert usage.reasoning_tokens == expected.reasoning_tokens
    assert found.events[-1] == "end" and found.events.count("end") == 1
    return found


def test_same_answers_as_python(api, models, seed):
    """One held-out question of each task, in both languages, thinking and not: tools among them."""
    records = {
        (r["task"], r["language"], r["enable_thinking"]): r for r in read_records(models.folder / "heldout.jsonl")
    }
    assert any("tools" in record for record in records.values())
    picked = list(records.values())[:: max(len(records) // 7, 1)]
    picked += [record for record in records.values() if "tools" in record][:2]
    kinds = set()
    for number, record in enumerate(picked):
        found = same(
            api, models, record["messages"], tools=record.get("tools"), thinking=record["enable_thinking"],
            seed=seed + number, max_tokens=90,
        )  # fmt: skip
        kinds.update(found.events)
    assert {"prompt", "token", "content", "end"} <= kinds


def test_sampling_stops_and_budgets_as_python(api, both, seed):
    sums = [{"role": "user", "content": "What is 46 + 72?"}]
    changed = {"temperature": 1.5, "top_k": 50, "top_p": 0.9, "min_p": 0.01, "presence_penalty": 0.5}
    changed |= {"frequency_penalty": 0.25, "repetition_penalty": 1.2}
    same(api, both, sums, {"sampling": changed}, seed=seed, max_tokens=40, min_tokens=5, **changed)
    same(api, both, sums, {"sampling": {"temperature": 0}}, temperature=0, seed=0, thinking=False, stop=("1", " 7"))
    same(
        api, both, sums, {"sampling": {"temperature": 0}, "budget": (6, "\nEnough.\n")}, temperature=0, seed=1,
        thinking=True, thinking_budget=6, thinking_budget_message="\nEnough.\n",
    )  # fmt: skip
    same(api, both, sums, {"ignore_end": 1}, seed=seed, ignore_eos=True, max_tokens=60)
    same(api, both, sums, {"verbatim": 1}, seed=seed, thinking=True, verbatim=True, max_tokens=60)
    same(api, both, "Once upon", seed=seed, raw=True, max_tokens=8)
    same(api, both, [5, 6, 7], seed=seed, max_tokens=8)


def test_logprobs_as_python(api, both, seed):
    answer = both.python.generate(HI, seed=seed, max_tokens=12, logprobs=True, top_logprobs=4)
    answer.read()
    found = answered(api, both.c, HI, seed=seed, max_tokens=12, logprobs=4)
    assert found.logprobs == [(each.logprob, list(each.top)) for each in answer.logprobs]
    plain = answered(api, both.c, HI, seed=seed, max_tokens=12)
    assert all(np.isnan(logprob) and top == [] for logprob, top in plain.logprobs)


def test_logprobs_of_a_prompt_as_python(api, both, seed):
    """Of each token from the second on, though all of it is in memory."""
    answer = both.python.generate(HI, seed=seed, max_tokens=3, prompt_logprobs=True, top_logprobs=4)
    answer.read()
    found = answered(api, both.c, HI, seed=seed, max_tokens=3, prompt_logprobs=4)
    assert found.prompt_logprobs == [(each.logprob, list(each.top)) for each in answer.prompt_logprobs]
    assert found.prompt_tokens == prompt_tokens(api, both.c, HI)[1:] and found.tokens == answer.tokens
    assert "prompt token" not in found.events[found.events.index("token") :], "the prompt comes first"
    assert all(np.isnan(logprob) for logprob, _ in found.logprobs), "those of the answer were not asked for"
    again = answered(api, both.c, HI, seed=seed, max_tokens=3, prompt_logprobs=0)
    assert [each for each, _ in again.prompt_logprobs] == [each for each, _ in found.prompt_logprobs]
    assert all(top == [] for _, top in again.prompt_logprobs)


def test_choices_as_python(api, both, seed):
    """Several answers of one seed, each another draw."""
    prompt, hot = [5, 6, 7, 8, 9], {"temperature": 2.0, "top_k": 0, "top_p": 1.0}
    found = []
    for choice in range(4):
        answer = both.python.generate(prompt, seed=seed, choice=choice, max_tokens=40, ignore_eos=True, **hot)
        answer.read()
        options = {"seed": seed, "choice": choice, "max_tokens": 40, "ignore_end": 1, "sampling": hot}
        found.append(answered(api, both.c, prompt, **options).tokens)
        assert found[-1] == answer.tokens
    assert len(set(map(tuple, found))) == 4
    del options["choice"]
    assert answered(api, both.c, prompt, **options).tokens == found[0]


def test_a_seed_is_drawn(api, both):
    seeds = {answered(api, both.c, HI, max_tokens=1).usage.seed for _ in range(3)}
    assert len(seeds) == 3 and max(seeds) > 2**32


def script(tokens, calls=None):
    """A mask that lets nothing come but these tokens."""
    left = list(tokens)

    def mask(_, seen, count, words, size):
        if calls is not None:
            calls.append([seen[i] for i in range(count)])
        token = left.pop(0)
        assert token // 32 < size and not any(words[i] for i in range(size))
        words[token // 32] = 1 << token % 32
        return 1

    return MASK(mask)


def test_a_mask_and_the_events_of_a_call(api, both):
    tokenizer = both.python.tokenizer
    tokens = [
        *tokenizer.encode("So: "),
        *tokenizer.encode(CALL, allow_special=True),
        *tokenizer.encode("<|im_end|>", allow_special=True),
    ]
    calls: list[list[int]] = []
    found = answered(api, both.c, HI, thinking=False, tools=TOOLS, mask=script(tokens, calls))
    assert found.tokens == tokens and [token for call in calls for token in call] == tokens[:-1]
    assert found.finish == "tool_calls" and found.content == "So:"
    assert found.calls == [["weather", '{"city": "Köln", "days": 2}', "complete"]]
    kinds = [kind for kind, _ in groupby(kind for kind in found.events if kind not in ("token", "prompt"))]
    assert kinds == ["content", "begin", "arguments", "end of call", "end"]
    cut = answered(api, both.c, HI, thinking=False, tools=TOOLS, mask=script(tokens), max_tokens=len(tokens) - 5)
    assert cut.finish == "max_tokens" and cut.calls[0][2] == "cut" and cut.events[-2:] == ["end of call", "end"]
    text = answered(api, both.c, HI, thinking=False, mask=script(tokens))
    assert text.finish == "stop" and text.calls == [] and "<tool_call>" in text.content
    broken = [*tokenizer.encode('<tool_call>\n{"name": "f", 5}', allow_special=True), tokens[-1]]
    found = answered(api, both.c, HI, thinking=False, tools=TOOLS, mask=script(broken))
    assert found.finish == "stop" and '{"name": "f", 5}' in found.content
    assert [call[2] for call in found.calls] in ([], ["broken"])


def test_a_mask_that_allows_all_or_fails(api, both, seed):
    free = answered(api, both.c, HI, seed=seed, max_tokens=10)
    assert answered(api, both.c, HI, seed=seed, max_tokens=10, mask=MASK(lambda *_: 0)).tokens == free.tokens
    answer = new_answer(api, both.c, HI, mask=(mask := MASK(lambda *_: -1)))
    for _ in range(2):
        status, found = heard(api, answer)
        assert status == BAD_ARGUMENT and b"mask: the callback" in api.library.q3e_error_text()
    assert api.library.q3e_answer_finish(answer) == 6 and mask and found.tokens == []
    api.library.q3e_answer_free(answer)


def test_an_answer_goes_into_the_conversation(api, both):
    """With its thoughts and calls, as Python's `Answer.message`."""
    tokenizer = both.python.tokenizer
    tokens = tokenizer.encode(f"<think>\nhm\n</think>\n\nSo:\n{CALL}<|im_end|>", allow_special=True)
    request = new_request(api, HI, thinking=True, tools=TOOLS, mask=(mask := script(tokens)))
    answer = api.made("answer", both.c, request)
    status, found = heard(api, answer)
    assert status == OK and found.reasoning == "hm" and found.content == "So:" and mask
    api.request_add_answer(request, answer)
    api.request_add_message(request, b"tool", b"rain")
    count = c_size_t()
    ids = (ctypes.c_int32 * 1024)()
    api.request_tokens(both.c, request, ids, 1024, byref(count))
    call = {"type": "function", "function": {"name": "weather", "arguments": '{"city": "Köln", "days": 2}'}}
    message = {"role": "assistant", "content": "So:", "reasoning_content": "hm", "tool_calls": [call]}
    expected = both.python.tokens_of([*HI, message, {"role": "tool", "content": "rain"}], thinking=True, tools=TOOLS)
    assert ids[: count.value] == expected
    api.request_clear_messages(request)
    with pytest.raises(CallError, match="found an empty one"):
        api.request_tokens(both.c, request, None, 0, byref(count))
    api.library.q3e_answer_free(answer)
    api.library.q3e_request_free(request)


def test_the_callback_stops(api, both):
    answer = new_answer(api, both.c, HI, seed=1, ignore_end=1)
    status, found = heard(api, answer, lambda found: len(found.tokens) < 3)
    assert status == CANCELLED and len(found.tokens) == 3 and found.finish is None
    assert api.library.q3e_answer_finish(answer) == 5
    assert heard(api, answer)[0] == CANCELLED  # it stays so
    api.library.q3e_answer_free(answer)


def test_cancelled_before_it_ran(api, both):
    answer = new_answer(api, both.c, HI, ignore_end=1)
    api.library.q3e_answer_cancel(answer)
    status, found = heard(api, answer)
    assert (status, found.finish, found.tokens) == (CANCELLED, "cancelled", [])
    api.library.q3e_answer_free(answer)


def test_cancelled_by_another_thread(api, both):
    answer, begun = new_answer(api, both.c, HI, ignore_end=1), threading.Event()

    def cancel():
        begun.wait(60)
        api.library.q3e_answer_cancel(answer)

    thread = threading.Thread(target=cancel)
    thread.start()
    status, found = heard(api, answer, lambda found: not found.tokens or begun.set() is None)
    thread.join()
    assert status == CANCELLED and found.finish == "cancelled" and 0 < len(found.tokens) < 1000
    api.library.q3e_answer_free(answer)


def test_a_prompt_is_cancelled_within_its_step(api, tiny_int4):
    """Two long prompts, both cancelled while their first step runs: no part of either was counted."""
    model = api.load(tiny_int4, context=2048, sessions=2, threads=1)
    answers = [new_answer(api, model, [token] * 2000) for token in (5, 6)]
    results = []
    threads = [threading.Thread(target=lambda a=answer: results.append(heard(api, a))) for answer in answers]
    for thread in threads:
        thread.start()
    for answer in answers:
        api.library.q3e_answer_cancel(answer)
    for thread in threads:
        thread.join(60)
    assert [(status, found.finish, found.tokens) for status, found in results] == [(CANCELLED, "cancelled", [])] * 2
    assert all(found.usage.computed_tokens < 2000 for _, found in results)
    for answer in answers:
        api.library.q3e_answer_free(answer)
    api.library.q3e_model_free(model)


def test_answers_of_several_threads(api, both, seed):
    """Computed together, each as alone; one of them leaves early."""
    questions = [[{"role": "user", "content": f"What is {n} + {n + 1}?"}] for n in range(6)]
    alone = [answered(api, both.c, q, seed=seed, max_tokens=30).tokens for q in questions]
    answers = [new_answer(api, both.c, q, seed=seed, max_tokens=30) for q in questions]
    gone = new_answer(api, both.c, HI, seed=seed, ignore_end=1)
    found = [None] * len(questions)

    def work(number):
        found[number] = heard(api, answers[number])

    threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(len(questions))]
    for thread in threads:
        thread.start()
    api.library.q3e_answer_free(gone)
    for thread in threads:
        thread.join(120)
    assert [(status, heard.tokens) for status, heard in found] == [(OK, tokens) for tokens in alone]
    for answer in answers:
        api.library.q3e_answer_free(answer)


def test_one_thread_reads_several(api, both, seed):
    """What is asked first drives the others along."""
    answers = [new_answer(api, both.c, HI, seed=seed + n, max_tokens=20) for n in range(3)]
    read = [heard(api, answer)[1].tokens for answer in answers]
    assert read == [answered(api, both.c, HI, seed=seed + n, max_tokens=20).tokens for n in range(3)]
    for answer in answers:
        api.library.q3e_answer_free(answer)


def test_what_was_computed_is_found_again(api, both):
    long = [{"role": "user", "content": "What is 12 + 7? " * 20}]
    answered(api, both.c, long, max_tokens=1)
    assert answered(api, both.c, long, max_tokens=1).usage.cached_tokens >= 128


def test_requests_that_are_refused(api, both):
    for options, words in (
        ({"budget": (5, "x" * 2000)}, "thinking_budget: message: expected at most 1024"),
        ({"stop": [""]}, "stop: expected a string of at least one character"),
        ({"stop": ["x" * 2000]}, "stop: expected at most 1024"),
        ({"stop": [str(n) for n in range(65)]}, "at most 64 strings"),
        ({"logprobs": 21}, "logprobs: top: expected 0 to 20"),
        ({"prompt_logprobs": 21}, "prompt_logprobs: top: expected 0 to 20"),
        ({"thinking": None, "sampling": {"temperature": -1}}, "temperature: expected"),
    ):
        with pytest.raises(CallError, match=words) as raised:
            answered(api, both.c, HI, **options)
        assert raised.value.status == BAD_ARGUMENT
    with pytest.raises(CallError, match="token ids from 0 to"):
        answered(api, both.c, [10**6])
    with pytest.raises(CallError, match="fewer than 1024 tokens"):
        answered(api, both.c, [1] * 1024)


def test_token_ids_alone(api, tiny_int4, seed):
    """Without the tokenizer: tokens are told, texts are refused."""
    model, texts = api.load(tiny_int4, context=64, texts=0), api.load(tiny_int4, context=64)
    found = answered(api, model, [5, 6, 7], seed=seed, max_tokens=8)
    assert found.tokens == answered(api, texts, [5, 6, 7], seed=seed, max_tokens=8).tokens
    assert set(found.events) == {"prompt", "token", "end"}
    for options in ({"stop": ["x"]}, {"tools": TOOLS}, {"budget": (1, "")}):
        with pytest.raises(CallError, match="q3e_settings_set_texts") as raised:
            answered(api, model, [5, 6, 7], **options)
        assert raised.value.status == UNSUPPORTED_MODEL
    for each in (model, texts):
        api.library.q3e_model_free(each)
