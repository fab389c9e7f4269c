"""How large the texts of a request may be, known before anything is copied, and what they take of the memory."""

from __future__ import annotations

BYTES_A_TOKEN = 32
"""Of the texts that are still read for a context: tokens of real texts take 3 to 6 bytes, runs of blanks up to 128."""

BASE_BYTES = 64 * 1024

COPIES = 6
"""Of a request's texts at once: marked, put into the template, joined, as UTF-8 (of Latin texts twice as long), with
blanks to spare."""


def most_bytes(context: int) -> int:
    """Bytes, as Python stores them, of the texts of one request for a context of so many tokens."""
    return BASE_BYTES + BYTES_A_TOKEN * context


def working_bytes(context: int) -> int:
    """What the texts of one request take at most while they become tokens."""
    return COPIES * most_bytes(context)
