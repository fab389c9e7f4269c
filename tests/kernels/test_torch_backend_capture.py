"""Decode steps as CUDA graphs, with a graph that is none: it notes what torch is asked for and replays by computing.

It cannot show that a GPU captures the step. It shows what would make it fail or answer wrongly there: a capture without
its warm-up, work on the host inside it, inputs that do not come from buffers of fixed place.
"""

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import qwen3edge
from qwen3edge.runtime.torch_backend import decode
from tests.kernels import random_model

# What waits for the device, whose result the host must see, or what brings data from the host.
FORBIDDEN = {"aten::_local_scalar_dense", "aten::nonzero", "aten::item", "aten::is_nonzero", "aten::lift_fresh"}


class Watch(TorchDispatchMode):
    """Names of the ops, and where those tensors lie that were not made in here."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.made: set[int] = set()
        self.read: set[int] = set()
        self.kept: list[torch.Tensor] = []  # so that no place is used twice

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.name().partition(".")[0])
        for x in torch.utils._pytree.tree_leaves((args, kwargs)):
            if isinstance(x, torch.Tensor) and x.untyped_storage().data_ptr() not in self.made:
                self.read.add(x.untyped_storage().data_ptr())
        out = func(*args, **(kwargs or {}))
        for x in torch.utils._pytree.tree_leaves(out):
            if isinstance(x, torch.Tensor) and x.untyped_storage().data_ptr() not in self.read:
                self.made.add(x.untyped_storage().data_ptr())
                self.kept.append(x)
        return out


class Fake:
    """torch.cuda as the decode step uses it."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.pools: list[int] = []
        self.stream = "main"
        self.captured: Watch | None = None

    def install(self, monkeypatch) -> None:
        fake = self

        class Stream:
            def __init__(self, name="side") -> None:
                self.name = name

            def wait_stream(self, other) -> None:
                fake.events.append(f"{self.name} waits for {other.name}")

        class CUDAGraph:
            def __init__(self) -> None:
                self.step, self.watch = None, None

            def replay(self) -> None:
                assert self.step is not None, "replayed before it was captured"
                fake.events.append("replay")
                step = self.step
                kept = step._logits
                kept.copy_(step._forward())  # as a graph does: into the place of the capture

        @contextmanager
        def stream(there):
            before, fake.stream = fake.stream, there.name
            yield
            fake.stream = before

        @contextmanager
        def graph(captured, pool, capture_error_mode):
            fake.events.append(f"capture in pool {pool}, {capture_error_mode}")
            with Watch() as watch:
                yield
            fake.captured = watch
            captured.step = fake.step

        monkeypatch.setattr(torch.cuda, "Stream", Stream)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda: Stream("main"))
        monkeypatch.setattr(torch.cuda, "stream", stream)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", CUDAGraph)
        monkeypatch.setattr(torch.cuda, "graph", graph)
        monkeypatch.setattr(
            torch.cuda, "graph_pool_handle", lambda: fake.pools.append(len(fake.pools)) or fake.pools[-1]
        )
        forward, capture = decode.DecodeStep._forward, decode.DecodeStep._capture

        def noted_forward(step):
            fake.events.append(f"forward on {fake.stream}")
            return forward(step)

        def noted_capture(step):
            fake.step = step
            capture(step)

        monkeypatch.setattr(decode.DecodeStep, "_forward", noted_forward)
        monkeypatch.setattr(decode.DecodeStep, "_capture", noted_capture)


@pytest.mark.parametrize("name", ["qwen3", pytest.param("qwen3_moe", marks=pytest.mark.slow)])
def test_a_step_is_captured_once_and_replayed_from_static_buffers(tmp_path, name, monkeypatch):
    path = random_model.write(tmp_path, name, "q4z32", seed=4)
    fake = Fake()
    with qwen3edge.load(path, context=64, sequences=2, device="interpreter") as model:
        core = model.engine.core
        for sequence, length in enumerate((3, 5)):
            core.forward(range(length), range(length), [sequence] * length, [False] * length)
        steps = [([7, 8], [3, 5]), ([9, 10], [4, 6]), ([11, 12], [5, 7])]
        expected = [core.forward(tokens, positions, [0, 1], [True] * 2) for tokens, positions in steps]
        core.truncate(0, 3)
        core.truncate(1, 5)

        fake.install(monkeypatch)
        capturing = replace(core._device, captures=True)
        monkeypatch.setattr(core, "_decode", decode.DecodeSteps(core._graph, core._pages, capturing))
        found = [core.forward(tokens, positions, [0, 1], [True] * 2) for tokens, positions in steps]

        own = [fake.step._inputs, fake.step._tables, core._graph.cos_sin, core._graph.counters, *model_tensors(core)]
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours == theirs).all()
    replay = ["replay", "forward on main"]
    assert fake.events == [
        "side waits for main", "forward on side", "forward on side", "main waits for side",
        "capture in pool 0, thread_local", "forward on main", *replay, *replay, *replay,
    ]  # fmt: skip
    assert "qwen3edge::attention_step" in fake.captured.names
    assert not FORBIDDEN & set(fake.captured.names)
    assert fake.captured.read <= {x.untyped_storage().data_ptr() for x in own}


def test_all_captures_share_a_pool(tmp_path, monkeypatch):
    """Buckets of one token and of two, each captured once, in the one pool of the model."""
    path = random_model.write(tmp_path, "qwen2", "q8", seed=4)
    fake = Fake()
    with qwen3edge.load(path, context=64, sequences=2, device="interpreter") as model:
        core = model.engine.core
        fake.install(monkeypatch)
        capturing = replace(core._device, captures=True)
        monkeypatch.setattr(core, "_decode", decode.DecodeSteps(core._graph, core._pages, capturing))
        for position, sequences in enumerate(([0], [0, 1], [0])):
            positions = [position if sequence == 0 else 0 for sequence in sequences]
            core.forward([5] * len(sequences), positions, sequences, [True] * len(sequences))
    assert [event for event in fake.events if "pool" in event] == ["capture in pool 0, thread_local"] * 2
    assert fake.pools == [0]


def model_tensors(core) -> list[torch.Tensor]:
    """What stays where it is as long as the model is loaded."""
    weights = random_model.weights_of(core._graph)
    parts = [part for weight in weights for part in getattr(weight, "__dict__", {}).values()]
    caches = [part for cache in core._graph.states if cache is not None for part in cache]
    return [part for part in (*weights, *parts, *caches) if isinstance(part, torch.Tensor)]
