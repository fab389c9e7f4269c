"""kill -9 at any moment: no broken file stays, and the next pull goes on."""

import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

import qwen3edge
from qwen3edge.hub import find, pull
from qwen3edge.hub.inventory import entries
from tests.hub.conftest import NAME, left_over, sharded, tiny_files
from tests.hub.servers import Fault, Repository

COMMAND = [sys.executable, "-m", "qwen3edge", "pull", NAME, "--json", "--threads", "1"]


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill(process: subprocess.Popen[str]) -> str:
    """What it said last that it was doing."""
    process.send_signal(signal.SIGKILL)
    lines = process.stdout.read().splitlines()
    process.communicate()
    return lines[-1].partition(",")[0] if lines else "listing"


def require_sound(cache) -> None:
    """Every name that `load` would take is a whole model."""
    for entry in entries():
        if entry.tag != "checkpoint":
            with qwen3edge.load(entry.name, context=32, verify=True):
                assert entry.complete


def require_like(tiny_int4, cache) -> None:
    """The same weights as of a conversion that nobody killed."""
    with qwen3edge.load(find(NAME), context=32) as ours, qwen3edge.load(tiny_int4, context=32) as theirs:
        assert (ours.logits([5, 6]) == theirs.logits([5, 6])).all()
    assert left_over(cache) == []


@pytest.mark.parametrize("doing", ["downloading", "packing"])
def test_killed_while(doing, huggingface, cache, tiny_int4):
    huggingface.repositories[NAME] = Repository(tiny_files())
    huggingface.repositories[NAME].faults["model.safetensors"] = [Fault(stall=0.01)]
    process = start()
    for line in process.stdout:
        if f'"doing": "{doing}"' in line and "safetensors" in line + "safetensors" * (doing == "packing"):
            break
    kill(process)
    require_sound(cache)
    before = len(huggingface.fetched())
    steps = []
    assert pull(NAME, show=lambda step: steps.append(step.doing)).path.exists()
    assert "waiting" not in steps  # the lock went with its process
    later = huggingface.fetched()[before:]
    assert all("bytes=" in ask for ask in later) and len(later) == (1 if doing == "downloading" else 0)
    require_like(tiny_int4, cache)


@pytest.mark.slow
def test_killed_while_run_pulls(huggingface, cache):
    """The process that waits for the pull: the pull itself ends with its pipe or is done, and leaves no broken file."""
    huggingface.repositories[NAME].faults["model.safetensors"] = [Fault(stall=0.01)]
    process = subprocess.Popen(
        [sys.executable, "-m", "qwen3edge", "run", NAME, "hi", "--max-tokens", "1"], stdout=subprocess.DEVNULL
    )
    assert huggingface.busy.wait(60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert pull(NAME).path.exists()
    require_sound(cache)


@pytest.mark.slow
@pytest.mark.parametrize("words", [(), ("--discard",)], ids=["kept", "discarded"])
def test_killed_anywhere(hub, words, cache, tmp_path, seed, tiny_int4):
    """Forty times, a random time after it has begun; then once to the end."""
    chance = random.Random(seed)
    files = sharded(tiny_files(), 4, tmp_path)
    hub.repositories[NAME] = Repository(files)
    moments: Counter[str] = Counter()
    for round_ in range(40):
        for shard in (name for name in files if name.startswith("model-")):
            hub.repositories[NAME].faults[shard] = [Fault(stall=0.005)]
        process = start(*words)
        process.stdout.readline()  # from here on it works
        time.sleep(chance.uniform(0, 1.2))
        moments[kill(process)] += 1
        require_sound(cache)
        for entry in [entry for entry in entries() if entry.tag == "int4"]:
            entry.path.unlink()  # the next one begins with what was fetched
            if round_ % 2:  # or anew
                shutil.rmtree(cache)
    print(moments)
    pull(NAME, discard=bool(words))
    require_like(tiny_int4, cache)
    assert {entry.tag for entry in entries()} == ({"int4"} if words else {"int4", "checkpoint"})


@pytest.mark.slow
def test_a_little_at_a_time(hub, cache, tiny_int4):
    """Connections that break for ever do no harm as long as something comes."""
    hub.repositories[NAME] = Repository(tiny_files())
    hub.repositories[NAME].faults["model.safetensors"] = [Fault(cut=200_000)] * 60
    assert pull(NAME).path.exists()
    require_like(tiny_int4, cache)
