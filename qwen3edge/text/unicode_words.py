"""Qwen's words of any text, as the tokenizers library finds them, with the Unicode tables that Qwen's own has."""

from __future__ import annotations

import functools

import tokenizers
from tokenizers import normalizers, pre_tokenizers

from qwen3edge.tokenization import Splitter

_NORMALIZER = normalizers.NFC()


@functools.cache
def _split(pattern: str) -> pre_tokenizers.Split:
    return pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated")


def unicode_words(text: str, splitter: Splitter) -> list[str]:
    """The words of a text."""
    text = _NORMALIZER.normalize_str(text) if splitter.normalizes else text
    return [word for word, _ in _split(splitter.words).pre_tokenize_str(text)]
