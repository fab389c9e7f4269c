"""Ollama's chats and texts: what Home Assistant, Open WebUI, Cline and others rely on."""

import json
import threading

import pytest

from qwen3edge.server import sse
from tests.generation.fakes import CALL, CALLED, CLOSE, END, OPEN, ids
from tests.server.ollama.asking import joined_lines, lines, post, say
from tests.server.scripted import HI, TOOLS, Scripted

SAID = [CALL, *ids('{"name": "weather", "arguments": {"city": "K}ö{ln", "days": 2}}'), CALLED]
WEATHER = {"function": {"index": 0, "name": "weather", "arguments": {"city": "K}ö{ln", "days": 2}}}
THOUGHT = [OPEN, *ids("hm"), CLOSE, *ids("yes"), END]


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A server whose prompt has opened the thoughts, as Thinking-2507's."""
    template = "{{ messages[0].content }}<|im_start|>assistant\n<think>\n"
    with Scripted(tmp_path_factory.mktemp("opened"), template) as server:
        yield server


def test_a_chat(scripted):
    found = say(scripted, [*ids("yes"), END])
    assert found.pop("prompt_eval_count") > 10
    assert found == {
        "model": "scripted", "message": {"role": "assistant", "content": "yes"}, "done": True, "done_reason": "stop",
        "eval_count": 4,
    }  # fmt: skip


def test_thoughts_and_calls(scripted):
    """Arguments are an object, which Home Assistant takes as it is."""
    found = say(scripted, [OPEN, *ids("hm"), CLOSE, *ids("so"), *SAID, END], tools=TOOLS)
    assert found["message"] == {"role": "assistant", "thinking": "hm", "content": "so", "tool_calls": [WEATHER]}
    assert found["done_reason"] == "stop"
    other = post(scripted, [*SAID, END], tools=[*TOOLS, {"type": "web_search"}])
    assert other.headers["x-tools-left-out"] == "web_search"


def test_a_call_that_is_none(scripted):
    broken = '{"name": "weather", "arguments": {]'
    found = say(scripted, [CALL, *ids(broken), CALLED, END], tools=TOOLS)
    assert found["message"] == {"role": "assistant", "content": f"<tool_call>{broken}</tool_call>"}


def test_think(scripted, opened):
    """Left out it is the model's own way, which is not `false`; a model that always thinks is stopped from it."""
    sizes = {}
    for think in (None, True, "low", "high", "max", False):
        found = say(scripted, THOUGHT, think=think)
        assert found["message"] == {"role": "assistant", "content": "yes", "thinking": "hm"}
        sizes[think] = found["prompt_eval_count"]
    assert sizes[False] == sizes[None] + len("\n\n\n\n") + 2  # the prompt that switches it off
    assert {sizes[think] for think in (True, "low", "high", "max")} == {sizes[None]}
    assert say(opened, [*ids("yes"), END], think=False)["message"] == {"role": "assistant", "content": "yes"}
    assert say(opened, [*ids("hm"), CLOSE, *ids("yes"), END])["message"]["thinking"] == "hm"
    for think in ("much", 1, []):
        assert post(scripted, [END], think=think).status_code == 400


def test_a_model_that_does_not_think_answers(tmp_path):
    """Cline guesses by names which do."""
    with Scripted(tmp_path, "{{ messages[0].content }}<|im_start|>assistant\n") as server:
        for think in (None, True, "high", False):
            found = say(server, [*ids("yes"), END], think=think)
            assert found["message"] == {"role": "assistant", "content": "yes"}


def test_c21_c22_format(scripted):
    """Schemas hold the content, with thoughts and without."""
    schema = {
        "type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False
    }  # fmt: skip
    found = say(scripted, [OPEN, *ids("hm"), CLOSE, *ids('{"a": 4}'), END], format=schema)["message"]
    assert (found["thinking"], json.loads(found["content"])) == ("hm", {"a": 4})
    for form in (schema, "json"):
        found = say(scripted, [*ids("no"), END], format=form, think=False, options={"num_predict": 1})
        assert found["message"]["content"] == "{" and found["done_reason"] == "length"
    assert say(scripted, [*ids("no"), END], format="")["message"]["content"] == "no"
    assert "format" in post(scripted, [END], format="xml").json()["error"]
    refused = post(scripted, [END], format={"type": "array", "uniqueItems": True})
    assert refused.status_code == 400 and "uniqueItems" in refused.json()["error"]


def test_options(scripted):
    found = say(scripted, [*ids("one END two"), END], options={"stop": ["END"]})
    assert (found["message"]["content"], found["done_reason"]) == ("one ", "stop")
    found = say(scripted, [*ids("one two"), END], options={"num_predict": 3.0})
    assert (found["message"]["content"], found["done_reason"], found["eval_count"]) == ("one", "length", 3)
    machine = {
        "num_gpu": 99, "main_gpu": 0, "num_thread": 8, "num_batch": 512, "num_keep": 4, "numa": False, "low_vram": True,
        "use_mmap": True, "use_mlock": False, "f16_kv": True,
    }  # fmt: skip
    sampling = {
        "seed": -1, "top_k": -1, "top_p": 0.9, "min_p": 0, "repeat_penalty": 1.1, "repeat_last_n": -1,
        "presence_penalty": 0, "frequency_penalty": 0, "num_predict": -1,
    }  # fmt: skip
    found = say(scripted, [*ids("yes"), END], options={**machine, **sampling}, keep_alive="5m", truncate=True)
    assert found["message"]["content"] == "yes"
    assert say(scripted, [*ids("yes"), END], options={"repeat_last_n": 64})["message"]["content"] == "yes"


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"options": {"mirostat": 2}}, "options.mirostat"), ({"options": {"num_predict": 0}}, "options.num_predict"),
        ({"options": {"repeat_penalty": 1.2, "repeat_last_n": 64}}, "options.repeat_last_n"),
        ({"options": {"num_ctx": 0}}, "options.num_ctx"), ({"options": {"top_p": 2}}, "top_p"),
        ({"options": {"temperature": "hot"}}, "options.temperature"), ({"options": {"top_k": 2.5}}, "options.top_k"),
        ({"keep_alive": "soon"}, "keep_alive"), ({"template": "{{ .Prompt }}"}, "template"),
        ({"context": [1]}, "context"),
        ({"messages": [{"role": "user", "content": "a", "images": ["aGk="]}]}, "messages[0].images"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "image_url"),
        ({"top_logprobs": 2}, "top_logprobs"),
    ],
)  # fmt: skip
def test_what_is_refused_by_name(scripted, body, name):
    response = post(scripted, [END], **body)
    assert response.status_code == 400 and name in response.json()["error"]
    assert list(response.json()) == ["error"]


def test_c36_num_ctx_is_an_upper_bound(scripted):
    """A larger one is harmless; a prompt that does not fit is a 400 with both sizes, and nothing of it is cut off."""
    asked = [{"role": "user", "content": "a" * 100}]
    found = say(scripted, [*ids("yes"), END], messages=asked, options={"num_ctx": 131072.0})
    prompt = found["prompt_eval_count"]
    assert found["message"]["content"] == "yes"
    refused = post(scripted, [END], messages=asked, options={"num_ctx": prompt})
    assert refused.status_code == 400
    assert f"fewer than {prompt} tokens, which the request allows, found {prompt}" in refused.json()["error"]
    found = say(scripted, [*ids("yes" * 9), END], messages=asked, options={"num_ctx": prompt + 3})
    assert (found["message"]["content"], found["done_reason"]) == ("yes", "length")
    found = say(scripted, [*ids("yes"), END], messages=asked, options={"num_ctx": prompt + 9, "num_predict": 2})
    assert found["message"]["content"] == "ye"
    refused = post(scripted, [END], messages=[{"role": "user", "content": "a" * 500}], options={"num_ctx": 8192})
    assert refused.status_code == 400 and "fewer than 400 tokens (the context), found 5" in refused.json()["error"]


def test_the_history_of_home_assistant(scripted):
    """Contents that are null, calls with objects, results without an id."""
    messages = [
        {"role": "system", "content": "You are a voice assistant."}, {"role": "user", "content": "Lights on!"},
        {"role": "assistant", "content": None, "thinking": "hm", "images": [],
         "tool_calls": [{"function": {"name": "HassTurnOn", "arguments": {"area": "kitchen"}}}]},
        {"role": "tool", "content": '{"data": {"success": true}, "error": null}'},
    ]  # fmt: skip
    settings = {"options": {"num_ctx": 8192.0}, "keep_alive": -1, "think": False, "format": None, "tools": TOOLS}
    assert say(scripted, [*ids("They are on."), END], messages=messages, **settings)["message"]["content"]


def test_names_of_tools_in_results(scripted, monkeypatch):
    """Cline's results carry tool_name."""
    seen = []
    monkeypatch.setattr(
        "qwen3edge.generation.model.Model.generate_batch",
        lambda model, requests, n, **options: seen.extend(requests) or (_ for _ in ()).throw(KeyError),
    )
    result = {"role": "tool", "tool_name": "weather", "content": "sunny"}
    assert post(scripted, [END], messages=[*HI, result]).status_code == 500
    assert seen == [[*HI, {**result, "name": "weather"}]]


def test_names_with_and_without_latest(scripted):
    for name in ("scripted", "scripted:latest"):
        assert say(scripted, [*ids("yes"), END], model=name)["model"] == name
    refused = post(scripted, [END], model="llama3.2")
    assert refused.status_code == 404 and "scripted" in refused.json()["error"]


def test_logprobs(scripted):
    found = say(scripted, THOUGHT, logprobs=True, top_logprobs=2)["logprobs"]
    assert "".join(each["token"] for each in found).endswith("yes") and len(found[-1]["top_logprobs"]) == 2


def test_c39_an_error_in_a_stream(scripted):
    scripted.core.failing = RuntimeError("broken")
    try:
        response = post(scripted, [*ids("yes"), END])
    finally:
        scripted.core.failing = None
    last = lines(response.text)[-1]
    assert list(last) == ["error"] and "broken" not in response.text
    assert say(scripted, [*ids("yes"), END])["message"]["content"] == "yes"


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
def test_c40_a_long_prefill_is_not_silent(scripted, monkeypatch, path):
    """What comes meanwhile is a line like others: clients know no other."""
    monkeypatch.setattr(sse, "KEEP_ALIVE_SECONDS", 0.01)
    forward = scripted.core.forward

    def slow(*arguments, **keywords):
        threading.Event().wait(0.05)
        return forward(*arguments, **keywords)

    monkeypatch.setattr(scripted.core, "forward", slow)
    found = lines(post(scripted, [*ids("yes"), END], path).text)
    said = [each.get("message", each).get("content", each.get("response")) for each in found]
    assert said.count("") > 3 and "".join(said) == "yes"
    joined_lines(found)


def test_a_text(scripted):
    found = say(scripted, THOUGHT, "/api/generate", system="Be short.")
    assert (found["response"], found["thinking"], found["done_reason"]) == ("yes", "hm", "stop")
    longer = found["prompt_eval_count"]
    assert say(scripted, THOUGHT, "/api/generate")["prompt_eval_count"] < longer


def test_a_raw_text(scripted):
    """No template around it."""
    found = say(scripted, [*ids("yes"), END], "/api/generate", prompt="<|im_start|>abc", raw=True)
    assert (found["response"], found["prompt_eval_count"]) == ("yes", 4)
    for body, name in (({"raw": True, "system": "x"}, "system"), ({"images": ["aGk="]}, "images"),
                       ({"template": "x"}, "template"), ({"context": [1, 2]}, "context")):  # fmt: skip
        refused = post(scripted, [END], "/api/generate", **body)
        assert refused.status_code == 400 and name in refused.json()["error"]


def test_a_suffix(scripted, tiny):
    """Where the vocabulary has what asks for the text between two: Qwen's has, the scripted model's has not."""
    asked = {"prompt": "def f(<|im_end|>", "suffix": "return x", "stream": False, "options": {"num_predict": 4}}
    refused = scripted.client.post("/api/generate", json=asked)
    assert refused.status_code == 400 and "<|fim_prefix|>" in refused.json()["error"]
    found = tiny.post("/api/generate", json=asked).json()
    texts = [tiny.post("/tokenize", json={"content": each, "parse_special": False}).json()["tokens"]
             for each in (asked["prompt"], asked["suffix"])]  # fmt: skip
    assert found["prompt_eval_count"] == 3 + sum(map(len, texts)) and found["eval_count"] <= 4


def test_loading_and_unloading(scripted):
    """A request that asks nothing."""
    for path, part in (("/api/chat", "message"), ("/api/generate", "response")):
        for body in ({}, {"keep_alive": "10m"}):
            found = scripted.client.post(path, json={"model": "scripted", **body}).json()
            assert (found["done"], found["done_reason"]) == (True, "load") and part in found


def test_on_a_model(tiny):
    asked = {"model": "tiny", "messages": [{"role": "user", "content": "What is 12 + 7?"}], "stream": False}
    found = tiny.post("/api/chat", json={**asked, "think": False, "options": {"num_predict": 40}}).json()
    assert found["message"]["content"] and found["eval_duration"] > 0 and found["total_duration"] > 0
    answers = [
        tiny.post("/api/chat", json={**asked, "options": {"seed": 5, "temperature": 2, "num_predict": 9}}).json()
        for _ in range(2)
    ]
    assert answers[0]["message"] == answers[1]["message"]
