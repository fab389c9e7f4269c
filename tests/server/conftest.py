"""Servers that tests share."""

from __future__ import annotations

import logging
import re
import subprocess
import sys

import httpx
import pytest
from starlette.testclient import TestClient

from qwen3edge.server import request_log
from qwen3edge.server.app import make_app
from qwen3edge.server.hosted import Models
from qwen3edge.server.metrics import Metrics
from qwen3edge.server.safety import Access
from tests.server.scripted import URL, Scripted

SETTINGS = {"sequences": 4, "threads": 1, "grammars": True, "context": "auto"}


@pytest.fixture(scope="module")
def scripted(tmp_path_factory):
    """A server whose model says what a test has written down."""
    with Scripted(tmp_path_factory.mktemp("scripted")) as server:
        yield server


@pytest.fixture(scope="module")
def tiny(tiny_int4):
    """A client of a server of the tiny model, in this process."""
    metrics = Metrics()
    models = Models({"tiny": tiny_int4}, {"other": "tiny"}, SETTINGS, count=metrics.count_answer)
    with TestClient(make_app(models, metrics, Access()), base_url=URL) as client:
        yield client


@pytest.fixture
def noted(caplog):
    """What the log has of requests, in a server that is told to write it."""
    caplog.set_level(logging.INFO, request_log.log.name)
    return lambda: [record.getMessage() for record in caplog.records if record.name == request_log.log.name]


@pytest.fixture(scope="module")
def serve(tiny_int4):
    """serve(*arguments): a client of `qwen3edge serve` on the tiny model, a process of its own, on a free port."""
    started = []

    def start(*arguments: str) -> httpx.Client:
        command = [sys.executable, "-m", "qwen3edge", "serve", tiny_int4, "--port", "0", "--threads", "1", *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = process.stdout.readline()
        assert line, process.stderr.read()
        client = httpx.Client(base_url=re.search(r"http://[\d.]+:\d+", line)[0], timeout=30, trust_env=False)
        client.process = process
        started.append(client)
        return client

    yield start
    for client in started:
        client.close()
        client.process.terminate()
    for client in started:
        client.process.communicate(timeout=30)
