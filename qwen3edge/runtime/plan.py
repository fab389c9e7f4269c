"""What a model will take of the memory. The core does the sums; this is how Python says and shows them."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from qwen3edge.errors import MemoryBudgetError


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes by what they are for (peak is the sum of the first four, the buffers and the draft), and the settings that
    they follow from.

    expert_slots: of how many experts a model's buffers hold those that were used last; 0 when all are resident.
    weights: resident; streamed: what every decoded token and every chunk of a prompt reads from the file instead,
    through the buffers. min_expert_share: lossy when above 0, see `load`. draft_tokens: of a step, see `load`;
    draft: what a draft model takes, all of it.
    kv_bytes_per_token: by which a conversation grows until the KV cache is full. pages: of 64 tokens each, that all
    sequences and the prefix cache share: a context for each sequence, or as many as fit. texts: whether program counts
    what texts need, or token ids alone are passed; grammars: whether it counts those of answers.
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
    pages: int = 0
    layers: int = 0
    streamed_layers: int = 0
    streams_head: bool = False
    streamed: int = 0
    buffers: int = 0
    experts: int = 0
    expert_slots: int = 0
    expert_bytes: int = 0
    min_expert_share: float = 0.0
    draft_tokens: int = 0
    draft: int = 0
    texts: bool = False
    grammars: bool = False

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
                f"{self.kv}, {self.pages} x 64 tokens for {self.sequences} x {self.context}, "
                f"{format_bytes(self.kv_bytes_per_token)} a token",
            ),
            ("scratch", self.scratch, f"{self.chunk} tokens a chunk, {self.threads} threads"),
            *([("draft", self.draft, f"a model for {self.draft_tokens} tokens a step")] if self.draft else []),
            ("program", self.program, self._serves),
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

    def require_left(self, needed: int, purpose: str, remedy: str) -> None:
        """Raises MemoryBudgetError unless so many bytes are left of the budget."""
        left = self.budget - self.peak
        if needed > left:
            raise MemoryBudgetError(
                f"memory: expected {format_bytes(needed)} for {purpose} beside the plan's {format_bytes(self.peak)}, "
                f"found {format_bytes(left)} left of {format_bytes(self.budget)}: {remedy}"
            )

    @property
    def _serves(self) -> str:
        return ("for texts and grammars" if self.grammars else "for texts") if self.texts else "for token ids alone"


def format_bytes(size: int) -> str:
    """As people read it: "335.2 MiB"."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{size} B" if unit == "B" else f"{value:.1f} {unit}"
