"""The words of a text, and where a text may be cut so that encoding the parts gives the ids of the whole.

Qwen's pre-tokenizer finds words with a regular expression that never looks back, so a cut is exact wherever a word
surely ends. That keeps the memory of an encode bounded by the longest word instead of the whole text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from qwen3edge.errors import RequestError
from qwen3edge.tokenization import Splitter

# All splitters' words of texts in ASCII, which has no marks; Python's own engine will do.
_ASCII_WORDS = re.compile(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\na-zA-Z0-9]?[a-zA-Z]+|[0-9]| ?[^\sa-zA-Z0-9]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    re.ASCII,
)

CHUNK_CHARACTERS = 16 * 1024
"""A chunk ends at the first cut after this many characters."""

MAX_WORD_CHARACTERS = 64 * 1024
"""More characters than this without any place to cut are refused: what they take is in no plan."""

# A word ends before a space or tab (no alternative goes on from other characters into them), after the last line break
# of a run, after every digit, and between a Chinese, Japanese or Korean letter and the punctuation behind it. All of
# the characters after the cuts are ones that Unicode normalization never joins with what stands before them.
_CUT = re.compile(
    r"[^\s\u180e\u200b\ufeff](?=[ \t])"
    r"|[\r\n](?=[^\s\u180e\u200b\ufeff])"
    r"|[0-9](?=[!-~])"
    r"|[\u4e00-\u9fa5\u3041-\u3096\u30a1-\u30f6\uac00-\ud7a3](?=[\u3001\u3002\uff0c\uff01\uff1f])"
)


def chunks(text: str) -> Iterator[str]:
    """Parts of a text, each small unless it is one long word; encoding them in turn equals encoding the text.

    Raises RequestError for a word of more than MAX_WORD_CHARACTERS.
    """
    start = 0
    while len(text) - start > CHUNK_CHARACTERS:
        found = _CUT.search(text, start + CHUNK_CHARACTERS - 1, start + MAX_WORD_CHARACTERS)
        if found is None:
            if len(text) - start <= MAX_WORD_CHARACTERS:
                break
            raise RequestError(
                f"expected text with a space or line break at least every {MAX_WORD_CHARACTERS} characters, "
                f"found none after character {start}"
            )
        yield text[start : found.end()]
        start = found.end()
    if start < len(text):
        yield text[start:]


def words(text: str, splitter: Splitter) -> list[str]:
    """The words of a text."""
    if text.isascii():
        return _ASCII_WORDS.findall(text)
    from qwen3edge.text.unicode_words import unicode_words  # noqa: PLC0415

    return unicode_words(text, splitter)
