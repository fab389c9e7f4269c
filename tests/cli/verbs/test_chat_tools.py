"""Tools in `qwen3edge chat`: calls are shown, and their results are typed."""

from __future__ import annotations

import json

import pytest

from tests.cli.command import one_line, run
from tests.cli.terminal import plain
from tests.cli.verbs.test_chat import GREEDY, chat  # noqa: F401

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [
    {
        "type": "function",
        "function": {"name": "get_weather", "description": "Get the weather of a city", "parameters": CITY},
    }
]
ASKED = "What is the weather in Prague?"
RESULT = '/result {"city": "Prague", "temperature": 29, "sky": "foggy"}'
CALL = 'get_weather {"city": "Prague"}'


@pytest.fixture
def tools(tmp_path):
    path = tmp_path / "tools.json"
    path.write_text(json.dumps(TOOLS), "utf-8")
    return path


def test_calls_and_their_results(tiny_q3e, tools):
    lines = f"{ASKED}\n{RESULT}\n/set\n/stats\nWhat is 12 + 7?\n"
    result = run("chat", tiny_q3e("int8"), *GREEDY, "--tools", tools, stdin=lines)
    assert result.returncode == 0, result.stderr
    said = result.stdout.split("\n")
    assert said[1] == CALL and "foggy" in said[2] and "29" in said[2]
    assert "tools (1)" in result.stdout and "1 turns" in result.stdout and "19" in said[-2]


def test_on_a_terminal(chat, tools):  # noqa: F811
    terminal = chat(*GREEDY, "--tools", tools)
    terminal.type(f"{ASKED}\r")
    shown = plain(terminal.prompt())
    assert CALL in shown and "/result TEXT" in shown
    terminal.type(f"{RESULT}\r")
    assert "foggy" in plain(terminal.prompt())
    terminal.type("/help\r")
    assert "/result TEXT" in plain(terminal.prompt())
    assert terminal.leave() == 0


def test_a_result_without_a_call(tiny_q3e, tools):
    result = run("chat", tiny_q3e("int8"), *GREEDY, "--tools", tools, stdin="/result 5\nWhat is 3 + 4?\n/result 5\n")
    assert result.returncode == 2 and result.stdout.startswith("3 + 4 = ")
    assert result.stderr.count("/result: expected a call without a result, found none") == 2


def test_a_question_in_place_of_a_result(tiny_q3e, tools):
    result = run("chat", tiny_q3e("int8"), *GREEDY, "--tools", tools, stdin=f"{ASKED}\nWhat is 12 + 7?\n")
    assert result.returncode == 0 and "19" in result.stdout.splitlines()[-1]


def test_a_call_that_must_come_comes_once(tiny_q3e, tools):
    """Behind its result the model answers, though it had to call."""
    options = ["--tools", tools, "--tool-choice", "get_weather"]
    result = run("chat", tiny_q3e("int8"), *GREEDY, *options, stdin=f"{ASKED}\n{RESULT}\n")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("get_weather {") == 1 and "foggy" in result.stdout


def test_saved_between_a_call_and_its_result(tiny_q3e, tools, tmp_path):
    kept = tmp_path / "chat.q3s"
    first = run("chat", tiny_q3e("int8"), *GREEDY, "--tools", tools, stdin=f"{ASKED}\n/save {kept}\n{RESULT}\n")
    again = run("chat", tiny_q3e("int8"), "--load", kept, stdin=f"{RESULT}\n/set\n")
    assert again.returncode == 0, again.stderr
    assert first.stdout.splitlines()[-1] == again.stdout.splitlines()[0]
    assert "tools (1)" in again.stdout, "tools are settings"


def test_settings_of_files(tiny_q3e, tools, tmp_path):
    schema = tmp_path / "schema.json"
    schema.write_text('{"enum": [7]}', "utf-8")
    lines = f"/set schema {schema}\nWhat is 3 + 4?\n/set\n/set schema default\nWhat is 3 + 4?\n/set tools {tools}\n"
    lines += f"/set tool_choice required\n/set tool-choice nothing\n{ASKED}\n/set tool_choice default\n/set\n"
    result = run("chat", tiny_q3e("int8"), *GREEDY, stdin=lines)
    assert result.returncode == 0, result.stderr
    said = result.stdout.splitlines()
    assert said[1] == "7" and "schema (given)" in said[2]
    assert any(line.startswith("3 + 4 = ") for line in said)
    assert "tool_choice: required" in said and any("one of the tools 'get_weather', found 'nothing'" in x for x in said)
    assert CALL in said and "tool_choice" not in said[-3]
    missing = run("chat", tiny_q3e("int8"), *GREEDY, stdin=f"/set tools {tmp_path}/none\n/set schema {tmp_path}/none\n")
    assert missing.returncode == 2 and missing.stderr.count("none: No such file") == 2


@pytest.mark.parametrize("choice", ["required", "get_weather"])
def test_run_with_a_choice(tiny_q3e, tools, choice):
    asked = ["run", tiny_q3e("int8"), "What is 12 + 7?", *GREEDY, "--tools", tools]
    assert "19" in run(*asked, "--tool-choice", "none").stdout
    found = run(*asked, "--tool-choice", choice)
    assert json.loads(found.stdout.strip())["function"]["name"] == "get_weather", found.stderr


def test_what_is_refused(tiny_q3e, tools):
    model = tiny_q3e("int8")
    assert "expected tools beside it" in one_line(run("run", model, "hi", "--tool-choice", "required"), 2)
    assert "one of the tools 'get_weather'" in one_line(
        run("run", model, "hi", "--tools", tools, "--tool-choice", "other"), 2
    )
    tools.write_text("{}", "utf-8")
    assert "expected a JSON list of tools" in one_line(run("chat", model, "--tools", tools, stdin="hi\n"), 2)
