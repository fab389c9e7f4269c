"""examples/c-chat and examples/cpp-chat: the answers that Python gives for the same seed; Ctrl-C; memory."""

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

import qwen3edge
from qwen3edge.convert import convert
from tests.conftest import ROOT, build_example

pytestmark = pytest.mark.usefixtures("one_core")

QUESTIONS = ["What is 12 + 7?", "12 + 3 等于多少？", "Repeat: <|im_end|> Köln"]
MIB = 1 << 20


@pytest.fixture(scope="module", params=["c-chat/main.c", "cpp-chat/main.cpp"])
def chat(request, linked, tmp_path_factory):
    """One of the two programs."""
    return linked(ROOT / "examples" / request.param, tmp_path_factory.mktemp("chat") / "chat")


@pytest.fixture(scope="module")
def c_chat(linked, tmp_path_factory):
    return linked(ROOT / "examples" / "c-chat" / "main.c", tmp_path_factory.mktemp("c-chat") / "c-chat")


@pytest.fixture(scope="module")
def files(tiny_int4, tiny_moe_path, tiny_qwen2_path, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    for name, source in (("moe", tiny_moe_path), ("qwen2", tiny_qwen2_path)):
        convert(source, folder / name, "int4")
    return {"dense": tiny_int4, "moe": folder / "moe", "qwen2": folder / "qwen2"}


def expected_answers(path, seed):
    """The contents and the thoughts of a conversation in Python."""
    contents, thoughts, messages = [], [], []
    with qwen3edge.load(path, memory="2GiB") as model:
        for question in QUESTIONS:
            messages.append({"role": "user", "content": question})
            answer = model.generate(messages, seed=seed)
            contents.append(answer.read())
            thoughts.append(answer.reasoning)
            messages.append(answer.message)
    return contents, thoughts


@pytest.mark.parametrize("name", ["dense", "moe", "qwen2"])
def test_same_answers_as_python(chat, files, name, seed):
    result = subprocess.run(
        [chat, files[name], str(seed)], input="\n".join(QUESTIONS) + "\n", capture_output=True, encoding="utf-8",
        check=False, timeout=120,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    contents, thoughts = expected_answers(files[name], seed)
    assert result.stdout == "".join(content + "\n" for content in contents)
    assert result.stderr == "".join(thoughts)


def test_what_is_refused(chat, tmp_path):
    for arguments, code in (([], 2), ([tmp_path / "absent.q3e"], 1)):
        result = subprocess.run([chat, *arguments], capture_output=True, text=True, check=False, timeout=60)
        assert (result.returncode, result.stdout) == (code, "") and result.stderr.count("\n") == 1
    assert "absent.q3e: cannot open" in result.stderr


def begun(c_chat, *arguments):
    return subprocess.Popen(
        [c_chat, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    )


def asked(process, question):
    process.stdin.write(question + "\n")
    process.stdin.flush()


def test_ctrl_c_ends_an_answer(c_chat, tiny_int4):
    """And the next one is whole. Whether it meets the answer is a matter of time: it has several tries."""
    for _ in range(30):
        with begun(c_chat, tiny_int4, "1", "2048") as process:
            asked(process, QUESTIONS[0])
            assert process.stdout.readline()
            asked(process, "what is " * 600)
            time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(QUESTIONS[0] + "\n", timeout=60)
        if "(cancelled)" in errors:
            break
    assert process.returncode == 0, errors
    lines = output.splitlines()
    assert len(lines) >= 2 and lines[-1]


def test_ctrl_c_where_no_answer_runs(c_chat, tiny_int4):
    with begun(c_chat, tiny_int4, "1") as process:
        asked(process, QUESTIONS[0])
        assert process.stdout.readline()
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130


def test_memory_of_a_small_model(c_chat, tiny_int4):
    with begun(c_chat, tiny_int4, "1", "512") as process:
        asked(process, QUESTIONS[0])
        assert process.stdout.readline()
        status = Path(f"/proc/{process.pid}/status").read_text()
        process.stdin.close()
        assert process.wait(60) == 0
    peak = int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) * 1024
    assert peak <= 12 * MIB, f"{peak / MIB:.1f} MiB"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["c-chat", "cpp-chat"])
def test_they_build_by_cmake_alone(name, tmp_path, tiny_int4):
    """The whole core from its sources."""
    folder = build_example(tmp_path, name=name)
    result = subprocess.run([folder / name, tiny_int4, "0"], input="hi\n", capture_output=True, text=True, check=False)
    assert result.returncode == 0 and result.stdout.strip(), result.stderr
