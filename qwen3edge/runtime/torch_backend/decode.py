"""Decode steps: one token of each of a few sequences, in buffers of fixed size, captured as CUDA graphs."""

from __future__ import annotations

import torch

from qwen3edge.kernels.kv_cache import PAGE
from qwen3edge.runtime.torch_backend.batch import Batch
from qwen3edge.runtime.torch_backend.block import Step
from qwen3edge.runtime.torch_backend.device import Device
from qwen3edge.runtime.torch_backend.graph import Graph
from qwen3edge.runtime.torch_backend.pages import Pages
from qwen3edge.runtime.torch_backend.plan import HEAD_ROWS

_WARM_UPS = 2  # runs before a capture: compilation, and allocations that a capture must not make
_SHORTEST = 1024  # positions: grids of attention for fewer are as good as free


def buckets(smallest: int, largest: int) -> list[int]:
    """Doubled from the smallest; the last is the first that is not below the largest."""
    sizes = [smallest]
    while sizes[-1] < largest:
        sizes.append(2 * sizes[-1])
    return sizes


class DecodeSteps:
    """A step for every bucket of tokens and of context, made when it is first needed."""

    def __init__(self, graph: Graph, pages: Pages, device: Device) -> None:
        self._graph = graph
        self._pages = pages
        self._device = device
        self._sizes = buckets(1, min(pages.sequences, HEAD_ROWS))
        self._contexts = buckets(_SHORTEST, pages.context)
        self._steps: dict[tuple[int, int], DecodeStep] = {}
        # Of all captures: they run one after the other, so what one needs only while it runs the next may use.
        self._pool = torch.cuda.graph_pool_handle() if device.captures else None

    @property
    def most(self) -> int:
        """Tokens of the largest bucket."""
        return self._sizes[-1]

    def run(self, batch: Batch) -> torch.Tensor:
        """float32 [tokens, vocabulary], overwritten by the next call.

        The batch has at most `most` tokens, each of another sequence.
        """
        size = next(size for size in self._sizes if size >= len(batch))
        context = next(context for context in self._contexts if context > max(batch.positions))
        if (size, context) not in self._steps:
            self._steps[size, context] = DecodeStep(size, context, self._graph, self._pages, self._device, self._pool)
        return self._steps[size, context].run(batch)


class DecodeStep:
    """Buffers of one bucket; entries past the batch are padding, which writes nothing and wakes no expert."""

    def __init__(
        self, size: int, context: int, graph: Graph, pages: Pages, device: Device, pool: tuple[int, int] | None
    ) -> None:
        self._graph = graph
        self._tables = pages.block_tables
        self._captures = device.captures
        self._pool = pool
        # All inputs in one piece, so that one copy brings them to the device; every row begins at a multiple of 16
        # bytes. [6, width] int32: tokens, positions, sequences, lengths, starts, [rows]
        self._host = torch.zeros(6, -(-(size + 1) // 4) * 4, dtype=torch.int32, pin_memory=device.place.type == "cuda")
        self._inputs = self._host.to(device.place)
        # After it the host may write its buffer again: a copy from pinned memory only begins where it is asked for.
        self._copied = torch.cuda.Event() if device.place.type == "cuda" else None
        tokens, positions, sequences, lengths, starts, rows = self._inputs
        self._step = Step(
            tokens=tokens[:size],
            positions=positions[:size],
            sequences=sequences[:size],
            rows=rows[:1],
            run_sequences=sequences[:size],
            run_starts=starts[: size + 1],
            run_lengths=lengths[:size],
            wanted=None,
            longest_run=1,
            longest_context=min(context, self._tables.shape[1] * PAGE),
        )
        self._size = size
        self._captured: torch.cuda.CUDAGraph | None = None
        self._logits: torch.Tensor | None = None  # [size, vocabulary] float32

    def run(self, batch: Batch) -> torch.Tensor:
        """float32 [tokens, vocabulary]: a view of the static output."""
        self._fill(batch)
        if not self._captures:
            self._logits = self._forward()
        elif self._captured is None:
            self._capture()
        if self._captured is not None:
            self._captured.replay()
        assert self._logits is not None
        return self._logits[: len(batch)]

    def _fill(self, batch: Batch) -> None:
        count, padding = len(batch), [0] * (self._size - len(batch))
        rows = (
            batch.tokens + padding,
            batch.positions + padding,
            batch.sequences + [-1] * len(padding),
            [position + 1 for position in batch.positions] + padding,
            [min(i, count) for i in range(self._size + 1)],
            [count],
        )
        if self._copied is not None:
            self._copied.synchronize()
        for row, values in zip(self._host, rows, strict=True):
            row[: len(values)] = torch.tensor(values, dtype=torch.int32)
        self._inputs.copy_(self._host, non_blocking=True)
        if self._copied is not None:
            self._copied.record()

    def _forward(self) -> torch.Tensor:
        return self._graph.logits(self._graph.forward(self._step, self._tables))

    def _capture(self) -> None:
        """As torch's notes on CUDA graphs say: warm up on another stream, capture, and from then on only replay.

        Running the step again changes nothing: it writes the same entries of the cache. In what is captured nothing
        waits for the device, every input lies in `_inputs` or in the cache, and what is allocated is of the pool that
        all captures share, where the logits stay. Other threads may call CUDA meanwhile, as a second model's does.
        """
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                self._forward()
        torch.cuda.current_stream().wait_stream(stream)
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured, pool=self._pool, capture_error_mode="thread_local"):
            self._logits = self._forward()
        self._captured = captured
