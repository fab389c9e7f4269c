"""A ragged batch as callers give it: checked, and cut into runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qwen3edge.errors import RequestError
from qwen3edge.runtime.torch_backend.pages import Pages


@dataclass(frozen=True)
class Run:
    """Consecutive tokens of one sequence."""

    sequence: int
    first: int  # entry of the batch
    count: int
    position: int  # of the first


@dataclass(frozen=True)
class Batch:
    """Entries of equal number; the tokens of a sequence lie together, at ascending positions."""

    tokens: list[int]
    positions: list[int]
    sequences: list[int]
    want_logits: list[bool]

    @classmethod
    def checked(
        cls,
        tokens: Sequence[int],
        positions: Sequence[int],
        sequences: Sequence[int],
        want: Sequence[int],
        vocabulary: int,
        pages: Pages,
    ) -> Batch:
        """Raises RequestError, as the core of the CPU does."""
        batch = cls(
            [int(x) for x in tokens],
            [int(x) for x in positions],
            [int(x) for x in sequences],
            [bool(x) for x in want],
        )
        count = len(batch.tokens)
        for name, values in (("positions", positions), ("sequences", sequences), ("want", want)):
            if len(values) != count:
                raise RequestError(f"{name}: expected {count} entries, as many as tokens, found {len(values)}")
        for name, values, end in (
            ("token", batch.tokens, vocabulary),
            ("sequence", batch.sequences, pages.sequences),
            ("position", batch.positions, pages.context),
        ):
            for i, value in enumerate(values):
                if not 0 <= value < end:
                    raise RequestError(f"{name} of batch entry {i}: expected 0 to {end - 1}, found {value}")
        for i, bits in enumerate(want):
            if bits not in (0, 1):
                raise RequestError(f"want of batch entry {i}: expected 0, or 1 (logits) on this device, found {bits}")
        seen: set[int] = set()
        for run in batch.runs():
            if run.sequence in seen:
                raise RequestError(f"sequence {run.sequence}: expected consecutive entries, found two runs")
            seen.add(run.sequence)
            most = pages.length(run.sequence)
            if run.position > most:
                raise RequestError(f"position of batch entry {run.first}: expected 0 to {most}, found {run.position}")
            for i in range(run.first, run.first + run.count):
                wanted = run.position + i - run.first
                if batch.positions[i] != wanted:
                    raise RequestError(f"position of batch entry {i}: expected {wanted}, found {batch.positions[i]}")
        return batch

    def __len__(self) -> int:
        return len(self.tokens)

    def part(self, first: int, count: int) -> Batch:
        """Some consecutive entries."""
        kept = slice(first, first + count)
        return Batch(self.tokens[kept], self.positions[kept], self.sequences[kept], self.want_logits[kept])

    def wanted(self) -> list[int]:
        """Entries whose logits are asked for."""
        return [i for i, want in enumerate(self.want_logits) if want]

    def runs(self) -> list[Run]:
        """In the order of the batch."""
        starts = [i for i, sequence in enumerate(self.sequences) if i == 0 or sequence != self.sequences[i - 1]]
        ends = [*starts[1:], len(self.sequences)][: len(starts)]
        return [
            Run(self.sequences[start], start, end - start, self.positions[start])
            for start, end in zip(starts, ends, strict=True)
        ]
