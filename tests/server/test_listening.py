"""`qwen3edge serve` as a process: real connections, and its end."""

import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.cli.command import one_line, run

CHAT = "/v1/chat/completions"
LONG = {
    "messages": [{"role": "user", "content": "Go on."}], "ignore_eos": True, "temperature": 3, "top_k": 0, "top_p": 1,
    "stream": True,
}  # fmt: skip


def running(client):
    found = client.get("/props").json()["models"]["tiny"]["counts"]
    return found["running"] + found["waiting"]


@pytest.fixture(scope="module")
def server(serve):
    return serve("--alias", "tiny=int4", "--sequences", "2")


def test_c33_clients_that_hang_up(server):
    """In the middle of a stream, and in the queue; nothing goes on for them."""
    for _ in range(3):
        with server.stream("POST", CHAT, json={**LONG, "n": 9}) as response:
            lines = response.iter_lines()  # httpx hangs up when it is dropped
            next(lines)
            with pytest.raises(httpx.ReadTimeout):
                server.post(CHAT, json={**LONG, "stream": False}, timeout=0.2)
            assert running(server) > 2
        end = time.monotonic() + 5
        while running(server) and time.monotonic() < end:
            time.sleep(0.01)
        assert running(server) == 0
    answer = server.post(CHAT, json={**LONG, "stream": False, "max_tokens": 3}).json()
    assert answer["usage"]["completion_tokens"] == 3


def test_a_body_that_does_not_end(server):
    """Others are served meanwhile."""

    def body():
        yield b'{"messages": ['
        assert server.get("/health").status_code == 200
        yield b"]}"

    assert server.post(CHAT, content=body()).status_code == 400


def test_sigterm_lets_streams_finish(serve):
    server = serve("--grace", "20")
    with server.stream("POST", CHAT, json={**LONG, "max_tokens": 300}) as response:
        lines = response.iter_lines()
        next(lines)
        server.process.send_signal(signal.SIGTERM)
        rest = list(lines)
    assert rest[-2] == "data: [DONE]"
    assert json.loads(rest[-4].removeprefix("data: "))["choices"][0]["finish_reason"] == "length"
    assert server.process.wait(10) == -signal.SIGTERM
    assert server.process.stderr.read() == ""
    with pytest.raises(httpx.ConnectError):
        server.get("/health")


def test_what_still_runs_after_the_time_of_grace_is_told(serve):
    server = serve("--grace", "0")
    with server.stream("POST", CHAT, json=LONG) as response:
        lines = response.iter_lines()
        next(lines)
        server.process.send_signal(signal.SIGTERM)
        rest = list(lines)
    error = json.loads(rest[-2].removeprefix("data: "))["error"]
    assert error["code"] == "stopping"
    assert server.process.wait(10) == -signal.SIGTERM


# Ollama's clients cannot ask for an answer that goes on after its end token: with this seed none is drawn before the
# context is full.
WILD = {"temperature": 100, "top_k": 0, "top_p": 1, "seed": 11}


@pytest.mark.parametrize(("path", "body"), [
    (CHAT, {**LONG, "stream": False}),
    ("/api/chat", {"model": "int4", "messages": LONG["messages"], "stream": False, "options": WILD}),
])  # fmt: skip
def test_whole_answers_are_told_too(serve, path, body):
    """Those that run, and those that wait, in the form of their API."""
    server = serve("--alias", "tiny=int4", "--grace", "0", "--sequences", "1")
    with ThreadPoolExecutor(3) as clients:
        answers = [clients.submit(server.post, path, json=body) for _ in range(3)]
        while running(server) < 3:
            time.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        found = [answer.result() for answer in answers]
    assert [answer.status_code for answer in found] == [503] * 3
    assert all("stopping" in json.dumps(answer.json()["error"]) and answer.headers["retry-after"] for answer in found)
    server.process.wait(10)
    assert "Traceback" not in server.process.stderr.read()


@pytest.mark.parametrize("wrong", [
    ("--port", "99999"), ("--port", "-1"), ("--grace", "-1"), ("--idle", "0"), ("--api-key", ""),
    ("--allow-origin", "evil"),
])  # fmt: skip
def test_wrong_flags(tiny_q3e, wrong):
    assert "expected" in one_line(run("serve", tiny_q3e("int4"), *wrong), 2)
