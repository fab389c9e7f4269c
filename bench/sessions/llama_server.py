"""llama.cpp's server with some slots, asked by a thread for each."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.quiet import BenchError
from bench.server.process import Server
from bench.sessions.readers import PATIENCE, Sampling

SLOTS = 8


def tokens_per_second(server: Server, prompts: Sequence[Sequence[int]], count: int, sampling: Sampling) -> float:
    """Of as many requests at once, each in a slot that keeps its prompt from call to call. Raises BenchError."""
    with ThreadPoolExecutor(len(prompts)) as threads:
        start = time.perf_counter()
        found = list(threads.map(lambda n: _complete(server, n, prompts[n], count, sampling), range(len(prompts))))
        seconds = time.perf_counter() - start
    if any(each["tokens_predicted"] != count for each in found):
        raise BenchError(f"llama-server was asked for {count} tokens; found {found[0]['tokens_predicted']}")
    return len(prompts) * count / seconds


def _complete(server: Server, slot: int, prompt: Sequence[int], count: int, sampling: Sampling) -> dict[str, Any]:
    asked = {"prompt": list(prompt), "id_slot": slot, "n_predict": count, "ignore_eos": True, "cache_prompt": True}
    body = json.dumps({**asked, "seed": slot, "stream": False, "repeat_penalty": 1.0, **sampling}).encode()
    request = urllib.request.Request(server.url + "/completion", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except (OSError, ValueError) as error:
        raise BenchError(f"llama-server: /completion: {error}") from error
