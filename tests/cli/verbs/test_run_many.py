"""`qwen3edge run --prompts`: many answers at once, each as it would be alone."""

import json
import re
import signal
import subprocess

import pytest

import qwen3edge
from tests.cli.command import COMMAND, one_line, run
from tests.cli.heard import heard
from tests.cli.terminal import Terminal, plain

GREEDY = ["--no-thinking", "--temperature", "0"]
QUESTIONS = ["What is 12 + 7?", "What is 35 + 4?", "Count from 3 to 9.", "What is 3 + 4?", "What is 47 + 38?"]


@pytest.fixture
def many(tiny_q3e, tmp_path):
    """many(text, *flags): the command with this text, or these bytes, as the file of its prompts."""

    def asked(text: str | bytes, *flags: object) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "prompts.txt"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return run("run", tiny_q3e("int8"), "--context", 256, "--prompts", path, *flags)

    return asked


@pytest.fixture
def alone(tiny_q3e):
    """alone(request, **settings): the answer that the model gives to nobody else at the time."""
    with qwen3edge.load(tiny_q3e("int8"), context=256, threads=1) as model:
        yield lambda request, **settings: model.generate(request, **settings).read()


def lines(result: subprocess.CompletedProcess[str]) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize("sequences", [1, 3, 16])
def test_answers_are_those_that_each_prompt_gets_alone(many, alone, sequences):
    flags = ["--json", "--sequences", sequences, "--no-thinking", "--temperature", 2, "--seed", 5, "--max-tokens", 20]
    result = many("\n".join(QUESTIONS), *flags)
    assert (result.returncode, result.stderr) == (0, "")
    found = {entry["index"]: entry for entry in lines(result)}
    assert sorted(found) == list(range(len(QUESTIONS)))
    for index, question in enumerate(QUESTIONS):
        expected = alone(question, thinking=False, temperature=2, seed=5, max_tokens=20)
        assert (found[index]["content"], found[index]["line"]) == (expected, index + 1)
        assert found[index]["usage"]["seed"] == 5


def test_in_a_pipe_answers_stand_in_the_order_of_their_prompts(many, alone):
    result = many("\n".join(QUESTIONS), *GREEDY, "--sequences", 4)
    expected = [alone(question, thinking=False, temperature=0) for question in QUESTIONS]
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "\n\n".join(expected) + "\n"


def test_short_answers_do_not_wait_for_long_ones(many):
    """In JSON; of what is computed together."""
    texts = [{"prompt": "Count from 1 to 9."}, {"prompt": "What is 1 + 1?"}]
    result = many("\n".join(map(json.dumps, texts)), *GREEDY, "--sequences", 2, "--json")
    tokens = {entry["index"]: entry["usage"]["completion_tokens"] for entry in lines(result)}
    assert tokens[0] > tokens[1]
    assert [entry["index"] for entry in lines(result)] == [1, 0]


def test_what_a_line_may_be(many, alone):
    """Blank lines are none; the end of a line is Windows' or ours; the last needs none."""
    conversation = [{"role": "user", "content": QUESTIONS[0]}, {"role": "assistant", "content": "19"}]
    conversation.append({"role": "user", "content": QUESTIONS[1]})
    text = "\n".join(
        [
            "\ufeff" + QUESTIONS[0],
            "",
            " \t",
            QUESTIONS[1] + "\r",
            json.dumps({"prompt": "What is\n3 + 4?"}),
            " " + json.dumps({"messages": conversation}),
            json.dumps({"messages": [{"role": "system", "content": "Be kind."}, conversation[0]]}),
        ]
    )
    result = many(text, *GREEDY, "--sequences", 2, "--json", "--system", "Be brief.")
    assert (result.returncode, result.stderr) == (0, "")
    brief = {"role": "system", "content": "Be brief."}
    requests = [
        [brief, {"role": "user", "content": QUESTIONS[0]}],
        [brief, {"role": "user", "content": QUESTIONS[1]}],
        [brief, {"role": "user", "content": "What is\n3 + 4?"}],
        [brief, *conversation],
        [{"role": "system", "content": "Be kind."}, conversation[0]],
    ]
    found = sorted(lines(result), key=lambda entry: entry["index"])
    assert [entry["line"] for entry in found] == [1, 4, 5, 6, 7]
    assert [entry["content"] for entry in found] == [alone(each, thinking=False, temperature=0) for each in requests]


BROKEN = {
    "{no json": "a line begins with a brace",
    "{" * 100_000: "a line begins with a brace",
    '{"messages": ' + "[" * 100_000: "a line begins with a brace",
    '{"prompt": "hi", "messages": []}': "expected {",
    '{"prompt": "hi", "seed": 3}': "found ['prompt', 'seed']",
    "{}": "expected {",
    '{"prompt": 3}': "prompt: expected a text, found 3",
    '{"prompt": ""}': "expected a prompt, found none",
    '{"messages": [1, 2]}': "messages: expected a list of objects",
    '{"messages": "hi"}': "messages: expected a list of objects",
    '{"messages": []}': "messages: expected a list of objects",
    '{"messages": [{"role": "nobody", "content": []}]}': "expected",
    "word " * 300: "the context",
    "x" * 1_000_000: "expected a line of at most",
}


def test_what_fails_is_told_and_the_others_are_answered(many, alone):
    text = "".join(f"{line}\n{question}\n" for line, question in zip(BROKEN, QUESTIONS * 3, strict=False))
    result = many(text, *GREEDY, "--sequences", 4, "--json")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    told = dict(re.findall(r"^qwen3edge: line (\d+): (.*)$", result.stderr, re.MULTILINE))
    assert len(told) == result.stderr.count("\n") == len(BROKEN)
    found = {entry["line"]: entry for entry in lines(result)}
    assert len(found) == 2 * len(BROKEN)
    for index, expected in enumerate(BROKEN.values()):
        number = 2 * index + 1
        assert expected in told[str(number)] and len(told[str(number)]) < 400
        assert found[number] == {"index": number - 1, "line": number, "error": told[str(number)]}
        assert "content" in found[number + 1]
    assert found[2]["content"] == alone(QUESTIONS[0], thinking=False, temperature=0)
    result = many(text, *GREEDY)
    assert result.returncode == 2 and result.stdout.count("\n\n") == len(BROKEN) - 1
    assert result.stderr.count("qwen3edge: line") == len(BROKEN)


def test_bytes_that_are_no_text(many):
    result = many(b"What is 12 + \xff7?\n\x00\x01\n\xc3\n", *GREEDY, "--json", "--max-tokens", 4)
    assert result.returncode == 0 and len(lines(result)) == 3
    for order in ("le", "be"):
        assert "expected prompts in UTF-8" in one_line(many("\ufeffhi\n".encode(f"utf-16-{order}")), 2)


def test_raw_lines(many, alone):
    text = "<|im_start|>user\nWhat is 12 + 7?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    result = many(json.dumps({"prompt": text}) + '\n{"messages": [{"role": "user", "content": "hi"}]}',
                  "--raw", "--temperature", 0, "--json")  # fmt: skip
    first, second = sorted(lines(result), key=lambda entry: entry["index"])
    assert first["content"] == alone(text, raw=True, temperature=0)
    assert "expected a prompt, found messages" in second["error"]


@pytest.mark.parametrize("text", ["", "\n\r\n \n"])
def test_a_file_without_prompts(many, text):
    assert "expected a prompt a line, found none" in one_line(many(text), 2)


def test_refusals(many, tiny_q3e, tmp_path):
    path = tiny_q3e("int8")
    assert "from 1 to 1024, found 0" in one_line(many("hi", "--sequences", 0), 2)
    assert "found 1025" in one_line(many("hi", "--sequences", 1025), 2)
    assert "--prompts FILE beside it" in one_line(run("run", path, "hi", "--sequences", 2), 2)
    assert "no other prompt" in one_line(many("hi", "hello"), 2)
    assert "no other prompt" in one_line(many("hi", "--file", path), 2)
    assert "expected temperature" in one_line(many("hi\n" * 3, "--temperature", -1), 2)  # once
    assert "--raw" in one_line(many("hi", "--raw", "--system", "x"), 2)
    assert "absent" in one_line(run("run", path, "--prompts", tmp_path / "absent"), 1)
    assert "directory" in one_line(run("run", path, "--prompts", tmp_path), 1).lower()


def test_a_plan_of_many_sequences(tiny_q3e):
    plans = [json.loads(run("plan", tiny_q3e("int8"), "--sequences", n, "--json").stdout) for n in (1, 4)]
    assert plans[1]["kv_cache"] == 4 * plans[0]["kv_cache"]


def test_speed_on_request(many, tiny_q3e):
    assert many("hi\nhello", *GREEDY, "--max-tokens", 4).stderr.count("tok/s") == 0
    told = many("hi\nhello", *GREEDY, "--sequences", 2, "--max-tokens", 4, "--speed", "--json").stderr
    assert re.fullmatch(r"qwen3edge: 2 answers, \d+ tokens in .* tok/s together; prompts of \d+ \(.*\)\n", told)
    for flags in ([], ["--json"]):
        asked = ["run", tiny_q3e("int8"), "What is 12 + 7?", *GREEDY, *flags]
        assert "tok/s" not in run(*asked).stderr
        assert re.fullmatch(r"qwen3edge: \d+ tokens, .* tok/s; prompt of .*\n", run(*asked, "--speed").stderr)


def test_on_a_terminal(tiny_q3e, tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("What is 12 + 7?\n{bad\nWhat is\t35 + \x1b4?\n")
    terminal = Terminal("run", tiny_q3e("int8"), "--prompts", path, *GREEDY, "--sequences", 2, "--speed")
    terminal.wait_for("line 1: What is 12 + 7?")
    assert "12 + 7 = " in terminal.wait_for("tok/s")
    terminal.wait_for("qwen3edge: line 2: ")
    terminal.wait_for("line 3: What is 35 + \ufffd4?")
    terminal.wait_for("2 answers, ")
    rest = plain(terminal.wait_for("\x1b[0m"))
    assert "together" in rest  # once, though --speed was given
    assert terminal.status() == 2


def test_questions_from_a_terminal(tiny_q3e):
    """The answer to a line does not wait for further ones."""
    terminal = Terminal("run", tiny_q3e("int8"), "--prompts", "-", *GREEDY, "--sequences", 4)
    terminal.wait_for("Ctrl-D ends them")
    for question in QUESTIONS[:2]:
        terminal.type(question + "\n")
        terminal.wait_for("tok/s")
    terminal.type("\x04")
    terminal.wait_for("2 answers, ")
    assert terminal.status() == 0


def test_a_program_that_waits_for_each_answer(tiny_q3e):
    command = [*COMMAND, "run", str(tiny_q3e("int8")), "--prompts", "-", *GREEDY, "--sequences", "4", "--json"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        for index, question in enumerate(QUESTIONS):
            process.stdin.write(question[:5])
            process.stdin.flush()
            process.stdin.write(question[5:] + "\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["index"] == index
        process.stdin.close()
        assert process.stdout.read() == ""
    assert process.returncode == 0


@pytest.fixture
def endless(tiny_q3e, tmp_path):
    """endless(*flags): the command while it gives long answers to many prompts."""
    path = tmp_path / "prompts.txt"
    path.write_text("Go on for ever.\n" * 500)

    def begun(*flags: str) -> subprocess.Popen:
        command = [*COMMAND, "run", str(tiny_q3e("int8")), "--prompts", str(path), "--sequences", "3"]
        command += ["--no-thinking", "--temperature", "100", "--top-k", "0", "--top-p", "1", *flags]
        with heard(signal.SIGINT):
            return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    return begun


def test_interrupt(endless):
    with endless() as process:
        process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        error = process.communicate(timeout=60)[1]
    assert (process.returncode, error) == (130, b"")


@pytest.mark.parametrize("flags", [["--json"], []], ids=str)
def test_a_reader_that_leaves(endless, flags):
    with endless("--max-tokens", "30", *flags) as process:
        process.stdout.readline()
        process.stdout.close()
        error = process.stderr.read()
    assert process.returncode == 141
    assert re.sub(rb"qwen3edge: line \d+: cut by --max-tokens .*\n", b"", error) == b""


def test_no_room_for_the_answers(tiny_q3e, tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("hi\n" * 3)
    command = [*COMMAND, "run", str(tiny_q3e("int8")), "--prompts", str(path), "--max-tokens", "2", "--json"]
    with open("/dev/full", "w") as full:
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (result.returncode, result.stderr) == (1, "qwen3edge: No space left on device\n")
