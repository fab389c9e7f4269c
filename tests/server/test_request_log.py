"""Texts in the log: none, unless somebody has said so; and then none that does anything to who reads it."""

import logging

import pytest

from qwen3edge.server import request_log
from tests.generation.fakes import CALL, CALLED, CLOSE, END, OPEN, ids
from tests.server.scripted import TOOLS

SECRET = "the text of a client"
WILD = "a\nb\x1b[2J\u202e\u2028 \x85\r'\" Grüße 你好"


def ask(scripted, text, script, **body):
    return scripted.post(script, messages=[{"role": "user", "content": text}], **body)


def test_nothing_is_written_by_itself(scripted, caplog):
    """Nor where a program's own log tells everything."""
    caplog.set_level(logging.DEBUG)
    assert ask(scripted, SECRET, [*ids("yes"), END]).status_code == 200
    assert SECRET not in caplog.text and not request_log.is_on()


@pytest.mark.parametrize("stream", [True, False])
def test_prompts_and_answers(scripted, noted, stream):
    ask(scripted, SECRET, [OPEN, *ids("hm"), CLOSE, *ids("yes"), END], stream=stream)
    prompt, answer = noted()
    number = prompt.partition(" ")[0]
    assert prompt.startswith(f"{number} prompt '<|im_start|>user\\n{SECRET}<|im_end|>")
    assert answer.startswith(f"{number} answer (stop) '<think>hm</think>yes")
    ask(scripted, SECRET, [*ids("yes"), END])
    assert not noted()[2].startswith(f"{number} ")


def test_one_line_of_visible_characters_each(scripted, noted):
    ask(scripted, WILD, [*ids(WILD), END])
    lines = noted()
    assert len(lines) == 2 and all(line.isprintable() and "Grüße 你好" in line for line in lines)
    assert all(repr(WILD)[1:-1] in line for line in lines)


def test_calls_that_were_none(scripted, noted):
    ask(scripted, "hi", [CALL, *ids('{"name": "weather", "arguments": {]'), CALLED, END], tools=TOOLS)
    assert len([line for line in noted() if "broken call: " in line]) == 1


def test_texts_of_embeddings(tiny, noted):
    tiny.post("/v1/embeddings", json={"input": [f"{SECRET} {number}" for number in range(2)]})
    assert [SECRET in line for line in noted()] == [True, True]


def test_a_server_says_at_its_start_that_it_writes_them(serve):
    server = serve("--log-requests")
    server.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": SECRET}], "max_tokens": 2})
    server.process.terminate()
    _, said = server.process.communicate(timeout=60)
    first, prompt, answer = said.splitlines()
    assert first == "qwen3edge: --log-requests: what clients ask and are answered is logged"
    assert SECRET in prompt and " 1 answer (length) " in answer
