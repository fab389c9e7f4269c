"""Drafts change nothing that an answer is or says: tokens, text, log probabilities, usage, and how it ends."""

import pytest

import qwen3edge
from qwen3edge.errors import RequestError

QUESTIONS = ("What is 12 + 7?", "Which city is the capital of France? Say it three times.")
WAYS = {
    "greedy": {"temperature": 0},
    "sampled": {"temperature": 1.2, "top_k": 40, "seed": 11},
    "penalties": {
        "temperature": 0.8,
        "seed": 3,
        "repetition_penalty": 1.2,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.1,
    },
    "longer than it wants": {"temperature": 0, "ignore_eos": True, "max_tokens": 150},
    "ends at a token": {"temperature": 0, "ignore_eos": True, "max_tokens": 37},
    "ends at a string": {"temperature": 0, "ignore_eos": True, "max_tokens": 150, "stop": ["1", "is"]},
    "ends at an id": {"temperature": 0, "ignore_eos": True, "max_tokens": 150, "stop_token_ids": [30, 31, 32]},
    "no budget": {"temperature": 0, "thinking": True, "thinking_budget": 0},
    "a budget of 8": {"temperature": 0, "thinking": True, "thinking_budget": 8, "max_tokens": 60, "ignore_eos": True},
    "a message": {"temperature": 0, "thinking": True, "thinking_budget": 3, "thinking_budget_message": "Enough."},
    "log probabilities": {"temperature": 0, "logprobs": True, "top_logprobs": 3, "max_tokens": 60, "ignore_eos": True},
}


def said(model: qwen3edge.Model, question: str, way: str) -> tuple[object, ...]:
    answer = model.generate(question, **{"thinking": False, "max_tokens": 100, **WAYS[way]})
    pieces = "".join(answer)
    usage = answer.usage
    counts = (usage.prompt_tokens, usage.completion_tokens, usage.reasoning_tokens)
    return (
        tuple(answer.tokens),
        pieces,
        answer.reasoning,
        repr(answer.logprobs),
        counts,
        answer.finish_reason,
        answer.cut_by,
    )


@pytest.fixture(scope="module", params=["int8", "int4"])
def models(tiny_int4, request):
    settings = {"context": 512, "sequences": 2, "kv": request.param}
    with (
        qwen3edge.load(tiny_int4, **settings) as plain,
        qwen3edge.load(tiny_int4, draft_tokens=6, **settings) as drafting,
    ):
        yield plain, drafting
        assert drafting.engine.scheduler.counts["accepted_drafts"] > 50
        assert plain.engine.scheduler.counts["drafted"] == 0


@pytest.mark.parametrize("way", list(WAYS))
def test_the_same_answers(models, way):
    plain, drafting = models
    for question in QUESTIONS:
        assert said(drafting, question, way) == said(plain, question, way)


def test_a_session_goes_on(models):
    """What was cut off behind a wrong draft leaves nothing behind."""
    found = []
    for model in models:
        session = model.session()
        messages: list[dict[str, str]] = []
        for question in (*QUESTIONS, *QUESTIONS):
            messages.append({"role": "user", "content": question})
            text = session.generate(messages, thinking=False, temperature=0, max_tokens=40).read()
            messages.append({"role": "assistant", "content": text})
        found.append(messages)
    assert found[0] == found[1]


def test_the_plan_counts_them(tiny_int4):
    plans = [qwen3edge.plan(tiny_int4, context=512, draft_tokens=count) for count in (0, 100)]
    assert [plan.draft_tokens for plan in plans] == [0, 100]
    vocabulary = 4 * 100 * 512
    assert plans[1].program - plans[0].program > vocabulary


@pytest.mark.parametrize("wrong", [-1, 257, 1.5, "8", True])
def test_settings_out_of_range(tiny_int4, wrong):
    with pytest.raises(RequestError, match="draft_tokens"):
        qwen3edge.plan(tiny_int4, draft_tokens=wrong)
