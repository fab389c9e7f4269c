"""What clients ask and are answered, in the log: only where somebody has said so (`serve --log-requests`)."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Sequence

from qwen3edge.generation.answer import Answer
from qwen3edge.text.tokenizer import Tokenizer

log = logging.getLogger("qwen3edge.requests")
log.setLevel(logging.WARNING)  # a program whose own log tells much has no texts of others in it either

_numbers = itertools.count(1)


def begin() -> None:
    """From now on, on standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)


def is_on() -> bool:
    """Whether texts are written."""
    return log.isEnabledFor(logging.INFO)


def next_number() -> int:
    """By which the lines of one request are told from those of others."""
    return next(_numbers)


def note_tokens(number: int, what: str, tokenizer: Tokenizer, tokens: Sequence[int]) -> None:
    """A line, whatever the text has: what is no visible character is escaped. Nothing unless `is_on`."""
    if is_on():
        log.info("%d %s %r", number, what, tokenizer.decode(tokens))


def note_answers(number: int, tokenizer: Tokenizer, answers: Iterable[Answer]) -> None:
    """As the model wrote them, thoughts and calls included; how each ended, and why something in it was no call."""
    for answer in answers:
        note_tokens(number, f"answer ({answer.finish_reason})", tokenizer, answer.tokens)
        for reason in answer.broken_calls:
            log.info("%d broken call: %r", number, reason)
