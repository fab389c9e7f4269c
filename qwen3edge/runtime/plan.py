"""What a model will take of the memory. The core does the sums; this is how Python says and shows them."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from typing import TypedDict

from qwen3edge import _core, checks
from qwen3edge.errors import RequestError, shown

_UNITS: dict[str, int] = {
    "": 1,
    "b": 1,
    **{letter: 1024**power for power, letter in enumerate("kmgt", 1)},  # as docker, systemd and ulimit take them
    **{f"{letter}b": 1000**power for power, letter in enumerate("kmgt", 1)},
    **{f"{letter}i": 1024**power for power, letter in enumerate("kmgt", 1)},  # as Kubernetes
    **{f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", 1)},
}
_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)\s*([a-z]*)", re.IGNORECASE | re.ASCII)
_MAX_BYTES = 2**62
_MIN_BARE = 1 << 20
"""A smaller number without a unit is one whose unit was forgotten: no model fits it."""

AUTO = "auto"
DEFAULT_CONTEXT = 4096
MAX_SEQUENCES = 1024
MAX_THREADS = 256
MAX_CHUNK = 8192
KV_TYPES = ("int8", "int4", "bf16", "f16", "f32")  # of all devices; each refuses what it does not have


class Settings(TypedDict):
    """The keyword arguments that `_core.plan` and `_core.Engine` share."""

    context: int
    sequences: int
    threads: int
    kv: str
    memory: int
    chunk: int
    later: int
    min_expert_share: float
    io_uring: bool


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes by what they are for (peak is the sum of the first four and the buffers), and the settings that they follow
    from.

    expert_slots: of how many experts a model's buffers hold those that were used last; 0 when all are resident.
    weights: resident; streamed: what every decoded token and every chunk of a prompt reads from the file instead,
    through the buffers. min_expert_share: lossy when above 0, see `load`.
    kv_bytes_per_token: by which a conversation grows until the KV cache is full. texts: whether program counts what
    texts need, or token ids alone are passed.
    """

    weights: int
    kv_cache: int
    scratch: int
    program: int
    peak: int
    budget: int
    context: int
    sequences: int
    chunk: int
    threads: int
    kv: str
    kv_bytes_per_token: int = 0
    layers: int = 0
    streamed_layers: int = 0
    streams_head: bool = False
    streamed: int = 0
    buffers: int = 0
    experts: int = 0
    expert_slots: int = 0
    expert_bytes: int = 0
    min_expert_share: float = 0.0
    texts: bool = False

    @classmethod
    def from_core(cls, result: _core.PlanResult) -> MemoryPlan:
        """Takes the core's answer as it is."""
        return cls(**result)

    def as_dict(self) -> dict[str, int | float | str | bool]:
        """For JSON."""
        return asdict(self)

    def table(self) -> str:
        """The breakdown as text, one line an item."""
        resident = f"{self.layers - self.streamed_layers} of {self.layers} layers"
        streamed = [f"{self.streamed_layers} layers"] * (self.streamed_layers > 0) + ["the head"] * self.streams_head
        rows = [
            ("weights", self.weights, f"resident: {resident}{'' if self.streams_head else ' and the head'}"),
            (
                "KV cache",
                self.kv_cache,
                f"{self.kv}, {self.context} tokens x {self.sequences}, {format_bytes(self.kv_bytes_per_token)} a token",
            ),
            ("scratch", self.scratch, f"{self.chunk} tokens a chunk, {self.threads} threads"),
            ("program", self.program, "for texts" if self.texts else "for token ids alone"),
            ("peak", self.peak, ""),
            ("budget", self.budget, ""),
        ]
        notes = []
        if streamed:
            notes.append(f"for {' and '.join(streamed)}: {format_bytes(self.streamed)} read from the file a token")
        if self.expert_slots:
            notes.append(f"{self.expert_slots} of {self.experts} experts, {format_bytes(self.expert_bytes)} each")
        if notes:
            rows.insert(1, ("buffers", self.buffers, "; ".join(notes)))
        lines = [f"{name:<9} {format_bytes(size):>11}  {note}".rstrip() for name, size, note in rows]
        if self.min_expert_share:
            share = f"{100 * self.min_expert_share:g} %"
            lines.append(f"lossy: a token leaves out experts whose share of its weights is below {share}")
        return "\n".join(lines)


def parse_bytes(size: int | str, name: str = "memory") -> int:
    """A number of bytes, from an int or a text such as "600MiB", "1.5 GiB", "2G" (of 1024), "2GB" (of 1000).

    Raises RequestError, also for less than 1 MiB without a unit.
    """
    text = checks.plain(size)
    bare = text is None or text.strip().isdecimal()
    if text is not None:
        match = _SIZE.fullmatch(text.strip())
        unit = _UNITS.get(match[2].lower()) if match else None
        if match is None or unit is None:
            raise RequestError(f"expected {name} as a size such as 600MiB or 1.5G, found {shown(size)}")
        value = math.floor(float(match[1]) * unit)
        if not 0 < value <= _MAX_BYTES:
            raise RequestError(f"expected {name} as a size of 1 byte to 4 EiB, found {shown(size)}")
    else:
        value = checks.whole(f"{name} as a text such as 600MiB, or bytes", size, 1, _MAX_BYTES)
    if bare and value < _MIN_BARE:
        raise RequestError(
            f"expected {name} as a size with its unit such as 600MiB, found {value}, which is {value} bytes"
        )
    return value


def format_bytes(size: int) -> str:
    """As people read it: "335.2 MiB"."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{size} B" if unit == "B" else f"{value:.1f} {unit}"


def settings(
    *,
    memory: int | str | None = None,
    context: int | None = None,
    sequences: int = 1,
    threads: int | None = None,
    kv: str = "int8",
    chunk: int | None = None,
    trained_context: int,
    min_expert_share: float = 0.0,
    later: int = 0,
    io_uring: bool = True,
) -> Settings:
    """Checks what callers ask for; trained_context is the most positions that the model knows, later the bytes of what
    the program has not loaded yet.

    None: memory (also "auto") and threads as the system allows, a context of DEFAULT_CONTEXT, the largest prefill chunk
    that fits.
    """
    return {
        "context": min(DEFAULT_CONTEXT, trained_context)
        if context is None
        else checks.whole("context", context, 1, trained_context),
        "sequences": checks.whole("sequences", sequences, 1, MAX_SEQUENCES),
        # More threads than cores would take turns at every step.
        "threads": 0
        if threads is None
        else min(checks.whole("threads", threads, 1, MAX_THREADS), _core.usable_cores()),
        "kv": checks.one_of("kv", kv, KV_TYPES),
        "memory": 0 if memory is None or checks.plain(memory) == AUTO else parse_bytes(memory),
        "chunk": 0 if chunk is None else checks.whole("chunk", chunk, 1, MAX_CHUNK),
        "later": later,
        "min_expert_share": checks.number("min_expert_share", min_expert_share, 0, 1, below=True),
        "io_uring": checks.flag("io_uring", io_uring),
    }


def plan_file(file: _core.ModelFile, chosen: Settings) -> MemoryPlan:
    """What these settings cost in this process as it is now, before any weight is read.

    Raises MemoryBudgetError with the breakdown and the nearest settings that fit.
    """
    return MemoryPlan.from_core(_core.plan(file, **chosen))
