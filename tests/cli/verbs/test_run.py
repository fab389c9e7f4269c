"""`qwen3edge run`: where prompts come from, and what is said about an answer."""

import argparse
import json
import os
import re
import signal
import subprocess
import sys

import pytest

from qwen3edge import BUDGET_MESSAGE
from qwen3edge.cli.arguments import loading
from tests.cli.command import COMMAND, one_line, run, started
from tests.cli.heard import heard
from tests.cli.terminal import Terminal


def test_run(tiny_q3e):
    result = run("run", tiny_q3e("int8"), "What is 12 + 7?", "--thinking", "--temperature", 0)
    assert result.returncode == 0
    assert "19" in result.stdout
    assert "\x1b" not in result.stdout and "think" not in result.stdout
    answer = json.loads(
        run("run", tiny_q3e("int8"), "--json", "--thinking", "--temperature", 0, stdin="What is 12 + 7?").stdout
    )
    assert answer["content"] == result.stdout.rstrip("\n")
    assert answer["reasoning"]
    assert answer["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] > 5


def test_a_cut_answer_says_so(tiny_q3e):
    """An empty answer whose tokens all went into thoughts that a pipe does not show."""
    result = run("run", tiny_q3e("int8"), "What is 12 + 13?", "--thinking", "--max-tokens", 3)
    assert (result.returncode, result.stdout) == (0, "\n")
    assert result.stderr == "qwen3edge: cut by --max-tokens (3) while thinking, before the answer began\n"
    result = run("run", tiny_q3e("int8"), "12 + 13?", "--no-thinking", "--context", 32, "--temperature", 100,
                 "--top-k", 0, "--top-p", 1, "--seed", 1)  # fmt: skip
    assert "cut: the context of 32 tokens is full (--context N holds more)" in result.stderr
    answer = json.loads(run("run", tiny_q3e("int8"), "hi", "--max-tokens", 1, "--json").stdout)
    assert (answer["finish_reason"], answer["cut_by"]) == ("length", "max_tokens")


def test_the_same_answer_again_by_the_seed_of_the_json(tiny_q3e):
    asked = ["run", tiny_q3e("int8"), "Tell me.", "--json", "--temperature", 3, "--max-tokens", 20]
    first = json.loads(run(*asked).stdout)
    again = json.loads(run(*asked, "--seed", first["usage"]["seed"]).stdout)
    assert again["content"] == first["content"] and again["reasoning"] == first["reasoning"]


def prompt_tokens(*arguments: object, stdin: str = "", status: int = 0) -> int:
    result = run("run", *arguments, "--json", "--max-tokens", 1, stdin=stdin)
    assert result.returncode == status, result.stderr
    return json.loads(result.stdout)["usage"]["prompt_tokens"]


def test_where_prompts_come_from(tiny_q3e, tmp_path):
    path, text = tiny_q3e("int8"), tmp_path / "text.txt"
    text.write_text("Mia Paris.\n", encoding="utf-8")
    whole = prompt_tokens(path, "Find Mia.\n\nMia Paris.")
    assert prompt_tokens(path, "Find Mia.", "Mia Paris.") == whole
    assert prompt_tokens(path, "Find Mia.", "--threads", 1, "Mia Paris.") == whole
    assert prompt_tokens(path, "--threads", 1, "--file", text, "Find Mia.") == whole
    assert prompt_tokens(path, "Find Mia.", "--file", text) == whole
    assert prompt_tokens(path, "Find Mia.", "-", stdin="Mia Paris.\n") == whole
    assert (
        prompt_tokens(path, "-", stdin="Find Mia.\n\nMia Paris.\n") == whole
    )  # a file's last break is not the prompt's
    assert prompt_tokens(path, stdin="Find Mia.\n\nMia Paris.") == whole
    assert prompt_tokens(path, "--file", text) == prompt_tokens(path, "Mia Paris.")
    assert "absent" in one_line(run("run", path, "--file", tmp_path / "absent"), 1)


def test_input_beside_a_prompt_is_not_dropped_silently(tiny_q3e, tmp_path):
    path, text = tiny_q3e("int8"), tmp_path / "text.txt"
    asked = [*COMMAND, "run", str(path), "What is 3 + 4?", "--no-thinking", "--temperature", "0"]
    text.write_text("Mia Paris.\n", encoding="utf-8")
    with text.open() as opened:
        result = subprocess.run(asked, stdin=opened, capture_output=True, text=True, check=True)
        assert "standard input is not read beside a prompt; - adds it" in result.stderr
        assert opened.read() == "Mia Paris.\n"  # left for the loop of a shell that reads it
    reader, writer = os.pipe()  # that nobody writes to: it must not be waited for
    result = subprocess.run(asked, stdin=reader, capture_output=True, text=True, check=True, timeout=120)
    assert result.stderr == ""
    os.write(writer, b"x")
    result = subprocess.run(asked, stdin=reader, capture_output=True, text=True, check=True, timeout=120)
    assert "not read" in result.stderr
    assert run(*asked[3:]).stderr == ""


def test_a_terminal_is_told_that_it_is_waited_for(tiny_q3e):
    terminal = Terminal("run", tiny_q3e("int8"), "--no-thinking", "--temperature", "0")
    terminal.wait_for("Ctrl-D")
    terminal.wait_for("\n")
    terminal.type("What is 3 + 4?\n\x04")
    terminal.wait_for("3 + 4 = ")
    terminal.wait_for("tok/s")
    assert terminal.status() == 0


def test_raw_prompts(tiny_q3e):
    path = tiny_q3e("int8")
    assert prompt_tokens(path, "--raw", "a<|im_end|>") == 2
    one_line(run("run", path, "--raw", "a", "--system", "b"), 2)


# Each chunk of a prompt takes a while, however fast the machine is.
SLOW = (
    "import sys, time; from qwen3edge.cli import status; from qwen3edge.cli.main import main\n"
    "def slow(self, done, tokens, call=status.PromptProgress.__call__):\n"
    "    call(self, done, tokens); time.sleep(0.5 if done < tokens else 0)\n"
    "status.PromptProgress.__call__ = slow; status.Spinner.PATIENCE = 0.0\n"
    "sys.exit(main(sys.argv[1:]))"
)
LONG = ["word " * 700, "--no-thinking", "--temperature", "0", "--max-tokens", "3", "--context", "1024"]


@pytest.mark.parametrize("many", [False, True])
def test_a_long_prompt_shows_life_until_the_answer_begins(tiny_q3e, tmp_path, many):
    path = tmp_path / "prompts.txt"
    path.write_text(LONG[0])
    asked = ["--prompts", path, *LONG[1:]] if many else LONG
    terminal = Terminal("run", tiny_q3e("int8"), *asked, python=["-c", SLOW])
    terminal.wait_for("reading the prompt: 256 of 7")
    marks = {terminal.wait_for(" reading the prompt: 512 of 7")[-1] for _ in range(3)}
    assert len(marks) > 1 and marks <= set("|/-\\")
    assert re.search(r"\d tokens, \d+ s, \d+ tok/s", "512 of 7" + terminal.wait_for("tok/s") + "tok/s")
    rest = terminal.wait_for("prompt of 7")  # the note
    assert re.search(r"tok/s\r +\r[^\r]*word", rest)  # the answer, or its heading, in the place of blanks
    assert "reading" not in rest.rpartition("word")[0].rpartition("\r")[2]
    assert terminal.status() == 0


def test_nothing_turns_where_nobody_looks(tiny_q3e):
    command = [sys.executable, "-c", SLOW, "run", str(tiny_q3e("int8")), *LONG]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stderr == "qwen3edge: cut by --max-tokens (3)\n"


def test_a_narrow_terminal(tiny_q3e):
    """A line of which a part is on the row above could not be erased."""
    terminal = Terminal("run", tiny_q3e("int8"), *LONG, python=["-c", "import time; time.sleep(0.3)\n" + SLOW])
    terminal.resize(24, 20)
    shown = terminal.wait_for("prompt of 7").replace("\n", "\r").split("\r")
    assert any("reading the promp" in part for part in shown)
    assert max(map(len, shown)) <= 20
    assert terminal.status() == 0


def test_an_interrupt_while_the_prompt_is_read(tiny_q3e):
    terminal = Terminal("run", tiny_q3e("int8"), *LONG, python=["-c", SLOW])
    terminal.wait_for("reading the prompt: 256")
    terminal.type("\x03")
    assert terminal.status() == 130


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_output_in_any_encoding(tiny_q3e, encoding):
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    asked = [
        *COMMAND,
        "run",
        str(tiny_q3e("int8")),
        "你好",
        "--no-thinking",
        "--temperature",
        "0",
        "--max-tokens",
        "20",
    ]
    plain = subprocess.run(asked, capture_output=True, env=environment, check=True)
    assert plain.stderr in (b"", b"qwen3edge: cut by --max-tokens (20)\n")
    answer = subprocess.run([*asked, "--json"], capture_output=True, env=environment, check=True)
    content = json.loads(answer.stdout.decode(encoding))["content"]  # escaped where the encoding has no such character
    assert content.encode(encoding, "replace").decode(encoding) == plain.stdout.decode(encoding).rstrip("\n")
    if encoding == "utf-8" and not content.isascii():
        assert b"\\u" not in answer.stdout


def test_interrupt(tiny_q3e):
    with heard(signal.SIGINT):
        process = subprocess.Popen(
            [*COMMAND, "run", str(tiny_q3e("int4")), "Spell.", "--temperature", "90", "--top-p", "1", "--top-k", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=60)[1]
    assert process.returncode in (0, 130)  # it may have come to its end first
    assert error == b""


def test_no_color(tiny_q3e, monkeypatch):
    """https://no-color.org: thoughts are not dimmed, whatever else the terminal can do."""
    for variable, dimmed in (("", True), ("1", False)):
        monkeypatch.setenv("NO_COLOR", variable)
        terminal = Terminal("run", tiny_q3e("int8"), "What is 12 + 7?", "--thinking", "--temperature", 0)
        assert ("\x1b[2m" in terminal.wait_for("tok/s")) == dimmed
        assert terminal.status() == 0


def test_an_answer_of_a_schema(tiny_q3e, tmp_path):
    schema = tmp_path / "schema.json"
    number = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    schema.write_text(json.dumps({**number, "additionalProperties": False}), "utf-8")
    asked = ["run", tiny_q3e("int8"), "What is 12 + 7?", "--no-thinking", "--schema", schema, "--max-tokens", 60]
    result = run(*asked, "--temperature", 0)
    assert result.returncode == 0 and isinstance(json.loads(result.stdout)["n"], int), result.stderr
    schema.write_text('{"uniqueItems": true}', "utf-8")
    assert "uniqueItems" in one_line(run(*asked), 2)
    assert "absent.json" in one_line(run(*asked[:-3], tmp_path / "absent.json"), 1)


def test_tools_of_a_file(tiny_q3e, tmp_path):
    tools = tmp_path / "tools.json"
    city = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    declared = {"name": "get_weather", "description": "Get the weather of a city", "parameters": city}
    tools.write_text(json.dumps([{"type": "function", "function": declared}]), "utf-8")
    asked = ["run", tiny_q3e("int8"), "What is the weather in Prague?", "--no-thinking", "--temperature", 0]
    said = json.loads(run(*asked, "--tools", tools).stdout.strip())
    record = json.loads(run(*asked, "--tools", tools, "--json").stdout)
    assert said["function"] == {"name": "get_weather", "arguments": '{"city": "Prague"}'}
    assert record["finish_reason"] == "tool_calls" and record["content"] == ""
    assert [call["function"] for call in record["tool_calls"]] == [said["function"]]
    for text in ("{", "{}", "[1]"):
        tools.write_text(text, "utf-8")
        assert "expected a JSON list of tools" in one_line(run(*asked, "--tools", tools), 2)


def test_the_plan_of_grammars(tiny_q3e):
    without, planned = (
        json.loads(started("plan", tiny_q3e("int8"), "--json", *more).stdout) for more in ([], ["--grammars"])
    )
    assert planned["grammars"] and planned["program"] - without["program"] > 20 << 20


def test_a_message_at_the_end_of_the_budget(tiny_q3e):
    """One's own, or Qwen's."""
    asked = ["run", tiny_q3e("int8"), "What is 47 + 38?", "--thinking", "--temperature", 0, "--json"]
    for words, said in ((["Enough."], "Enough."), ([], BUDGET_MESSAGE)):
        budget = ["--thinking-budget", 3, "--thinking-budget-message", *words, "--max-tokens", 200]
        assert json.loads(run(*asked, *budget).stdout)["reasoning"].endswith(said.strip())
    refused = one_line(run(*asked, "--thinking-budget-message", "Enough."), 2)
    assert "--thinking-budget-message: expected --thinking-budget N beside it" in refused


BROKEN = (
    "import sys; from qwen3edge.generation.answer import Answer; from qwen3edge.cli.main import main\n"
    "take = Answer._take\n"
    "def broken(self, news):\n"
    "    take(self, news)\n"
    "    if self._finish and not self.broken_calls: self._hear('expected JSON', 'broken')\n"
    "Answer._take = broken; sys.exit(main(sys.argv[1:]))"
)


def test_a_broken_call_is_told(tiny_q3e):
    """On standard error; a program finds it in the JSON."""
    words = ["What is 3 + 4?", "--no-thinking", "--temperature", "0"]
    told = "qwen3edge: a tool call cannot be read, and stays text: expected JSON\n"
    for verb, more, said in (("run", words, ""), ("chat", words[1:], words[0])):
        command = [sys.executable, "-c", BROKEN, verb, str(tiny_q3e("int8")), *more]
        result = subprocess.run(command, input=said, capture_output=True, text=True, check=True)
        assert result.stderr == told and result.stdout == "3 + 4 = 7\n"
    command = [sys.executable, "-c", BROKEN, "run", str(tiny_q3e("int8")), *words, "--json"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(result.stdout)["broken_calls"] == ["expected JSON"] and result.stderr == ""


def test_strict_tools_are_planned_for(tmp_path):
    """As a schema is, and a tool that must be called."""
    tools = tmp_path / "tools.json"
    for strict in (True, False):
        tools.write_text(json.dumps([{"type": "function", "function": {"name": "f", "strict": strict}}]), "utf-8")
        assert loading(argparse.Namespace(tools=str(tools), tool_choice=None, schema=None))["grammars"] == strict
