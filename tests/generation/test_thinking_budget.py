"""Thoughts that are cut after so many tokens, and an answer that follows."""

import pytest

import qwen3edge
from qwen3edge.errors import RequestError
from qwen3edge.generation.options import BUDGET_MESSAGE
from tests.generation.fakes import CALL, CALLED, CLOSE, END, OPEN, FakeCore, ids, make_session, plain_tokenizer

HI = [{"role": "user", "content": "hi"}]
SUM = [{"role": "user", "content": "What is 47 + 38?"}]
OPENED = "{{ messages[0].content }}<|im_start|>assistant\n<think>\n"
CLOSED = "{{ messages[0].content }}<|im_start|>assistant\n"
MODEL = {"context": 512, "threads": 1, "sequences": 4, "seed": 1}


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


@pytest.mark.parametrize("budget", [0, 1, 8, 32])
@pytest.mark.parametrize("opened", [True, False], ids=["opened by the prompt", "opened by the model"])
def test_tags_that_are_no_tokens(budget, opened):
    """Nor are the tokens of theirs that stand in the answer thoughts."""
    script = [*([] if opened else ids("<think>")), *ids("x" * budget), *ids("It is 4."), END]
    session = make_session(FakeCore(script), OPENED if opened else CLOSED, make_tokenizer=plain_tokenizer)
    answer = session.generate(HI, thinking_budget=budget)
    assert (answer.read(), answer.reasoning) == ("It is 4.", "x" * budget)
    assert answer.usage.reasoning_tokens == budget
    begin = len(script) - len("It is 4.") - 1
    assert answer.tokens == [*script[:begin], *ids("</think>"), *script[begin:]]


@pytest.mark.parametrize("budget", range(2, 12))
def test_a_budget_that_ends_within_the_models_own_tag(budget):
    """Thoughts are never more; and what was written of the tag by then is none."""
    script = [*ids("<think>ab</think>"), *ids("yes"), END]
    session = make_session(FakeCore(script), CLOSED, make_tokenizer=plain_tokenizer)
    answer = session.generate(HI, thinking_budget=budget)
    content = answer.read()
    assert answer.usage.reasoning_tokens <= budget and content.endswith("yes")
    own = budget >= len("ab</think>")  # the tag was complete before
    assert answer.tokens.count(ids(">")[0]) == (2 if own else 3)
    assert answer.reasoning == ("ab<" if budget == 3 else "ab")
    assert (content == "yes") is (own or budget == 2)


def test_thoughts_that_end_by_themselves():
    script = [OPEN, *ids("abc"), CLOSE, *ids("yes"), *ids("!"), END]
    answer = make_session(FakeCore(script), "{{ messages[0].content }}").generate(HI, thinking_budget=8)
    assert (answer.read(), answer.reasoning, answer.usage.reasoning_tokens) == ("yes!", "abc", 3)
    assert answer.tokens == script


def test_no_thoughts_within_the_content():
    """A tag there is text, and nothing is counted behind it."""
    script = [OPEN, *ids("a"), CLOSE, *ids("yes"), OPEN, *ids("bcde"), CLOSE, *ids("!"), END]
    answer = make_session(FakeCore(script), CLOSED).generate(HI, thinking_budget=2)
    assert (answer.read(), answer.reasoning) == ("yes<think>bcde</think>!", "a")
    assert answer.tokens == script and answer.usage.reasoning_tokens == 1


BROKEN = ['{"name" 5}', '{"name": "f", "arguments": [1]}', "x"]


@pytest.mark.parametrize("budget", [1, 2, 3, 50])
@pytest.mark.parametrize("body", BROKEN)
def test_a_call_that_broke_in_thoughts(body, budget):
    """The budget waits for the end of a call, and then the call was thought: only by its tokens there are more thoughts
    than the budget, and their end comes at once.
    """
    script = [OPEN, *ids("a"), CALL, *ids(body), CALLED, *ids("bcdefgh"), END]
    answer = make_session(FakeCore(script), CLOSED).generate(HI, thinking_budget=budget, tools=[{"name": "f"}])
    answer.read()
    counted, end = answer.usage.reasoning_tokens, answer.tokens.index(CLOSE) if CLOSE in answer.tokens else None
    if budget == 1:  # before the call
        assert end == 2 and counted == 1 and answer.broken_calls
    elif budget == 50:
        assert end is None and answer.reasoning == f"a<tool_call>{body}</tool_call>bcdefgh"
    else:
        assert budget <= counted == end - 1 <= 1 + len([CALL, *ids(body), CALLED])
        assert answer.reasoning.startswith("a<tool_call>") and len(answer.broken_calls) == 1


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
