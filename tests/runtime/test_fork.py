"""Forks: a child leaves in any ordinary way, computes with threads of its own, and never waits for its parent's."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.runtime.test_cancel import streamed

PRELUDE = """
import functools, os, sys, threading, time, ctypes
print = functools.partial(print, flush=True)  # a child would write what waits in its copy of the buffer
import numpy as np
import qwen3edge
from qwen3edge import _core
from qwen3edge.errors import RequestError
path, threads, memory = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def load(threads=threads, **settings):
    settings = {"context": 256, "chunk": 32, "threads": threads, "texts": False} | settings
    return qwen3edge.load(path, memory=memory or "400MiB", **settings)
tokens = list(range(5, 75))
def ended(child, seconds=60):
    "The exit status of a child; -9 when it hung."
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return "hung"
"""

CHILD = (
    PRELUDE
    + """
m = load()
expected = m.logits(tokens)
child = os.fork()
if child == 0:
    what, leave = sys.argv[4], sys.argv[5]
    right = True
    if what == "answers":
        right = (m.logits(tokens) == expected).all()
    if what == "closes":
        m.close()
    if what == "thread":
        def work():
            global right
            right = (m.logits(tokens) == expected).all()
        t = threading.Thread(target=work); t.start(); t.join()
    if what == "other thread":
        t = threading.Thread(target=int); t.start(); t.join()
    if what.startswith("loads"):
        n = load()
        right = (n.logits(tokens) == expected).all()
        if what == "loads, closes new first": n.close(); m.close()
        if what == "loads, closes old first": m.close(); n.close()
    if what == "forks":
        right = (m.logits(tokens) == expected).all()
        grandchild = os.fork()
        if grandchild == 0:
            sys.exit(0 if (m.logits(tokens) == expected).all() else 3)
        right = right and ended(grandchild) == 0
    if not right: os._exit(4)
    if leave == "_exit": os._exit(0)
    if leave == "exit": sys.exit(0)
    if leave == "raise": raise SystemExit(0)
else:
    print(ended(child))
    assert (m.logits(tokens) == expected).all()
    m.close()
"""
)

WHATS = [
    "nothing", "answers", "closes", "thread", "other thread", "loads", "loads, closes new first",
    "loads, closes old first", "forks",
]  # fmt: skip


def run(program, path, *arguments, memory=0, threads=2, timeout=300):
    command = [sys.executable, "-c", program, str(path), str(threads), str(memory), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout.split("\n")[:-1]


@pytest.mark.parametrize("what", WHATS)
def test_a_child_ends(tiny_int4, what):
    assert run(CHILD, tiny_int4, what, "exit") == ["0"]


@pytest.mark.parametrize("leave", ["_exit", "return", "raise"])
@pytest.mark.parametrize("what", ["nothing", "answers", "loads"])
def test_a_child_ends_in_any_way(tiny_int4, what, leave):
    assert run(CHILD, tiny_int4, what, leave) == ["0"]


@pytest.mark.parametrize("reader", ["uring", "threads"])
@pytest.mark.parametrize("what", ["nothing", "answers", "closes", "loads, closes old first"])
def test_a_child_of_one_that_streams(tiny_int4, monkeypatch, what, reader):
    """Reads of the parent are on their way at the fork: they end in the parent's memory."""
    monkeypatch.setenv("QWEN3EDGE_READER", reader)
    memory = streamed(tiny_int4)["memory"] + (60 << 20)  # and the program, which has numpy
    assert run(CHILD, tiny_int4, what, "exit", memory=memory) == ["0"]


SLOTS = (
    PRELUDE
    + """
settings = {"context": 256, "threads": threads, "program": 1 << 20, "chunk": 32, "memory": memory}
engine = _core.Engine(_core.ModelFile(path), **settings)
assert engine.plan["expert_slots"]
def logits():
    n = len(tokens)
    return engine.forward(tokens, range(n), [0] * n, [True] * n)
expected = logits()
for _ in range(3):
    child = os.fork()
    if child == 0:
        sys.exit(0 if (logits() == expected).all() else 3)
    assert (logits() == expected).all()  # both at the same time
    print(ended(child))
"""
)


@pytest.mark.parametrize("reader", ["uring", "threads"])
def test_a_child_of_one_with_slots_of_experts(tiny_moe_path, tmp_path, monkeypatch, reader):
    from qwen3edge.convert import convert  # noqa: PLC0415

    monkeypatch.setenv("QWEN3EDGE_READER", reader)
    convert(tiny_moe_path, tmp_path / "moe.q3e", "int4")
    assert run(SLOTS, tmp_path / "moe.q3e", memory=streamed(tmp_path / "moe.q3e")["memory"]) == ["0"] * 3


BUSY = (
    PRELUDE
    + """
m = load()
expected = m.logits(tokens)
stop = threading.Event()
def work():
    while not stop.is_set():
        m.logits(tokens)
t = threading.Thread(target=work); t.start()
for _ in range(12):
    time.sleep(0.02)
    child = os.fork()
    if child == 0:
        try:
            right = (m.logits(tokens) == expected).all()
        except RequestError as error:  # in the middle of a call, or the thread that is not here held the one sequence
            right = "fork" in str(error) or "all 1 in use" in str(error)
        n = load()
        right = right and (n.logits(tokens) == expected).all()
        n.close()
        sys.exit(0 if right else 3)
    print(ended(child))
stop.set()
t.join()
assert (m.logits(tokens) == expected).all()
"""
)


def test_children_of_a_busy_parent(tiny_int4):
    """A thread of the parent is in a call: the model is refused in the child, another one loads, and the child ends."""
    assert run(BUSY, tiny_int4) == ["0"] * 12


LOCKS = (
    PRELUDE
    + """
m = load(sequences=2)
expected = m.logits(tokens)
session = m.session()
lock = {"starting": session._starting, "engine": m.engine._lock}[sys.argv[4]]
held, done = threading.Event(), threading.Event()
def hold():
    with lock:
        held.set()
        done.wait()
def forks():
    child = os.fork()
    if child == 0:
        session.generate([1, 2], raw=True, max_tokens=2).read()
        sys.exit(0 if (m.logits(tokens) == expected).all() else 3)
    print(ended(child, 20))
if sys.argv[5] == "other":
    threading.Thread(target=hold).start()
    held.wait()
    forks()
    done.set()
else:
    with lock:
        forks()
"""
)


@pytest.mark.parametrize("holder", ["other", "same"])
@pytest.mark.parametrize("lock", ["starting", "engine"])
def test_a_lock_is_held_at_the_fork(tiny_int4, lock, holder):
    """By a thread that the child does not have: it is free there. By the thread that forks: it is still held."""
    assert run(LOCKS, tiny_int4, lock, holder) == ["0"]


READING = (
    PRELUDE
    + """
m = load(texts=True, sequences=3)
expected = m.logits(tokens)
inside, done = threading.Event(), threading.Event()
def progress(*_):
    inside.set()
    done.wait()
session = m.session()
answer = session.generate("What is 12 + 13?", max_tokens=4, progress=progress)
reading = threading.Thread(target=answer.read)
reading.start()
inside.wait()
child = os.fork()
if child == 0:
    answer.close()
    session.close()
    own = m.session()
    own.generate("What is 12 + 13?", max_tokens=4).read()
    sys.exit(0 if (m.logits(tokens) == expected).all() else 3)
print(ended(child, 20))
done.set()
reading.join()
print(answer.finish_reason)
"""
)


def test_an_answer_is_read_at_the_fork(tiny_int4):
    """The child closes it and asks anew; the parent's reader reads on."""
    assert run(READING, tiny_int4) == ["0", "length"]


DAEMON = (
    PRELUDE
    + """
m = load()
expected = m.logits(tokens)
read, write = os.pipe()
if os.fork() == 0:  # as a daemon is made: the middle process ends at once
    os.setsid()
    if os.fork() == 0:
        os.write(write, b"1" if (m.logits(tokens) == expected).all() else b"0")
        sys.exit(0)
    sys.exit(0)
os.close(write)
print(os.read(read, 1).decode(), repr(os.read(read, 1)))  # the pipe's end: both are gone
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
)


def test_a_daemon(tiny_int4):
    assert run(DAEMON, tiny_int4) == ["1 b''", "0"]


POOL = (
    PRELUDE
    + """
import signal, socket
m = load()
expected = m.logits(tokens[:8])
listener = socket.create_server(("127.0.0.1", 0))
address = listener.getsockname()

def worker():  # answers a few connections, then makes room for another one, as a pre-forking server's workers do
    for _ in range(4):
        connection, _ = listener.accept()
        with connection:
            count = int(connection.recv(16))
            connection.sendall(b"right" if (m.logits(tokens[:count]) == expected[:count]).all() else b"wrong")
    sys.exit(0)

def start():
    child = os.fork()
    if child == 0:
        try:
            worker()
        finally:
            sys.stdout.flush()
    return child

children, ends, answers = {start(), start()}, [], []
def ask():
    for i in range(40):
        with socket.create_connection(address) as connection:
            connection.sendall(str(1 + i % 8).encode())
            answers.append(connection.recv(16))
asking = threading.Thread(target=ask)
asking.start()
deadline = time.monotonic() + 120
while (asking.is_alive() or children) and time.monotonic() < deadline:
    pid, status = os.waitpid(-1, os.WNOHANG)
    if pid:
        children.remove(pid)
        ends.append(os.waitstatus_to_exitcode(status))
        if len(ends) + len(children) < 10:
            children.add(start())
    time.sleep(0.01)
for child in children:
    os.kill(child, signal.SIGKILL)
print(len(answers), set(answers), ends)
"""
)


@pytest.mark.slow
def test_a_pool_of_workers_that_are_recycled(tiny_int4):
    """As gunicorn --preload has them: every worker answers right and ends by itself when its turn is over."""
    assert run(POOL, tiny_int4) == [f"40 {{b'right'}} {[0] * 10}"]
