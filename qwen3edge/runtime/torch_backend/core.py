"""`TorchCore`: what `runtime/engine.py` wants of a core, on a GPU."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from qwen3edge import _core
from qwen3edge.config import ModelConfig
from qwen3edge.errors import CancelledError
from qwen3edge.runtime.torch_backend.batch import Batch
from qwen3edge.runtime.torch_backend.block import Step
from qwen3edge.runtime.torch_backend.decode import DecodeSteps
from qwen3edge.runtime.torch_backend.device import Device
from qwen3edge.runtime.torch_backend.graph import Graph
from qwen3edge.runtime.torch_backend.pages import Pages
from qwen3edge.runtime.torch_backend.plan import HEAD_ROWS, plan_device
from qwen3edge.runtime.torch_backend.weights import WeightReader
from qwen3edge.settings import CoreSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray


class TorchCore:
    """Weights, KV cache and graph on one device. Calls from several threads wait for each other."""

    def __init__(
        self, file: _core.ModelFile, config: ModelConfig, settings: CoreSettings, device: Device, int8: bool = False
    ) -> None:
        """int8: as of `Graph`. Raises MemoryBudgetError, before any weight is read, if the settings do not fit the
        device.
        """
        self.plan: _core.PlanResult = plan_device(file, config, settings, device)
        self._device = device
        self._vocabulary = config.vocab_size
        self._pages = Pages(self.plan["sequences"], self.plan["context"], device.place)
        pages = self._pages.block_tables.numel()
        self._graph = Graph(
            config, file.blocks(), WeightReader(file, device), pages, self.plan["kv"], self.plan["sequences"],
            self.plan["context"], int8,
        )  # fmt: skip
        device.give_back()  # what repacking took
        self._decode = DecodeSteps(self._graph, self._pages, device)
        self._lock = threading.Lock()

    @property
    def metrics(self) -> _core.Metrics:
        """Nothing is streamed: all weights lie on the device."""
        return {
            "bytes_read": 0,
            "wait_seconds": 0.0,
            "expert_hits": 0,
            "expert_misses": 0,
            "expert_guesses": 0,
            "expert_guesses_right": 0,
            "experts_left_out": 0,
        }

    def length(self, sequence: int) -> int:
        """Tokens in the cache of a sequence. Raises RequestError."""
        with self._lock:
            return self._pages.length(sequence)

    def truncate(self, sequence: int, length: int) -> int:
        """Forgets all after `length` tokens, and returns that. Raises RequestError."""
        with self._lock:
            self._pages.truncate(sequence, length)
            return length

    def forward(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        sequences: Sequence[int],
        want: Sequence[bool],
        *,
        cancel: _core.CancelFlag | None = None,
    ) -> NDArray[np.float32]:
        """One ragged batch, as `_core.Engine.forward`: float32 [entries that want logits, vocabulary].

        Raises RequestError, nothing changed, for a token, position or sequence out of range; CancelledError, the tokens
        taken back, when the flag is set before the last chunk begins.
        """
        with self._lock, self._device.current(), torch.inference_mode():
            batch = Batch.checked(tokens, positions, sequences, want, self._vocabulary, self._pages)
            for run in batch.runs():
                self._pages.truncate(run.sequence, run.position)
            logits = np.empty((sum(batch.want_logits), self._vocabulary), np.float32)
            done, chunk = 0, self.plan["chunk"]
            for first in range(0, len(batch), chunk):
                if cancel is not None and cancel.is_set():
                    for run in batch.runs():
                        self._pages.truncate(run.sequence, run.position)
                    raise CancelledError("forward: cancelled, and the tokens of this call were taken back")
                part = batch.part(first, chunk)
                found = self._run(part, logits[done:])
                done += found
                for run in part.runs():
                    self._pages.extend(run.sequence, run.position + run.count)
            return logits

    def _run(self, batch: Batch, logits: NDArray[np.float32]) -> int:
        """One chunk; writes its logits and returns how many rows they are."""
        wanted = batch.wanted()
        if all(run.count == 1 for run in batch.runs()) and len(batch) <= self._decode.most:
            found = self._decode.run(batch)  # [tokens, vocabulary]
            logits[: len(wanted)] = found[torch.tensor(wanted, dtype=torch.long, device=found.device)].cpu().numpy()
            return len(wanted)
        step = self._step(batch, wanted)
        states = self._graph.forward(step, self._pages.block_tables)
        for first in range(0, len(wanted), HEAD_ROWS):
            rows = self._graph.logits(states[first : first + HEAD_ROWS])
            logits[first : first + len(rows)] = rows.cpu().numpy()
        return len(wanted)

    def _step(self, batch: Batch, wanted: list[int]) -> Step:
        def ints(values: list[int]) -> torch.Tensor:
            return torch.tensor(values, dtype=torch.int32).to(self._device.place)

        runs = batch.runs()
        lengths = [run.position + run.count for run in runs]
        return Step(
            tokens=ints(batch.tokens),
            positions=ints(batch.positions),
            sequences=ints(batch.sequences),
            rows=ints([len(batch)]),
            run_sequences=ints([run.sequence for run in runs]),
            run_starts=ints([*(run.first for run in runs), len(batch)]),
            run_lengths=ints(lengths),
            wanted=ints(wanted),
            longest_run=max(run.count for run in runs),
            longest_context=max(lengths),
        )
