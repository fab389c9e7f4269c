"""The interpreter ends while threads are at work: no abort, status 0."""

import subprocess
import sys

import numpy as np

STREAMING = """
import sys, threading, time
import qwen3edge
m = qwen3edge.load(sys.argv[1], memory="400MiB", context=2048, threads=2)
def work():
    while True:
        for piece in m.generate("What is 12 + 13?", max_tokens=400, temperature=1.0): pass
threading.Thread(target=work, daemon=True).start()
time.sleep(float(sys.argv[2]))
"""

OBSERVING = """
import sys, threading, time
from qwen3edge import _core
engine = _core.Engine(_core.ModelFile(sys.argv[1]), context=256, threads=2)
ready = threading.Event()
engine.observe(lambda *_: ready.set())
def work():
    while True: engine.forward(range(50), range(50), [0] * 50, [False] * 50)
threading.Thread(target=work, daemon=True).start()
ready.wait()
time.sleep(float(sys.argv[2]))
"""


def ends(program, path, seed):
    random = np.random.default_rng(seed)
    found = []
    for _ in range(12):
        command = [sys.executable, "-c", program, str(path), str(random.uniform(0, 1))]
        result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        found.append((result.returncode, result.stderr.strip()))
    return set(found)


def test_a_daemon_thread_that_streams(tiny_int4, seed):
    """CPython ends the thread when it asks for the GIL; unwinding it through our frames would be std::terminate. From
    the first import to the middle of an answer.
    """
    assert ends(STREAMING, tiny_int4, seed) == {(0, "")}


def test_a_daemon_thread_whose_call_calls_python(tiny_int4, seed):
    """The callback runs on threads of the core."""
    assert ends(OBSERVING, tiny_int4, seed) == {(0, "")}
