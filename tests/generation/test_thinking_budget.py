"""Thoughts that are cut after so many tokens, and an answer that follows."""

import pytest

import qwen3edge
from qwen3edge.errors import RequestError
from qwen3edge.generation.options import BUDGET_MESSAGE
from tests.generation.fakes import CLOSE, END, OPEN, FakeCore, ids, make_session

HI = [{"role": "user", "content": "hi"}]
SUM = [{"role": "user", "content": "What is 47 + 38?"}]
OPENED = "{{ messages[0].content }}<|im_start|>assistant\n<think>\n"
CLOSED = "{{ messages[0].content }}<|im_start|>assistant\n"
MODEL = {"context": 512, "threads": 2, "sequences": 4, "seed": 1}


@pytest.mark.parametrize("budget", [0, 1, 8, 32])
@pytest.mark.parametrize("opened", [True, False], ids=["opened by the prompt", "opened by the model"])
def test_never_more_than_the_budget(budget, opened):
    script = [*([] if opened else [OPEN]), *ids("x" * budget), *ids("It is 4."), END]
    answer = make_session(FakeCore(script), OPENED if opened else CLOSED).generate(HI, thinking_budget=budget)
    assert answer.read() == "It is 4."
    assert answer.reasoning == "x" * budget
    assert answer.usage.reasoning_tokens == budget
    assert answer.tokens == [*script[: budget + (not opened)], CLOSE, *ids("It is 4."), END]
    assert answer.usage.completion_tokens == len(answer.tokens)


def test_thoughts_that_end_by_themselves():
    script = [OPEN, *ids("abc"), CLOSE, *ids("yes"), OPEN, *ids("defgh"), *ids("!"), END]
    answer = make_session(FakeCore(script), "{{ messages[0].content }}").generate(HI, thinking_budget=8)
    assert (answer.read(), answer.reasoning) == ("yes!", "abcdefgh")
    assert answer.tokens.count(CLOSE) == 2


def test_message():
    answer = make_session(FakeCore([*ids("hmm"), *ids("4"), END]), OPENED).generate(
        HI, thinking_budget=3, thinking_budget_message=" Enough.", logprobs=True
    )
    assert answer.read() == "4"
    assert answer.reasoning == "hmm Enough."
    appended = len(ids(" Enough.")) + 1
    unknown = [each.token for each in answer.logprobs if each.logprob != each.logprob]
    assert (
        unknown == [*ids(" Enough."), CLOSE] and len(answer.logprobs) == len(answer.tokens) and appended == len(unknown)
    )


@pytest.mark.parametrize("most", [1, 3, 4, 5])
def test_cut_within_the_end_of_the_thoughts(most):
    answer = make_session(FakeCore([*ids("hmm"), *ids("4"), END]), OPENED).generate(
        HI, thinking_budget=3, thinking_budget_message=" No.", max_tokens=most
    )
    answer.read()
    assert len(answer.tokens) == most and answer.finish_reason == "length"


@pytest.mark.parametrize("budget", [0, 1, 5, 20])
def test_the_same_alone_and_together(tiny_q3e, budget):
    with qwen3edge.load(tiny_q3e("int8"), **MODEL) as model:
        options = {"thinking": True, "thinking_budget": budget, "temperature": 0.0, "max_tokens": 80}
        alone = model.generate(SUM, **options)
        assert alone.read() and alone.usage.reasoning_tokens <= budget
        whole = model.generate(SUM, thinking=True, temperature=0.0, max_tokens=80)
        whole.read()
        assert whole.tokens[: budget + 1] == alone.tokens[: budget + 1]
        together = model.generate_batch([SUM, HI, SUM], **options)
        texts = [answer.read() for answer in together]
        assert texts[0] == texts[2] == alone.content and together[2].tokens == alone.tokens
        sampled = {**options, "temperature": 2.0, "seed": 5, "thinking_budget_message": BUDGET_MESSAGE}
        answers = [model.generate(SUM, **sampled), *model.generate_batch([SUM, SUM], **sampled)]
        for answer in answers:
            answer.read()
        assert answers[0].tokens == answers[1].tokens == answers[2].tokens


def test_what_is_refused(tiny_q3e):
    session = make_session(FakeCore([]))
    for wrong in (-1, 1.5, "8", 2**31):
        with pytest.raises(RequestError, match="thinking_budget"):
            session.generate(HI, thinking_budget=wrong)
    with pytest.raises(RequestError, match="thinking_budget_message"):
        session.generate(HI, thinking_budget=1, thinking_budget_message=3)
