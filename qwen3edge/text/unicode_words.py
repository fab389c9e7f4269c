"""Qwen's words of any text, as the tokenizers library finds them, with the Unicode tables that Qwen's own has."""

from __future__ import annotations

import tokenizers
from tokenizers import normalizers, pre_tokenizers

from qwen3edge.tokenization import WORDS

_NORMALIZER = normalizers.NFC()
_SPLIT = pre_tokenizers.Split(tokenizers.Regex(WORDS), "isolated")


def unicode_words(text: str, normalize: bool) -> list[str]:
    """The words of a text, normalize: in normal form C."""
    return [word for word, _ in _SPLIT.pre_tokenize_str(_NORMALIZER.normalize_str(text) if normalize else text)]
