"""Texts that go on: every form of a prompt, what evaluation harnesses read, and what stands between two texts."""

from operator import itemgetter

import numpy as np
import pytest

from qwen3edge.generation.model import load
from qwen3edge.server.openai import completions
from tests.generation.fakes import CLOSE, END, OPEN, ids
from tests.server.conftest import SETTINGS
from tests.server.scripted import events

GREEDY = {"temperature": 0, "seed": 1}


def complete(client, prompt, **body):
    """The choices, which are the same as a whole and from a stream."""
    asked = {"prompt": prompt, **GREEDY, **body}
    whole = client.post("/v1/completions", json=asked)
    assert whole.status_code == 200, whole.text
    found = whole.json()
    asked = {**asked, "stream": True, "stream_options": {"include_usage": True}}
    *chunks, last = events(client.post("/v1/completions", json=asked).text)
    assert last["choices"] == [] and all(chunk["usage"] is None for chunk in chunks)
    assert {**last["usage"], "prompt_tokens_details": 0} == {**found["usage"], "prompt_tokens_details": 0}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert found["object"] == chunks[0]["object"] == "text_completion"
    assert joined(chunks) == found["choices"]
    return found["choices"]


def joined(chunks):
    choices = {}
    for chunk in chunks:
        (part,) = chunk["choices"]
        choice = choices.setdefault(part["index"], {**part, "text": "", "logprobs": None, "finish_reason": None})
        assert choice["finish_reason"] is None
        choice["text"] += part["text"]
        choice["finish_reason"] = part["finish_reason"]
        if part["logprobs"]:
            lists = choice["logprobs"] or {name: [] for name in part["logprobs"]}
            choice["logprobs"] = {name: lists[name] + part["logprobs"][name] for name in lists}
    return [choices[index] for index in sorted(choices)]


def refusal(client, **body):
    response = client.post("/v1/completions", json=body)
    assert response.status_code == 400, response.text
    return response.json()["error"]


def say(scripted, script, prompt="hi", **body):
    """Two requests say the script once each."""

    def again():
        scripted.core.script, scripted.core.said = script, 0

    again()
    found = scripted.client.post("/v1/completions", json={"prompt": prompt, **GREEDY, **body}).json()
    again()
    streamed = scripted.client.post("/v1/completions", json={"prompt": prompt, **GREEDY, **body, "stream": True}).text
    assert joined(events(streamed)) == found["choices"]
    (choice,) = found["choices"]
    return {**choice, "usage": found["usage"]}


@pytest.fixture(scope="module")
def model(tiny_int4):
    with load(tiny_int4, **SETTINGS) as loaded:
        yield loaded


def test_every_form_of_a_prompt(tiny, model):
    texts = ["One, two, three,", "The name of"]
    tokens = [model.tokenizer.encode(text) for text in texts]
    expected = [model.generate(text, raw=True, verbatim=True, max_tokens=16, **GREEDY).read() for text in texts]
    for prompt in (texts, tokens):
        assert [choice["text"] for choice in complete(tiny, prompt)] == expected
        for one, text in zip(prompt, expected, strict=True):
            (choice,) = complete(tiny, one)
            assert (choice["text"], choice["finish_reason"], choice["logprobs"]) == (text, "length", None)


def test_several_answers_to_several_prompts(tiny):
    body = {"temperature": 2, "top_k": 0, "top_p": 1, "seed": 7, "n": 2, "max_tokens": 12}
    choices = complete(tiny, ["a b c", "1 2 3"], **body)
    assert [choice["index"] for choice in choices] == [0, 1, 2, 3] and len({choice["text"] for choice in choices}) == 4
    assert choices[2:] == [
        {**choice, "index": index + 2} for index, choice in enumerate(complete(tiny, "1 2 3", **body))
    ]
    usage = tiny.post("/v1/completions", json={"prompt": ["a b c", "1 2 3"], **body}).json()["usage"]
    alone = [tiny.post("/v1/completions", json={"prompt": each, **body}).json()["usage"] for each in ("a b c", "1 2 3")]
    assert usage["prompt_tokens"] == sum(each["prompt_tokens"] for each in alone)
    assert usage["completion_tokens"] == sum(each["completion_tokens"] for each in alone)


def test_thoughts_are_text(scripted):
    found = say(scripted, [OPEN, *ids("hm"), CLOSE, *ids("\n\nyes"), END])
    assert (found["text"], found["finish_reason"]) == ("<think>hm</think>\n\nyes", "stop")
    assert say(scripted, [*ids("hm"), CLOSE, END], "x<think>")["text"] == "hm</think>"
    assert say(scripted, [OPEN, *ids("ab#c"), END], stop="#")["text"] == "<think>ab"


def test_echo(tiny, scripted):
    (choice,) = complete(tiny, "One, two,", echo=True, max_tokens=4)
    (without,) = complete(tiny, "One, two,", max_tokens=4)
    assert choice["text"] == "One, two," + without["text"]
    assert say(scripted, [*ids("o"), END], [*ids("hé"), END, *ids("ll")], echo=True)["text"] == "hé<|im_end|>llo"


def test_logprobs_stand_side_by_side(scripted):
    """The first token of a prompt has none; the token that ends the answer has one, and no text."""
    read = ids("é")  # what the model says behind each token of the prompt but the last
    found = say(scripted, [*read, *ids("yé"), END], "aé", echo=True, logprobs=2)
    lists = found["logprobs"]
    halves = ["bytes:\\xc3", "bytes:\\xa9"]
    assert lists["tokens"] == ["a", *halves, "y", *halves, "<|im_end|>"]
    assert lists["text_offset"] == [0, 1, 1, 2, 3, 3, 4] and found["text"] == "aéyé"
    assert lists["token_logprobs"][0] is lists["top_logprobs"][0] is None
    assert all(logprob <= 0 for logprob in lists["token_logprobs"][1:])
    assert all(2 <= len(top) <= 3 and name in top
               for name, top in zip(lists["tokens"][1:], lists["top_logprobs"][1:], strict=True))  # fmt: skip
    assert say(scripted, [*ids("y"), END], logprobs=0)["logprobs"]["top_logprobs"] == [{"y": 0.0}, {"<|im_end|>": 0.0}]


def test_no_tokens_at_all(tiny):
    """Of a prompt alone its logarithms: what harnesses ask for."""
    body = {"echo": True, "logprobs": 1, "max_tokens": 0}
    (choice,) = complete(tiny, "One, two, three.", **body)
    (more,) = complete(tiny, "One, two, three.", **{**body, "max_tokens": 1})
    assert (choice["text"], choice["finish_reason"]) == ("One, two, three.", "length")
    assert choice["logprobs"] == {name: values[:-1] for name, values in more["logprobs"].items()}
    found = tiny.post("/v1/completions", json={"prompt": "One", "max_tokens": 0}).json()
    assert found["choices"][0]["text"] == "" and found["usage"]["completion_tokens"] == 0
    (one,) = complete(tiny, [5], **body)
    assert one["logprobs"]["token_logprobs"] == [None]


def test_what_lm_evaluation_harness_asks_for(tiny, model):
    """local-completions sends such a body and reads the answer so (lm_eval 0.4.13, LocalCompletionsAPI)."""
    contexts, ends = ["What is 12 + 7?", "The city of"], [" 19", " Prague, and no other"]
    prompts = [(model.tokenizer.encode(a), model.tokenizer.encode(b)) for a, b in zip(contexts, ends, strict=True)]
    body = {"model": "tiny", "prompt": [a + b for a, b in prompts], "temperature": 0, "max_tokens": 1, "logprobs": 1,
            "seed": 1234, "echo": True}  # fmt: skip
    outputs = tiny.post("/v1/completions", json=body).json()
    for choice, (context, end) in zip(sorted(outputs["choices"], key=itemgetter("index")), prompts, strict=True):
        found = choice["logprobs"]["token_logprobs"][len(context) : -1]
        tops = choice["logprobs"]["top_logprobs"][len(context) : -1]
        usable = model.tokenizer.vocabulary_size  # of the model's rows
        logits = model.logits(context + end)[len(context) - 1 : -1, :usable].astype(np.float64)
        logprobs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        np.testing.assert_allclose(found, logprobs[range(len(end)), end], atol=1e-5)
        greedy = all(logprob == max(top.values()) for logprob, top in zip(found, tops, strict=True))
        assert greedy == (logits.argmax(-1).tolist() == end)


def test_fill_in_the_middle(tiny):
    """The same prompt as one that names the tokens; names of tokens in the texts are text."""
    written = "<|fim_prefix|>One, two,<|fim_suffix|> four.<|fim_middle|>"
    expected = tiny.post("/v1/completions", json={"prompt": written, **GREEDY}).json()
    found = tiny.post("/v1/completions", json={"prompt": "One, two,", "suffix": " four.", **GREEDY}).json()
    assert found["usage"]["prompt_tokens"] == expected["usage"]["prompt_tokens"]
    assert expected["choices"][0]["text"].startswith(found["choices"][0]["text"])
    assert complete(tiny, "One, two,", suffix=" four.")[0] == found["choices"][0]
    named = tiny.post("/v1/completions", json={"prompt": "<|fim_middle|>", "suffix": "", **GREEDY}).json()
    assert named["usage"]["prompt_tokens"] > 4


def test_a_model_that_cannot_fill_in(scripted):
    error = refusal(scripted.client, prompt="a", suffix="b")
    assert error["code"] == "unsupported" and "<|fim_prefix|>" in error["message"]


def test_other_tokens_end_a_middle(tiny, model):
    pad = model.tokenizer.token_id("<|fim_pad|>")
    for suffix, reason in [("b", "stop"), (None, "length")]:
        body = {"prompt": "a", "suffix": suffix, "logit_bias": {str(pad): 100}, "max_tokens": 3, **GREEDY}
        (choice,) = tiny.post("/v1/completions", json=body).json()["choices"]
        assert choice["finish_reason"] == reason


@pytest.mark.parametrize(
    ("body", "parameter", "said"),
    [
        ({"prompt": "a", "best_of": 2}, "best_of", "expected n, 1"),
        ({"prompt": "a", "suffix": "b", "echo": True}, "suffix", "no echo"),
        ({"prompt": ["a"], "suffix": "b"}, "suffix", "one text"),
        ({"prompt": []}, "prompt", "at least one"),
        ({}, "prompt", "found nothing"),
        ({"prompt": 5}, "prompt", "valid string, or input should be a valid list"),
        ({"prompt": [1, "a"]}, "prompt", "found"),
        ({"prompt": "a", "logprobs": 6}, "logprobs", "less than or equal to 5"),
        ({"prompt": "a", "max_tokens": -1}, "max_tokens", "greater than or equal to 0"),
        ({"prompt": "a", "tools": []}, "tools", "does not know"),
        ({"prompt": "a", "stop": 3}, "stop", "valid string"),
        ({"prompt": ""}, None, "at least one token"),
        ({"prompt": [10**12]}, None, "token ids from 0"),
        ({"prompt": ["a"] * 65, "n": 2}, None, "at most 128 answers"),
    ],
)  # fmt: skip
def test_what_is_refused(tiny, body, parameter, said):
    error = refusal(tiny, **body)
    assert error["param"] == parameter and said in error["message"]


def test_more_logprobs_of_prompts_than_the_memory_for_them(tiny, monkeypatch):
    monkeypatch.setattr(completions, "MOST_PROMPT_LOGPROBS", 20)
    body = {"echo": True, "logprobs": 1, "max_tokens": 0}
    assert refusal(tiny, prompt="a b c d e f g h i j k", **body)["param"] == "logprobs"
    assert refusal(tiny, prompt=["a b c d e f"] * 2, **body, stream=True)["param"] == "logprobs"
    complete(tiny, "a b c", **body)
    assert tiny.app.state.service.models.find(None).users == 0


def test_a_long_prompt_is_told_in_parts(tiny, monkeypatch):
    body = {"echo": True, "logprobs": 1, "max_tokens": 2}
    (whole,) = complete(tiny, "One, two, three, four.", **body)
    monkeypatch.setattr(completions, "_AT_ONCE", 2)
    (parts,) = complete(tiny, "One, two, three, four.", **body)
    assert parts == whole
    assert whole["logprobs"]["text_offset"] == sorted(whole["logprobs"]["text_offset"])


def test_streams_without_usage(scripted):
    scripted.core.script, scripted.core.said = [*ids("yes"), END], 0
    text = scripted.client.post("/v1/completions", json={"prompt": "hi", "stream": True, **GREEDY}).text
    assert all("usage" not in chunk for chunk in events(text))
