"""Hubs on loopback, a cache of its own for each test, and the checkpoints that are in the hubs."""

import contextlib
import json
import math
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from qwen3edge.cli.main import main
from qwen3edge.formats.blocks import as_float32
from qwen3edge.formats.safetensors import INDEX, SINGLE, SafetensorsFolder
from qwen3edge.hub import patience
from tests.conftest import TINY
from tests.formats.safetensors_bytes import encode
from tests.hub.servers import Hub, Repository, running

NAME = "Tiny/tiny-qwen3"
ENDPOINTS = {"huggingface": "HF_ENDPOINT", "modelscope": "MODELSCOPE_ENDPOINT"}
_CLEARED = (
    *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "MODELSCOPE_API_TOKEN"),
    *("QWEN3EDGE_SOURCE", "XDG_CACHE_HOME"),
)


def tiny_files() -> dict[str, bytes]:
    """Of the tiny trained model, with much beside it that nobody needs."""
    files = {path.name: path.read_bytes() for path in TINY.iterdir() if path.is_file()}
    return files | {
        "pytorch_model.bin": b"pickled" * 20_000,
        "consolidated.00.pth": b"pickled" * 10,
        "onnx/model.onnx": b"graph" * 10,
        "original/model.safetensors": b"an older one",
        "figures/loss.png": b"\x89PNG",
    }


@lru_cache
def _one_layer() -> tuple[bytes, bytes]:
    with SafetensorsFolder(TINY) as source:
        tensors = {
            name: source.read_whole(name).reshape(source.shape(name))
            for name in source.names()
            if "layers" not in name or "layers.0." in name
        }
    config = json.loads((TINY / "config.json").read_bytes())
    return json.dumps(config | {"num_hidden_layers": 1}).encode(), encode(tensors)


def checkpoint_files() -> dict[str, bytes]:
    """The same with one layer, for tests that only fetch and pack."""
    config, weights = _one_layer()
    return tiny_files() | {"config.json": config, SINGLE: weights}


def sharded(
    files: dict[str, bytes], shards: int, folder: Path, scale: dict[str, float] | None = None
) -> dict[str, bytes]:
    """The same with its weights in several files, in the order of the layers. scale: of tensors, by a part of their
    names.
    """
    (folder / SINGLE).write_bytes(files[SINGLE])
    with SafetensorsFolder(folder, SINGLE) as source:
        tensors = {name: source.read_whole(name).reshape(source.shape(name)) for name in source.names()}
    (folder / SINGLE).unlink()
    for part, factor in (scale or {}).items():
        for name in (name for name in tensors if part in name):
            tensors[name] = as_bf16(as_float32(tensors[name]) * np.float32(factor))
    order = sorted(tensors, key=lambda name: (not name.startswith("model.embed"), "layers" not in name, name))
    size = math.ceil(len(order) / shards)
    index: dict[str, str] = {}
    made = {name: data for name, data in files.items() if name != SINGLE}
    for number in range(shards):
        shard = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = {name: tensors[name] for name in order[number * size : (number + 1) * size]}
        made[shard] = encode(part)
        index |= dict.fromkeys(part, shard)
    made[INDEX] = json.dumps({"metadata": {}, "weight_map": index}).encode()
    return made


def as_bf16(wide: np.ndarray) -> np.ndarray:
    """Cut, not rounded."""
    return (wide.view(np.uint32) >> 16).astype(np.uint16)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """Where the models go; nothing of the user's is read or written."""
    for name in _CLEARED:
        monkeypatch.delenv(name, raising=False)
    for name, folder in (("QWEN3EDGE_CACHE", "cache"), ("HOME", "home"), ("HF_HOME", "hf"), ("MODELSCOPE_HOME", "ms")):
        monkeypatch.setenv(name, str(tmp_path / folder))
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    for attribute, path in (("HF_HUB_CACHE", "hf/hub"), ("HF_TOKEN_PATH", "hf/token")):
        monkeypatch.setattr(f"huggingface_hub.constants.{attribute}", str(tmp_path / path))
    monkeypatch.setattr(patience, "_FIRST_WAIT", 0.01)
    return tmp_path / "cache"


@contextlib.contextmanager
def hub_of(source: str, monkeypatch) -> Iterator[Hub]:
    """One kind of hub, with the small model; pulls ask there."""
    with running(source) as hub:
        monkeypatch.setenv(ENDPOINTS[source], hub.url)
        monkeypatch.setenv("QWEN3EDGE_SOURCE", source)
        hub.repositories[NAME] = Repository(checkpoint_files())
        yield hub


@pytest.fixture(params=["huggingface", "modelscope"])
def hub(request, monkeypatch):
    """Each kind of hub."""
    with hub_of(request.param, monkeypatch) as hub:
        yield hub


@pytest.fixture(params=["huggingface", pytest.param("modelscope", marks=pytest.mark.slow)])
def either(request, monkeypatch):
    """The same, for what both kinds share the code of."""
    with hub_of(request.param, monkeypatch) as hub:
        yield hub


@pytest.fixture
def huggingface(monkeypatch):
    """Hugging Face's alone."""
    with hub_of("huggingface", monkeypatch) as hub:
        yield hub


class Ran(NamedTuple):
    """What a verb did."""

    status: int
    out: str
    err: str


@pytest.fixture
def command(capfd):
    """`qwen3edge ...` in this process."""

    def run(*words: object) -> Ran:
        capfd.readouterr()
        status = main([str(word) for word in words])
        return Ran(status, *capfd.readouterr())

    return run


def left_over(cache: Path) -> list[str]:
    """What a pull may not leave: unfinished files and folders of links."""
    return [str(p) for p in cache.rglob("*") if p.name.endswith(".part") or p.name.startswith("folder-")]
