"""kill -9 of a server, whatever it is doing: no broken file stays, and the next server goes on."""

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

import qwen3edge
from qwen3edge.server.errors import ConflictError
from qwen3edge.server.sessions import Sessions
from tests.hub.conftest import NAME, cache, huggingface  # noqa: F401  # fixtures
from tests.hub.servers import Fault
from tests.hub.test_kill import require_sound

ROUNDS = 20


def start(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "qwen3edge", "serve", *map(str, words), "--port", "0", "--threads", "1"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def url_of(process: subprocess.Popen[str]) -> str:
    line = process.stdout.readline()
    assert line, process.stderr.read()
    return re.search(r"http://[\d.]+:\d+", line)[0]


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def trouble(url: str, seed: str, done: Counter[str]) -> None:
    """Chats, saves and loads until the server is gone."""
    draw = random.Random(seed)
    with contextlib.suppress(httpx.TransportError), httpx.Client(base_url=url, timeout=20, trust_env=False) as client:
        while True:
            words = draw.choice(("What is 12 + 7? ", "Count. ")) * draw.randrange(1, 150)
            body = {"messages": [{"role": "user", "content": words}]}
            kind = draw.choice(("chat", "save", "save", "load"))
            if kind == "chat":
                client.post("/v1/chat/completions", json={**body, "max_tokens": 20})
            else:
                client.post(f"/sessions/{draw.choice('abc')}/{kind}", json=body if kind == "save" else {})
            done[kind] += 1


def unfinished(folder: Path) -> int:
    return sum(".session.new-" in name for name in os.listdir(folder))


@pytest.mark.slow
def test_sessions_are_whole(tiny_int4, tmp_path, seed):
    """Every file under a session's name can be loaded, and what was unfinished goes with the next start."""
    chance, done, left = random.Random(seed), Counter(), Counter()
    for round_ in range(ROUNDS):
        process = start(tiny_int4, "--sessions", tmp_path)
        url = url_of(process)
        threads = [threading.Thread(target=trouble, args=(url, f"{seed} {round_} {i}", done)) for i in range(3)]
        for thread in threads:
            thread.start()
        before, end = done.total(), time.monotonic() + 30
        while (unfinished(tmp_path) == 0 if round_ % 2 else done.total() == before) and time.monotonic() < end:
            time.sleep(0.0005)
        time.sleep(0 if round_ % 2 else chance.uniform(0, 1))  # in the middle of a file, or anywhere
        kill(process)
        for thread in threads:
            thread.join()
        left["unfinished"] += unfinished(tmp_path)
        with Sessions(tmp_path) as saved, qwen3edge.load(tiny_int4, threads=1) as model:
            assert [name for name in os.listdir(tmp_path) if not name.endswith(".session")] == []
            for each in saved.listed():
                assert saved.load(each.name, model) > 0
                left["whole"] += 1
    print(f"{ROUNDS} rounds; {dict(done)}; {dict(left)}")
    assert left["whole"] > ROUNDS // 2 and left["unfinished"] > 0 and done["save"] > ROUNDS // 2


def test_a_half_written_session_is_seen(tiny_int4, tmp_path):
    """The test above would not pass with one."""
    with Sessions(tmp_path) as saved, qwen3edge.load(tiny_int4, threads=1) as model:
        made = saved.save("a", model, [1, 2, 3])
        path = tmp_path / "a.session"
        path.write_bytes(path.read_bytes()[: made.bytes - 1])
        with pytest.raises(ConflictError):
            saved.load("a", model)


@pytest.mark.slow
def test_killed_while_it_pulls(huggingface, cache, seed):  # noqa: F811
    """Its name is served once the pull has gone on to its end."""
    chance = random.Random(seed)
    for _ in range(8):
        huggingface.repositories[NAME].faults["model.safetensors"] = [Fault(stall=0.02)]
        process = start(NAME)
        time.sleep(chance.uniform(0.3, 2.5))
        kill(process)
        require_sound(cache)
    process = start(NAME)
    body = {"model": NAME, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3}
    answer = httpx.post(f"{url_of(process)}/v1/chat/completions", json=body, timeout=60, trust_env=False).json()
    assert answer["usage"]["completion_tokens"] == 3
    kill(process)
    require_sound(cache)
