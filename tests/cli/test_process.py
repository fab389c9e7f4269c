"""The process that a verb runs in: standard streams that are closed, and signals that end it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.cli.heard import heard

COMMAND = [sys.executable, "-m", "qwen3edge"]


def closed(streams, tmp_path, *arguments):
    """Runs a command with these standard streams closed, as a daemon or `>&-` has them: status, and what it said."""
    said = tmp_path / "said"
    shell = 'exec "$@"' + "".join(f" {n}>&-" if n else " 0<&-" for n in streams)
    shell += "" if 2 in streams else f" 2>{said}"
    result = subprocess.run(
        ["sh", "-c", shell, "sh", *COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, timeout=300, check=False,
    )  # fmt: skip
    return result.returncode, said.read_text() if said.exists() else ""


ALL_STREAMS = (0, 1, 2)
CLOSED = [
    *((verb, ALL_STREAMS) for verb in ("convert", "export", "run", "info")),
    *((verb, (stream,)) for verb in ("convert", "run") for stream in ALL_STREAMS),
]


@pytest.mark.parametrize(("verb", "streams"), CLOSED, ids=str)
def test_closed_streams(tmp_path, tiny_model_path, tiny_int4, streams, verb):
    target = tmp_path / "out"
    arguments = {
        "convert": (tiny_model_path, target, "--quiet"),
        "export": (tiny_int4, target, "--quiet"),
        "run": (tiny_int4, "hi", "--no-thinking", "--max-tokens", "2", "--context", "256"),
        "info": (tiny_int4,),
    }[verb]
    said = "qwen3edge: cut by --max-tokens (2)\n" if verb == "run" and 2 not in streams else ""
    assert closed(streams, tmp_path, verb, *arguments) == (0, said)
    if verb in ("convert", "export"):  # and nothing that was printed went into the model
        again = tmp_path / "again"
        subprocess.run([*COMMAND, verb, str(arguments[0]), str(again), "--quiet"], check=True, stdout=subprocess.PIPE)
        assert target.read_bytes() == again.read_bytes()


def test_no_input(tmp_path, tiny_int4):
    status, said = closed((0,), tmp_path, "run", tiny_int4, "--context", "256")
    assert status == 2
    assert said.count("\n") == 1
    assert "expected a prompt" in said
    assert closed((0,), tmp_path, "chat", tiny_int4, "--context", "256") == (0, "")


def test_an_error_without_a_place_to_tell_it(tmp_path):
    assert closed((2,), tmp_path, "info", tmp_path / "absent.q3e") == (1, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("old", [False, True], ids=["new", "replaced"])
def test_a_signal_leaves_nothing_half_written(tmp_path, tiny_model_path, number, old, seed):
    """And the process ends by it, as supervisors expect."""
    target = tmp_path / "m.q3e"
    if old:
        target.write_bytes(b"old")
    program = (
        "import sys, time; from qwen3edge.convert import checkpoint; from qwen3edge.cli.main import main\n"
        "pack = checkpoint.packed_slices\n"
        "def slow(*a):\n"
        "    for piece in pack(*a):\n"
        "        print('begun', flush=True); time.sleep(0.05); yield piece\n"
        "checkpoint.packed_slices = slow\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    command = [sys.executable, "-c", program, "convert", str(tiny_model_path), str(target), "--quiet"]
    with heard(number):
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "begun\n"
    assert any(".part" in path.name for path in tmp_path.iterdir())
    time.sleep(seed % 7 * 0.03)
    child.send_signal(number)
    _, said = child.communicate(timeout=120)
    assert child.returncode == -number, said
    assert said == ""
    assert [path.name for path in tmp_path.iterdir()] == (["m.q3e"] if old else [])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_the_tests_themselves_may_ignore_signals(number):
    program = f"import os; os.kill(os.getpid(), {int(number)})"
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with heard(number):
            ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).returncode
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)
    assert ended == -number


def test_a_signal_that_is_ignored_stays_so(tmp_path, tiny_model_path):
    """As nohup starts a program."""
    program = (
        "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from qwen3edge.convert import checkpoint; from qwen3edge.cli.main import main\n"
        "write = checkpoint.write_model\n"
        "checkpoint.write_model = lambda *a, **k: (os.kill(os.getpid(), signal.SIGHUP), write(*a, **k))[1]\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    target = tmp_path / "m.q3e"
    command = [sys.executable, "-c", program, "convert", str(tiny_model_path), str(target), "--quiet"]
    assert subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == 0
    assert target.exists()


def test_main_gives_the_handlers_back():
    program = (
        "import signal; from qwen3edge.cli.main import main\n"
        "before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)]\n"
        "assert main(['info', '/absent.q3e']) == 1\n"
        "assert before == [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)]\n"
        "import threading; t = threading.Thread(target=main, args=(['info', '/absent.q3e'],)); t.start(); t.join()\n"
        "print('done')\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "done\n"
    assert "Traceback" not in result.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_no_room_for_the_output(tiny_int4):
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [*COMMAND, "info", str(tiny_int4)], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert result.returncode == 1
    assert result.stderr == "qwen3edge: No space left on device\n"
