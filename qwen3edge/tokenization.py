"""What converter and runtime agree on about tokenizers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen2, Qwen2.5 and Qwen3 split a text before BPE (Oniguruma syntax); every character is in one of the words.
Another pattern is another tokenizer."""

WORDS_WITH_MARKS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
"""How Qwen3.5 does: marks, such as the vowels of Devanagari and Thai, belong to the word of their letters."""


@dataclass(frozen=True)
class Splitter:
    """words: the pattern. normalizes: it splits what Unicode's normal form C makes of a text."""

    words: str
    normalizes: bool


SPLITTERS: Mapping[str, Splitter] = MappingProxyType(
    {
        "qwen2": Splitter(WORDS, normalizes=True),
        "deepseek-r1-qwen": Splitter(WORDS, normalizes=False),
        "qwen35": Splitter(WORDS_WITH_MARKS, normalizes=True),
    }
)
"""By GGUF's names (`tokenizer.ggml.pre`)."""

KNOWN_SPLITTERS = ", ".join(map(repr, SPLITTERS))
"""For messages."""


def splitter_name(splitter: Splitter) -> str | None:
    """None for a combination that GGUF has no name for."""
    return next((name for name, known in SPLITTERS.items() if known == splitter), None)


NAMED_TOKENS = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "sep_token": "seperator_token_id",  # GGUF's own spelling
    "pad_token": "padding_token_id",
    "cls_token": "cls_token_id",
    "mask_token": "mask_token_id",
}
"""Special tokens as transformers and chat templates name them, and their ids in GGUF (`tokenizer.ggml.*`)."""
