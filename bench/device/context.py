"""What every step of the check is given: a device, a clock, and a place for its results."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.device.predictions import PREDICTIONS

if TYPE_CHECKING:
    import torch

REPLAYS = 20  # of a graph, whose median counts
_FAKE_MICROSECONDS = 1.0  # of everything in the interpreter, which has no clock worth reading


@dataclass(frozen=True)
class Context:
    """One step's run. models: names of MODEL_SHAPES, in order. deadline: of time.monotonic()."""

    step: str
    interpreted: bool
    data: Path
    out: Path
    models: tuple[str, ...]
    deadline: float

    @property
    def place(self) -> torch.device:
        """Where tensors lie."""
        import torch  # noqa: PLC0415 -- a step that needs none starts at once

        return torch.device("cpu" if self.interpreted else "cuda")

    @property
    def dtype(self) -> torch.dtype:
        """Of activations; the interpreter computes bfloat16 on its bit patterns."""
        import torch  # noqa: PLC0415

        return torch.float16 if self.interpreted else torch.bfloat16

    def left(self) -> float:
        """Seconds."""
        return self.deadline - time.monotonic()

    def result(
        self, name: str, ok: bool | None = None, value: float | None = None, unit: str = "", **more: Any
    ) -> None:
        """Written at once, and printed, whatever falls down later. ok: None where nothing can fail."""
        line = {"step": self.step, "name": name, "ok": ok, "value": value, "unit": unit, **more}
        if name in PREDICTIONS:
            line["predicted"] = PREDICTIONS[name]
        with (self.out / "results.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        shown = "" if value is None else f" {value:.4g} {unit}"
        expected = f" (expected {line['predicted']})" if "predicted" in line else ""
        print(f"{self.step}: {name}{shown}{expected}{'' if ok is None else ' ok' if ok else ' WRONG'}", flush=True)

    def microseconds(self, run: Callable[[], object], repeat: int = 1) -> tuple[float, float]:
        """Median and spread (largest - smallest) of one of `repeat` runs in a captured graph, over REPLAYS replays."""
        if self.interpreted:
            run()
            return _FAKE_MICROSECONDS, 0.0
        import torch  # noqa: PLC0415

        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            run()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            for _ in range(repeat):
                run()
        return self.replayed(graph.replay, repeat)

    def replayed(self, replay: Callable[[], object], repeat: int = 1) -> tuple[float, float]:
        """Median and spread of what is captured already, a `repeat`-th of it."""
        if self.interpreted:
            replay()
            return _FAKE_MICROSECONDS, 0.0
        import torch  # noqa: PLC0415

        replay()
        times = []
        for _ in range(REPLAYS):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            replay()
            end.record()
            end.synchronize()
            times.append(1000 * begin.elapsed_time(end) / repeat)
        return statistics.median(times), max(times) - min(times)
