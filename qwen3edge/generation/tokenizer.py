"""Text to token ids and back, built from the vocabulary that a `.q3e` file carries.

Special tokens in text: `encode` reads text as plain text unless `allow_special` is set, so a user who writes
`<|im_end|>` writes ten harmless characters. Rendered chat templates are encoded with the added tokens of the
vocabulary; what came from the messages was marked by `protect` beforehand, so that control tokens (`<|im_start|>`,
...) inside it stay plain. Added tokens that are not control tokens (`<think>`, `<tool_call>`) are recognized wherever
a template puts them.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from typing import Protocol

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

from qwen3edge.errors import FileFormatError, RequestError, UnsupportedModelError
from qwen3edge.generation import byte_alphabet, splitting

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
"""`tokenizer.ggml.token_type`."""

BUILD_BYTES_PER_TOKEN = 640
"""What building takes at its peak: 92 MB for Qwen3's 151,669 tokens, of which 36 MB stay."""

MAX_TEXT_CHARACTERS = 16 * 1024 * 1024
"""Longer texts are refused: no context holds them."""

_PLAIN_MARK = "\ud800"  # no text holds it: `clean` replaces lone surrogates


class Metadata(Protocol):
    """The part of `_core.ModelFile` that is read here."""

    def __contains__(self, key: str, /) -> bool: ...
    def get(self, key: str, /) -> object: ...


def clean(text: str | bytes) -> str:
    """The text with everything that is no Unicode (invalid UTF-8, lone surrogates) as U+FFFD."""
    if isinstance(text, bytes):
        return text.decode("utf-8", "replace")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


class Tokenizer:
    """Byte-level BPE with Qwen's normalization and words, and the file's added tokens."""

    def __init__(
        self, vocabulary_size: int, bpe: tokenizers.Tokenizer, added: dict[str, int], control: set[int]
    ) -> None:
        """Use `Tokenizer.from_metadata`; vocabulary_size counts the ids up to the largest."""
        self.vocabulary_size = vocabulary_size
        self._bpe = bpe
        self._added = added
        self._added_bytes = {token: text.encode() for text, token in added.items()}
        self._control = frozenset(control)
        self._added_pattern = _alternatives(added)
        self._control_pattern = _alternatives(text for text, token in added.items() if token in control)
        pieces = bpe.get_vocab_size()
        if not pieces or vocabulary_size < pieces:
            raise FileFormatError(f"expected a vocabulary of at least {pieces} ids, found {vocabulary_size}")

    @classmethod
    def from_metadata(cls, metadata: Metadata) -> Tokenizer:
        """Reads the `tokenizer.ggml.*` keys of docs/format.md.

        Raises FileFormatError for a vocabulary that contradicts itself, UnsupportedModelError for another kind of
        tokenizer.
        """
        kind, words = _string(metadata, "tokenizer.ggml.model"), _string(metadata, "tokenizer.ggml.pre")
        if (kind, words) != ("gpt2", "qwen2"):
            raise UnsupportedModelError(
                f"expected a tokenizer of model 'gpt2' and pre 'qwen2', found {kind!r} and {words!r}"
            )
        tokens = _list(metadata, "tokenizer.ggml.tokens", str)
        types = _list(metadata, "tokenizer.ggml.token_type", int)
        if len(types) != len(tokens):
            raise FileFormatError(
                f"expected one tokenizer.ggml.token_type for each of {len(tokens)} tokens, found {len(types)}"
            )
        size = len(tokens)
        vocabulary, added, control = _vocabulary(tokens, types)
        del tokens, types
        # BPE from Python's own objects holds 33 MB for 151,643 tokens; read from JSON, the same one holds 42 MB.
        pairs = _merges(_list(metadata, "tokenizer.ggml.merges", str) if "tokenizer.ggml.merges" in metadata else [])
        try:
            bpe = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
        except Exception as error:  # the library raises bare Exception
            raise FileFormatError(f"expected merges of tokens in the vocabulary: {error}") from None
        bpe.normalizer = normalizers.NFC()
        bpe.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(tokenizers.Regex(splitting.PATTERN), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
            ]
        )
        for byte, char in byte_alphabet.BYTE_TO_CHAR.items():
            if bpe.token_to_id(char) is None:
                raise FileFormatError(f"expected a token for every byte, found none for 0x{byte:02x}")
        return cls(size, bpe, added, control)

    def token_id(self, content: str) -> int | None:
        """The id of an added token such as `<think>`, None if there is none of that name."""
        return self._added.get(content)

    def is_control(self, token: int) -> bool:
        """Whether a token steers (`<|im_end|>`) and is never text of an answer."""
        return token in self._control

    def protect(self, text: str) -> str:
        """Marks the control tokens in a text from outside, so that `encode_prompt` takes them as plain text."""
        text = clean(text)
        if self._control_pattern is None:
            return text
        return self._control_pattern.sub(lambda match: match[0][0] + _PLAIN_MARK + match[0][1:], text)

    def encode(self, text: str | bytes, *, allow_special: bool = False, limit: int | None = None) -> list[int]:
        """Token ids of a text.

        Invalid UTF-8 and lone surrogates count as U+FFFD. allow_special: the names of added tokens become those tokens;
        otherwise they are plain text. limit: raise RequestError as soon as there are more tokens than this.
        Raises RequestError for more than MAX_TEXT_CHARACTERS, or one word of more than `splitting.MAX_WORD_CHARACTERS`.
        """
        if not isinstance(text, str | bytes):
            raise RequestError(f"expected text (str or UTF-8 bytes), found {type(text).__name__}")
        if len(text) > 4 * MAX_TEXT_CHARACTERS:
            raise _too_long(len(text))
        return self._encode(clean(text), allow_special, limit)

    def encode_prompt(self, prompt: str, *, limit: int | None = None) -> list[int]:
        """Token ids of a rendered template, whose parts from outside went through `protect`."""
        return self._encode(prompt, True, limit)

    def _encode(self, text: str, special: bool, limit: int | None) -> list[int]:
        if len(text) > MAX_TEXT_CHARACTERS:
            raise _too_long(len(text))
        ids: list[int] = []
        for part in self._parts(text, special):
            if isinstance(part, int):
                ids.append(part)
            else:
                for chunk in splitting.chunks(part):
                    ids += self._bpe.encode(chunk, add_special_tokens=False).ids
                    if limit is not None and len(ids) > limit:
                        break
            if limit is not None and len(ids) > limit:
                raise RequestError(f"expected at most {limit} tokens, found more in a text of {len(text)} characters")
        return ids

    def _parts(self, text: str, special: bool) -> Iterator[str | int]:
        start = 0
        if special and self._added_pattern is not None:
            for match in self._added_pattern.finditer(text):
                yield text[start : match.start()].replace(_PLAIN_MARK, "")
                yield self._added[match[0]]
                start = match.end()
        yield text[start:].replace(_PLAIN_MARK, "")

    def token_bytes(self, token: int) -> bytes:
        """The UTF-8 bytes of one token, perhaps only a part of a character; of an unused id none."""
        added = self._added_bytes.get(token)
        if added is not None:
            return added
        if not 0 <= token < self.vocabulary_size:
            return b""
        stored = self._bpe.id_to_token(token)
        if stored is None:
            return b""
        data = byte_alphabet.to_bytes(stored)
        return stored.encode() if data is None else data

    def decode(self, tokens: Iterable[int], *, skip_control: bool = False) -> str:
        """The text of tokens; bytes that are no UTF-8 as U+FFFD. skip_control leaves out `<|im_end|>` and its like."""
        parts = [self.token_bytes(token) for token in tokens if not (skip_control and token in self._control)]
        return b"".join(parts).decode("utf-8", "replace")


class StreamDecoder:
    """Decodes token by token, whole characters only; all that it returns in total is what `decode` returns."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """The characters that this token completes, perhaps none."""
        return self._utf8.decode(self._tokenizer.token_bytes(token))

    def finish(self) -> str:
        """What is left of a character that was never completed, as U+FFFD; the decoder can be used again."""
        rest = self._utf8.decode(b"", True)
        self._utf8.reset()
        return rest


def _too_long(found: int) -> RequestError:
    return RequestError(f"expected a text of at most {MAX_TEXT_CHARACTERS} characters, found {found}")


def _alternatives(contents: Iterable[str]) -> re.Pattern[str] | None:
    names = sorted(contents, key=len, reverse=True)  # the longest match wins
    return re.compile("|".join(map(re.escape, names))) if names else None


def _vocabulary(tokens: list[str], types: list[int]) -> tuple[dict[str, int], dict[str, int], set[int]]:
    """Ids of the normal tokens, ids of the added ones, and which of these are control tokens."""
    normal: dict[str, int] = {}
    added: dict[str, int] = {}
    control: set[int] = set()
    for token, (content, kind) in enumerate(zip(tokens, types, strict=True)):
        if kind == UNUSED:
            continue
        if not content:
            raise FileFormatError(f"expected a text for token {token}, found none")
        if content in normal or content in added:
            raise FileFormatError(f"expected different tokens in tokenizer.ggml.tokens, found {content!r} twice")
        if kind == NORMAL:
            normal[content] = token
        elif kind in (CONTROL, USER_DEFINED):
            added[content] = token
            if kind == CONTROL:
                control.add(token)
        else:
            raise FileFormatError(f"expected token_type 1, 3, 4 or 5, found {kind} for token {token}")
    return normal, added, control


def _merges(merges: list[str]) -> list[tuple[str, str]]:
    shared: dict[str, str] = {}  # the parts repeat: as separate objects they would take 20 MB
    pairs = []
    for merge in merges:
        parts = merge.split(" ")
        if len(parts) != 2:
            raise FileFormatError(f"expected merges of two tokens, found {merge!r:.200}")
        left, right = parts
        pairs.append((shared.setdefault(left, left), shared.setdefault(right, right)))
    return pairs


def _string(metadata: Metadata, key: str) -> str:
    value = metadata.get(key) if key in metadata else None
    if not isinstance(value, str):
        raise FileFormatError(f"expected a string {key}, found {'none' if value is None else type(value).__name__}")
    return value


def _list(metadata: Metadata, key: str, kind: type) -> list:  # type: ignore[type-arg]
    value = metadata.get(key) if key in metadata else None
    if not isinstance(value, list) or not all(type(item) is kind for item in value):
        raise FileFormatError(f"expected an array of {kind.__name__} {key}")
    return value
