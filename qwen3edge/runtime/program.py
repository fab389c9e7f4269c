"""What the program itself will still take of the memory.

Libraries are imported when they are first needed: a start is then tens of milliseconds and megabytes lighter.
"""

from __future__ import annotations

import sys

JINJA2 = 39 << 18
"""Bytes of the resident set, measured: the library with what it brings along and Qwen3's template compiled."""

POSITION = 64
"""Bytes of a token of a conversation: an int, and its places in the lists that hold it."""

GRAMMAR_LIBRARY, GRAMMAR_TOKEN, GRAMMAR_ANSWER = 20 << 20, 265, 10 << 20
"""Bytes of llguidance itself, of a token of the vocabulary in its tree while that is built, and of the largest grammar
that an answer may follow (grammar/vocabulary.py); measured. The library takes 14 MiB, and up to 6 more in a fresh
environment, probably as new files are mapped in larger pieces."""


def grammar_bytes(vocabulary: int, sequences: int) -> int:
    """What answers take that must match a grammar, so many at once, in a vocabulary of so many tokens."""
    library = 0 if "llguidance" in sys.modules else GRAMMAR_LIBRARY
    return library + vocabulary * GRAMMAR_TOKEN + sequences * GRAMMAR_ANSWER


def jinja2_bytes() -> int:
    """What a chat template takes that the core does not run."""
    return 0 if "jinja2" in sys.modules else JINJA2


def pending_bytes(context: int = 0, sequences: int = 1, *, text_bytes: int = 0, jinja2: bool = False) -> int:
    """What the program will take besides the core and what it holds now.

    context: tokens of each of so many sequences. text_bytes: of the one request that is read at a time; 0 where token
    ids alone are passed. jinja2: whether it renders the chat template. Those who ask for logits import numpy; that is
    theirs, as the logits are.
    """
    return (jinja2_bytes() if jinja2 else 0) + context * sequences * POSITION + text_bytes
