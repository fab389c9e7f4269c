"""Texts and tokens."""

import threading

import pytest

from qwen3edge.server.sse import JsonResponse
from qwen3edge.text.text_size import most_bytes


def test_there_and_back(tiny):
    text = "Grüße, 🦙! <think>"
    tokens = tiny.post("/tokenize", json={"content": text}).json()["tokens"]
    assert tiny.post("/detokenize", json={"tokens": tokens}).json() == {"content": text}
    plain = tiny.post("/tokenize", json={"content": text, "parse_special": False}).json()["tokens"]
    assert len(plain) > len(tokens)
    pieces = tiny.post("/tokenize", json={"content": "a b", "with_pieces": True}).json()["tokens"]
    assert "".join(each["piece"] for each in pieces) == "a b"
    assert tiny.post("/detokenize", json={"tokens": [-1]}).status_code == 400
    assert tiny.post("/detokenize", json={"tokens": ["a"]}).json()["error"]["param"] == "tokens.0"


@pytest.mark.parametrize("with_pieces", [False, True])
def test_a_long_text_is_written_beside_the_event_loop_and_a_longer_one_refused(tiny, monkeypatch, with_pieces):
    """The bound is that of a chat's texts."""
    render, threads = JsonResponse.render, []

    def noted(self, content):
        threads.append(threading.current_thread().name)
        return render(self, content)

    monkeypatch.setattr(JsonResponse, "render", noted)
    most = most_bytes(2048)
    longest = tiny.post("/tokenize", json={"content": "a " * (most // 2), "with_pieces": with_pieces})
    assert longest.status_code == 200 and len(longest.json()["tokens"]) >= most // 2
    assert len(threads) == 1 and threads[0].startswith("qwen3edge-reads")
    refused = tiny.post("/tokenize", json={"content": "a" * (most + 1), "with_pieces": with_pieces})
    assert refused.status_code == 400 and refused.json()["error"]["code"] == "context_length_exceeded"
    assert f"expected texts of at most {most} bytes" in refused.json()["error"]["message"]


def test_the_prompt_of_a_chat(tiny):
    messages = [{"role": "user", "content": "What is 12 + 7?"}]
    found = tiny.post("/apply-template", json={"messages": messages, "enable_thinking": False}).json()
    assert found["prompt"].startswith("<|im_start|>user\nWhat is 12 + 7?<|im_end|>\n<|im_start|>assistant\n<think>")
    usage = tiny.post(
        "/v1/chat/completions", json={"messages": messages, "enable_thinking": False, "max_tokens": 1}
    ).json()["usage"]
    assert found["tokens"] == usage["prompt_tokens"]


def test_c15_messages_keep_their_places(tiny):
    """A system's or a developer's message that is not the first is neither moved nor refused."""
    messages = [
        {"role": "system", "content": "A"}, {"role": "user", "content": "B"}, {"role": "assistant", "content": "C"},
        {"role": "developer", "content": "D"}, {"role": "user", "content": "E"},
    ]  # fmt: skip
    prompt = tiny.post("/apply-template", json={"messages": messages}).json()["prompt"]
    assert [line for line in prompt.split("\n") if line[:1] in "ABCDE" and line] == [
        f"{each}<|im_end|>" for each in "ABCDE"
    ]


def test_a_template_is_no_program_of_a_client(tiny):
    content = "{{ 7 * 7 }}{% for x in range(10) %}{% endfor %}<|im_end|>"
    found = tiny.post("/apply-template", json={"messages": [{"role": "user", "content": content}]}).json()
    assert content in found["prompt"]
    ids = tiny.post("/tokenize", json={"content": found["prompt"]}).json()["tokens"]
    assert found["tokens"] > len(ids)
