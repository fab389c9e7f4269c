"""Small programs of examples/ on the tiny model: sensor-log, robot-loop, voice-menu and python-embed."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import qwen3edge
from tests.conftest import ROOT, build_example

EXAMPLES = ROOT / "examples"
SUMMARY_TOKENS = 96  # as sensor-log has it
LINES = [f"12:{i:02} temperature {20 + i * i % 7} C, fan {'on' if i % 3 else 'off'}" for i in range(60)]
MIB = 1 << 20


def run(*command, lines, **settings):
    """A program that reads these lines; fails unless it ends well."""
    found = subprocess.run(
        [str(each) for each in command], input="".join(line + "\n" for line in lines), capture_output=True,
        encoding="utf-8", check=False, timeout=120, **settings,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    return found


@pytest.fixture(scope="module")
def sensor_log(linked, tmp_path_factory) -> Path:
    return linked(EXAMPLES / "sensor-log" / "main.c", tmp_path_factory.mktemp("sensor-log") / "sensor-log")


@pytest.fixture(scope="module")
def robot_loop(linked, tmp_path_factory) -> Path:
    return linked(EXAMPLES / "robot-loop" / "main.cpp", tmp_path_factory.mktemp("robot-loop") / "robot-loop")


# ---- sensor-log ----


def summaries(path, lines, context):
    """What sensor-log writes, by the Python API."""

    def prompt(before, some):
        told = f"Before: {before}\n" if before else ""
        return f"{told}Sum up this log in one line, with what is unusual in it:\n" + "".join(
            f"{each}\n" for each in some
        )

    with qwen3edge.load(path, memory="2GiB", context=context) as model:
        before, some = "", []

        def summed_up():
            answer = model.generate(prompt(before, some), thinking=False, temperature=0, max_tokens=SUMMARY_TOKENS)
            return re.sub(r"[\r\n]", " ", answer.read())

        for line in lines:
            tokens = len(model.tokens_of(prompt(before, [*some, line]), thinking=False))
            if some and tokens + SUMMARY_TOKENS > context:
                before = summed_up()
                yield f"{len(some)} lines: {before}"
                some = []
            some.append(line)
        if some:
            yield f"{len(some)} lines: {summed_up()}"


def test_a_log_is_summed_up_piece_by_piece(sensor_log, tiny_int4):
    found = run(sensor_log, tiny_int4, 256, lines=LINES)
    told = found.stdout.splitlines()
    assert told == list(summaries(tiny_int4, LINES, 256)) and len(told) > 3
    assert sum(int(line.split()[0]) for line in told) == len(LINES)


def test_a_long_line_is_cut(sensor_log, tiny_int4):
    long = "x" * 5000
    found = run(sensor_log, tiny_int4, lines=[long, "behind it"])
    assert found.stdout.splitlines() == list(summaries(tiny_int4, ["x" * 255, "behind it"], 512))


def test_memory_does_not_grow_with_the_log(sensor_log, tiny_int4):
    with subprocess.Popen(
        [sensor_log, tiny_int4, "256"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdin.write("".join(line + "\n" for line in LINES * 3))
        process.stdin.flush()
        for _ in range(10):
            assert process.stdout.readline()
        peak = int(re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())[1]) * 1024
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 0
    planned = float(re.fullmatch(r"([\d.]+) MiB at most\n", errors)[1])
    assert peak / MIB <= planned + 1, (peak / MIB, planned)


def test_what_sensor_log_refuses(sensor_log, tiny_int4, tmp_path):
    for arguments, code in (([], 2), ([tiny_int4, "96"], 2), ([tiny_int4, "many"], 2), ([tmp_path / "absent.q3e"], 1)):
        found = subprocess.run([sensor_log, *arguments], capture_output=True, text=True, check=False, timeout=60)
        assert (found.returncode, found.stdout, found.stderr.count("\n")) == (code, "", 1), arguments


# ---- robot-loop ----

SEEN = ["wall 20 cm ahead", "nothing ahead", "12 + 7 = ?"]
ACTIONS = {"forward", "left", "right", "stop"}
TURN = r"(in time|late), \d+ ms, (\d+) of (\d+) tokens of thoughts"


def turns(found):
    """(in time or late, tokens of thoughts, their budget) of each turn."""
    matches = [re.fullmatch(TURN, line) for line in found.stderr.splitlines()]
    return [(match[1], int(match[2]), int(match[3])) for match in matches]


def test_a_robot_with_time_thinks(robot_loop, tiny_int4):
    found = run(robot_loop, tiny_int4, 100_000, 5, lines=SEEN)
    actions = found.stdout.splitlines()
    assert len(actions) == len(SEEN) and set(actions) <= ACTIONS
    told = turns(found)
    assert [each[::2] for each in told] == [("in time", 128)] * len(SEEN)
    assert all(0 < thoughts <= 128 for _, thoughts, _ in told)
    assert run(robot_loop, tiny_int4, 100_000, 5, lines=SEEN).stdout == found.stdout


def test_a_robot_that_is_late_stops(robot_loop, tiny_int4):
    found = run(robot_loop, tiny_int4, 0, lines=SEEN)
    assert found.stdout.splitlines() == ["stop"] * len(SEEN)
    assert [each[::2] for each in turns(found)] == [("late", 0)] * len(SEEN)


def test_what_robot_loop_refuses(robot_loop, tmp_path):
    for arguments, code in (([], 2), ([tmp_path / "absent.q3e", "100"], 1), (["m.q3e", "soon"], 1)):
        found = subprocess.run([robot_loop, *arguments], capture_output=True, text=True, check=False, timeout=60)
        assert (found.returncode, found.stdout, found.stderr.count("\n")) == (code, "", 1), arguments


# ---- Python ----


def python(name, *arguments, lines):
    return run(sys.executable, EXAMPLES / name / "main.py", *arguments, lines=lines, cwd=ROOT)


def test_every_sentence_becomes_a_command(tiny_int4):
    pytest.importorskip("llguidance")
    sentences = [
        "Turn on the light in the kitchen",
        "Make the hall 21 degrees",
        "What is 12 + 7?",
        "卧室太冷了",
        "off!",
    ]
    found = python("voice-menu", tiny_int4, lines=sentences)
    commands = [json.loads(line) for line in found.stdout.splitlines()]
    assert len(commands) == len(sentences)
    lights, degrees = (
        dict.fromkeys(("kitchen", "bedroom", "hall"), False),
        dict.fromkeys(("kitchen", "bedroom", "hall"), 18),
    )
    for each in commands:
        kind = each.pop("command")
        if kind == "light":
            assert set(each) == {"room", "on"} and isinstance(each["on"], bool)
            lights[each["room"]] = each["on"]
        elif kind == "heat":
            assert set(each) == {"room", "degrees"} and 10 <= each["degrees"] <= 25
            degrees[each["room"]] = each["degrees"]
        else:
            assert (kind, each) == ("nothing", {})
    assert found.stderr == f"lights {lights}, degrees {degrees}\n" and len(lights) == len(degrees) == 3


def test_the_nearest_notes(tiny_int4, tmp_path):
    notes = ["Beijing is in China.", "Bodies attract.", "12 + 7 = 19", "水是湿的。"]
    file = tmp_path / "notes.txt"
    file.write_text("\n\n".join(notes) + "\n", encoding="utf-8")
    questions = ["Where is Beijing?", "Why do bodies fall?"]
    found = python("python-embed", tiny_int4, file, lines=questions)
    with qwen3edge.load(tiny_int4, memory="2GiB", context=512) as model:
        vectors = model.embed(notes)
        queries = model.embed(questions, instruction="Find notes that answer the question")
    expected = []
    for query in queries:
        scores = vectors @ query
        expected += [f"{scores[i]:.3f} {notes[i]}" for i in np.argsort(-scores, kind="stable")[:3]]
    assert found.stdout.splitlines() == expected


def test_no_notes(tiny_int4, tmp_path):
    empty = tmp_path / "empty.txt"
    empty.write_text("\n")
    command = [sys.executable, EXAMPLES / "python-embed" / "main.py", tiny_int4, empty]
    found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (found.returncode, found.stdout) == (1, "") and str(empty) in found.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name, arguments", [("sensor-log", []), ("robot-loop", ["100000"])])
def test_they_build_by_cmake_alone(name, arguments, tmp_path, tiny_int4):
    """The whole core from its sources."""
    folder = build_example(tmp_path, name=name)
    assert run(folder / name, tiny_int4, *arguments, lines=LINES[:1]).stdout.count("\n") == 1
