"""`qwen3edge chat`: on a pseudo-terminal, as people use it, and from a pipe."""

import json
import re
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

import qwen3edge
from qwen3edge.cli.commands import help_text
from qwen3edge.text.template import ChatTemplate
from tests.cli.command import one_line, run
from tests.cli.terminal import Terminal, plain

GREEDY = ["--no-thinking", "--temperature", "0"]
ENDLESS = ["--no-thinking", "--temperature", "100", "--top-k", "0", "--top-p", "1"]


def message_tokens(path, *messages: str) -> int:
    """Of a prompt with one user's message after the other; between them the model's own answers, greedy."""
    with qwen3edge.load(path, threads=1) as model:
        conversation = []
        for message in messages[:-1]:
            conversation.append({"role": "user", "content": message})
            answer = model.generate(conversation, thinking=False, temperature=0)
            conversation.append({"role": "assistant", "content": answer.read()})
        conversation.append({"role": "user", "content": messages[-1]})
        return len(model.tokens_of(conversation, thinking=False))


def prompt_of(shown: str) -> int:
    """The tokens of the prompt that the note under an answer tells."""
    return int(re.findall(r"prompt of (\d+)", shown)[-1])


@pytest.fixture
def chat(tiny_q3e):
    def begin(*arguments: object, **settings) -> Terminal:
        terminal = Terminal("chat", tiny_q3e("int8"), "--threads", 1, *arguments, **settings)
        terminal.prompt()
        return terminal

    return begin


def test_on_a_terminal(chat):
    terminal = chat("--thinking", "--temperature", "0")
    terminal.type("What is 12 + 7?\r")
    terminal.wait_for("\x1b[2m")  # the thoughts
    assert "19" in terminal.wait_for("tok/s")
    terminal.prompt()
    terminal.type("\x03")  # Ctrl-C at the prompt: a new prompt
    terminal.prompt()
    terminal.type("\x04")  # Ctrl-D
    terminal.wait_for("\n")  # the shell's prompt has a line of its own
    assert terminal.status() == 0


def test_a_paste_is_one_message(chat, tiny_q3e):
    text = "Here is a list.\nMia Paris, Tom London\n\nFind Tom in the list."
    terminal = chat(*GREEDY)
    terminal.paste(text)
    terminal.type("\r")
    shown = terminal.wait_for("tok/s") + terminal.prompt()
    assert prompt_of(shown) == message_tokens(tiny_q3e("int8"), text)
    terminal.type("/stats\r")
    assert "1 turns" in terminal.prompt()
    assert terminal.leave() == 0


def test_a_paste_that_the_terminal_does_not_mark(chat, tiny_q3e):
    text = "def f():\n    return 1\n\nWhat is this?"
    terminal = chat(*GREEDY, term="dumb")
    terminal.type(text + "\n")
    shown = terminal.wait_for("tok/s") + terminal.prompt()
    assert prompt_of(shown) == message_tokens(tiny_q3e("int8"), text)
    assert "\x1b" not in shown  # nor does it take colours
    assert terminal.leave() == 0


def test_messages_of_several_lines(chat, tiny_q3e):
    terminal = chat(*GREEDY)
    terminal.type('"""What is\r')
    terminal.wait_for("... ")
    terminal.type('3 + 4?"""\r')
    first = terminal.wait_for("tok/s") + terminal.prompt()
    terminal.type("/reset\r")
    terminal.prompt()
    terminal.type("What is\\\r")
    terminal.wait_for("... ")
    terminal.type("3 + 4?\r")
    second = terminal.wait_for("tok/s") + terminal.prompt()
    assert prompt_of(first) == prompt_of(second) == message_tokens(tiny_q3e("int8"), "What is\n3 + 4?")
    terminal.type('"""never mind\r')
    terminal.wait_for("... ")
    time.sleep(0.3)
    terminal.type("\x03")  # gives the message up
    terminal.prompt()
    terminal.type("/stats\r")
    assert "1 turns" in terminal.prompt()
    assert terminal.leave() == 0


def test_a_long_answer_comes_whole(chat, tiny_q3e):
    terminal = chat(*ENDLESS, "--seed", 5, "--max-tokens", 400, "--context", 1024)
    terminal.type("Go on for ever.\r")
    terminal.wait_for("\n")
    shown = terminal.wait_for("tok/s")
    with qwen3edge.load(tiny_q3e("int8"), context=1024, threads=1) as model:
        answer = model.generate(
            "Go on for ever.", thinking=False, temperature=100, top_k=0, top_p=1, seed=5, max_tokens=400
        )
        expected = re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "\N{REPLACEMENT CHARACTER}", answer.read())
    assert "".join(plain(shown).split()).startswith("".join(expected.split()))  # lines are broken between words
    rest = terminal.prompt()
    if answer.cut_by:
        assert "cut by --max-tokens (400)" in " ".join(rest.split())  # the line may be broken there
    assert terminal.leave() == 0


def test_a_full_context_lets_the_oldest_go_and_says_so(chat):
    terminal = chat(*ENDLESS, "--context", 200, "--seed", 1)
    full = 0
    for question in ("Write a very long story.", "continue", "hi", "and on"):
        terminal.type(question + "\r")
        terminal.wait_for("\n")
        shown = " ".join(
            (terminal.wait_for("tok/s") + terminal.prompt()).split()
        )  # notes are broken between words, too
        full += "cut: the context of 200 tokens is full" in shown
        assert ("are forgotten" in shown) == (question != "Write a very long story." and full > 0), shown
        assert "expected" not in shown
    assert full
    terminal.paste("word " * 400)
    terminal.type("\r")
    refused = plain(terminal.wait_for("--context N"))
    assert re.search(r"expected a message of fewer than 200\s+tokens \(the context\), found 4\d\d", refused)
    terminal.prompt()
    assert terminal.leave() == 0


def test_interrupts(chat):
    terminal = chat(*ENDLESS)
    for _ in range(2):
        terminal.type("Go on for ever.\r")
        terminal.wait_for("\n")  # the echo
        terminal.wait_for(" ")  # the answer has begun
        terminal.type("\x03")
        assert "stopped" in terminal.wait_for("tok/s") + terminal.prompt()
    assert terminal.leave() == 0


def test_resizing_while_typing_and_while_it_answers(chat, tiny_q3e):
    terminal = chat(*GREEDY)
    terminal.type("What is ")
    terminal.resize(40, 20)
    time.sleep(0.2)
    terminal.type("3 + 4?\r")
    terminal.resize(10, 200)
    shown = terminal.wait_for("tok/s") + terminal.prompt()
    assert prompt_of(shown) == message_tokens(tiny_q3e("int8"), "What is 3 + 4?")
    terminal.type("What is 5 + 4?\r")
    shown = terminal.wait_for("tok/s") + terminal.prompt()
    assert prompt_of(shown) == message_tokens(tiny_q3e("int8"), "What is 3 + 4?", "What is 5 + 4?")
    assert terminal.leave() == 0


def test_chinese_is_edited_by_characters(chat, tiny_q3e):
    terminal = chat(*GREEDY)
    terminal.type("你好吗\x7f？\r")  # a backspace takes a character, not a byte
    shown = terminal.wait_for("tok/s") + terminal.prompt()
    assert "\ufffd" not in shown
    assert prompt_of(shown) == message_tokens(tiny_q3e("int8"), "你好？")
    assert terminal.leave() == 0


def test_keys_while_it_answers_wait_for_the_prompt(chat, tiny_q3e):
    terminal = chat(*ENDLESS, "--max-tokens", 300)
    terminal.type("Go on for ever.\r")
    terminal.wait_for("\n")
    terminal.wait_for(" ")
    terminal.type("zqzqzq\n")
    before = terminal.wait_for("tok/s")
    assert "zqzqzq" not in before
    terminal.wait_for("zqzqzq")  # at the prompt
    terminal.wait_for("tok/s")
    terminal.prompt()
    assert terminal.leave() == 0


def test_commands(chat):
    terminal = chat("--temperature", "0")

    def said(line: str) -> str:
        terminal.type(line + "\r")
        terminal.wait_for("\n")
        return plain(terminal.prompt())

    assert "/system" in said("/help")
    assert "unknown command /foo" in said("/foo bar")
    assert "system prompt: none" in said("/system")
    assert "system prompt: Be brief." in said("/system Be brief.")
    assert "system prompt: none" in said("/system off")
    assert "temperature 0.6" in said("/set")  # the model's own when thinking
    assert "max_tokens: 3" in said("/set max_tokens 3")
    assert "expected temperature as a finite number from 0 to 100" in said("/set temperature -1")
    assert "unknown setting heat" in said("/set heat 1")
    assert "expected on, off or auto" in said("/set thinking maybe")
    assert "thinking_budget_message: Enough." in said("/set thinking_budget_message Enough.")
    assert "thinking_budget_message: default" in said("/set thinking_budget_message default")
    said("/set thinking off")
    assert "thinking off, max_tokens 3" in said("/set")
    assert "cut by --max-tokens (3)" in said("What is 12 + 7?")
    assert "1 turns" in (stats := said("/stats")) and "seed" in stats
    assert "tok/s" in said("/no_think What is 3 + 4?")
    assert "tok/s" in said(" /usr is a folder")
    assert "tok/s" in said("/etc/hosts")
    assert "forgotten" in said("/reset")
    assert "0 turns" in said("/stats")
    terminal.type("/exit\r")
    assert terminal.status() == 0


@pytest.mark.parametrize(
    "model_type, shown", [("qwen3", True), ("qwen3_moe", True), ("qwen3_5", False), ("qwen2", False)]
)
def test_switches_in_a_message_are_shown_where_the_model_knows_them(model_type, shown):
    for source, switches in (("{{ enable_thinking }}", True), ("{{ messages }}", False)):
        builder = SimpleNamespace(template=ChatTemplate(source))
        model = SimpleNamespace(prompt_builder=builder, config=SimpleNamespace(model_type=model_type))
        assert ("/no_think" in help_text(model)) == (shown and switches)


@pytest.mark.parametrize("word", ["/quit", "/bye", "quit", "exit"])
def test_words_that_leave(tiny_q3e, word):
    result = run("chat", tiny_q3e("int8"), stdin=f"{word}\nWhat is 12 + 7?\n")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "wrong",
    [["--temperature", "-1"], ["--max-tokens", "0"], ["--top-p", "2"], ["--seed", "-1"], ["--stop", ""],
     ["--system", "x " * 5000]],
)  # fmt: skip
def test_wrong_flags_are_refused_before_the_first_message(tiny_q3e, wrong):
    one_line(run("chat", tiny_q3e("int8"), *wrong, stdin="hi\n"), 2)


def test_from_a_pipe(tiny_q3e):
    result = run(
        "chat", tiny_q3e("int8"), *GREEDY,
        stdin='What is 12 + 7?\n/help\n\nWhat is 3 + 4?\n/reset\n"""\nWhat is 12 + 7?\n"""\nWhat is \\\n3 + 4?',
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith("12 + 7 = ") and lines[0] == lines[-2]
    assert any(line.startswith("3 + 4 = ") for line in lines)
    assert any(line.startswith("/reset") for line in lines)


def test_a_refused_message_of_a_pipe_shows_in_the_status(tiny_q3e):
    result = run("chat", tiny_q3e("int8"), *GREEDY, "--context", 64, stdin="word " * 100 + "\nWhat is 3 + 4?\n")
    assert result.returncode == 2
    assert "found 1" in result.stderr and result.stdout.startswith("3 + 4 = ")


def test_a_schema_that_becomes_too_large_ends_one_answer(tiny_q3e, tmp_path):
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps({"type": "string", "pattern": "(.*a.{60}){6}"}), encoding="utf-8")
    program = (
        "import sys; from qwen3edge.grammar import vocabulary; vocabulary.MAX_STATES = 200\n"
        "from qwen3edge.cli.main import main; sys.exit(main())"
    )
    words = ["chat", tiny_q3e("int8"), "--schema", schema, *ENDLESS, "--seed", 1]
    command = [sys.executable, "-c", program, *map(str, words)]
    said = "What is 3 + 4?\nWhat is 3 + 4?\n/save " + str(tmp_path / "chat.q3s") + "\n"
    result = subprocess.run(command, input=said, capture_output=True, text=True, check=False)
    assert result.returncode == 2 and result.stderr.count("too many states") == 2, result.stderr
    assert (tmp_path / "chat.q3s").exists(), "the program goes on"


def test_forgetting_is_told_to_a_pipe_too(tiny_q3e):
    result = run("chat", tiny_q3e("int8"), *GREEDY, "--context", 64, stdin="What is 3 + 4?\n" * 4)
    assert result.returncode == 0
    assert "are forgotten" in result.stderr and result.stdout.count("3 + 4 = ") == 4


def test_lines_are_broken_between_words(chat):
    """On a terminal of 24 columns; the thoughts keep their colour to their last word."""
    terminal = chat("--thinking", "--temperature", "0")
    terminal.resize(24, 24)
    terminal.type("Mia Paris, Tom London, Ida Rome, Max Oslo. Find Tom in the list.\r")
    terminal.wait_for("\x1b[2m")
    thoughts = terminal.wait_for("\x1b[0m")
    answer = terminal.wait_for("\x1b[2m")
    rows = thoughts.replace("\r", "").split("\n")
    assert len(rows) > 1 and all(len(row) <= 24 for row in rows), rows
    assert "London" in "".join(answer.split())
    words = ["Mia", "Paris", "Tom", "London", "Ida", "Rome", "Max", "Oslo"]
    assert not [row for row in rows[:-1] for word in words if row and not row.endswith(word) and any(
        row.endswith(word[:n]) for n in range(2, len(word)))], rows  # fmt: skip
    terminal.prompt()
    assert terminal.leave() == 0
