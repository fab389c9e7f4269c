"""Text to token ids and back, built from the vocabulary that a `.q3e` file carries.

Tokens' names in text: `encode` reads text as plain text unless `allow_special` is set, so a user who writes
`<|im_end|>` writes ten harmless characters. Rendered chat templates are encoded with the added tokens of the
vocabulary; what came from the messages was marked by `protect` beforehand, so that control tokens (`<|im_start|>`) and
tags (`<think>`, `<tool_call>`) inside it stay plain.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from qwen3edge import _core, checks
from qwen3edge.errors import FileFormatError, RequestError, shown
from qwen3edge.tokenization import NAMED_TOKENS

_ADD_BOS = "tokenizer.ggml.add_bos_token"
_ROWS = "qwen3edge.vocab_size"  # of the model's embedding


class TokenLimitError(RequestError):
    """A text has more tokens than the caller's limit."""


class Metadata(Protocol):
    """The part of `_core.ModelFile` that is read here."""

    def __contains__(self, key: str, /) -> bool: ...
    def get(self, key: str, /) -> object: ...


class Tokenizer:
    """Byte-level BPE with the file's way to make words, and its added tokens.

    named_tokens: texts of the special tokens that chat templates use, such as `bos_token`. prefix: ids that stand
    before every text which is no chat, mostly none.
    """

    def __init__(
        self,
        core: _core.Tokenizer,
        *,
        encodes: bool,
        named: Mapping[str, int],
        begins_texts: bool,
        rows: int = 0,
    ) -> None:
        """Use `Tokenizer.from_metadata`."""
        self._core = core
        self._bpe = bpe = core.bpe
        self.vocabulary_size = bpe.size  # ids up to the largest
        self._ids = max(bpe.size, rows)  # a model may answer with ids that no token has, which are no text
        self._encodes = encodes
        self.named_tokens = {name: bpe.token_bytes(token).decode("utf-8", "replace") for name, token in named.items()}
        self.prefix = (named["bos_token"],) if begins_texts and "bos_token" in named else ()
        self._added = {text: token for text, token, _ in bpe.added()}
        self._control = frozenset(token for _, token, control in bpe.added() if control)
        self.marks = frozenset(core.marks())
        """Ids of control tokens and tags, which are not text."""

    @classmethod
    def from_metadata(cls, metadata: Metadata, *, encodes: bool = True) -> Tokenizer:
        """Reads the `tokenizer.ggml.*` keys of docs/format.md: from a file's mapping, or from lists of Python's.

        encodes: False for a tokenizer that only decodes, see `require_encoding`. Raises FileFormatError for a
        vocabulary that contradicts itself, UnsupportedModelError for another kind of tokenizer.
        """
        if isinstance(metadata, _core.ModelFile):
            core = _core.Tokenizer.read(metadata)
        else:
            kind, pre = _string(metadata, "tokenizer.ggml.model"), _string(metadata, "tokenizer.ggml.pre")
            tokens = _list(metadata, "tokenizer.ggml.tokens", str)
            kinds = _list(metadata, "tokenizer.ggml.token_type", int)
            merges = _list(metadata, "tokenizer.ggml.merges", str) if "tokenizer.ggml.merges" in metadata else []
            core = _core.Tokenizer(kind, pre, tokens, kinds, merges)
        named = {name: _id(metadata, f"tokenizer.ggml.{key}") for name, key in NAMED_TOKENS.items()}
        rows = metadata.get(_ROWS) if _ROWS in metadata else 0
        begins = metadata.get(_ADD_BOS) is True if _ADD_BOS in metadata else False
        return cls(
            core,
            encodes=encodes,
            named={name: token for name, token in named.items() if token is not None},
            begins_texts=begins,
            rows=rows if type(rows) is int else 0,
        )

    def token_id(self, content: str) -> int | None:
        """The id of an added token such as `<think>`, None if there is none of that name."""
        return self._added.get(checks.text("content", content))

    def is_control(self, token: int) -> bool:
        """Whether a token steers (`<|im_end|>`) and is never text of an answer."""
        return checks.token_id("token", token) in self._control

    def require_encoding(self) -> None:
        """Raises RequestError for a tokenizer that only decodes: what reading texts takes is not in the plan then."""
        if not self._encodes:
            raise RequestError("expected token ids, found text: the model was loaded with texts=False")

    def protect(self, text: str, *, tags: bool = True) -> str:
        """Marks the names of tokens in a text from outside, so that `encode_prompt` takes them as plain text.

        tags: those of tags such as `<think>` as well as of control tokens.
        """
        return self._core.protect(checks.text("text", text), tags=checks.flag("tags", tags))

    def encode(self, text: str | bytes, *, allow_special: bool = False, limit: int | None = None) -> list[int]:
        """Token ids of a text.

        Invalid UTF-8 and lone surrogates count as U+FFFD. allow_special: the names of control tokens and tags become
        those tokens; otherwise they are plain text. limit: raise TokenLimitError as soon as there are more.
        Raises RequestError for more than 2**24 characters, one word of more than 2**16, or in a tokenizer that only
        decodes.
        """
        if not isinstance(text, str | bytes):
            raise RequestError(f"expected text (str or UTF-8 bytes), found {type(text).__name__}")
        checks.flag("allow_special", allow_special)
        if limit is not None:
            limit = checks.whole("limit", limit, 0, 2**63 - 1)
        return self._encoded(text, limit, special=allow_special)

    def encode_prompt(self, prompt: str, *, limit: int | None = None) -> list[int]:
        """Token ids of a rendered template, whose parts from outside went through `protect`."""
        return self._encoded(prompt, limit, marked=True)

    def _encoded(
        self, text: str | bytes, limit: int | None, *, special: bool = False, marked: bool = False
    ) -> list[int]:
        self.require_encoding()
        ids = self._core.encode(text, special=special, marked=marked, most=limit)
        if ids is None:
            unit = "characters" if isinstance(text, str) else "bytes"
            raise TokenLimitError(f"expected at most {limit} tokens, found more in a text of {len(text)} {unit}")
        return ids

    @property
    def bpe(self) -> _core.Bpe:
        """Its vocabulary."""
        return self._bpe

    def token_bytes(self, token: int) -> bytes:
        """The UTF-8 bytes of one token, perhaps only a part of a character; of an unused id none. Raises RequestError
        for an id outside the vocabulary.
        """
        return self._bpe.token_bytes(self._known("token", token))

    def decode(self, tokens: Iterable[int], *, skip_control: bool = False) -> str:
        """The text of tokens; bytes that are no UTF-8 as U+FFFD. skip_control leaves out `<|im_end|>` and its like.

        Raises RequestError for what is no series of ints, or an id outside the vocabulary.
        """
        checks.flag("skip_control", skip_control)
        try:
            items = None if isinstance(tokens, str | bytes) else list(tokens)
        except Exception:
            items = None
        if items is None:
            raise RequestError(f"expected tokens as ids (ints), found {shown(tokens)}")
        return self._core.decode([self._known("tokens", token) for token in items], skip_control=skip_control)

    def _known(self, name: str, token: object) -> int:
        found = checks.token_id(name, token)
        if not 0 <= found < self._ids:
            raise RequestError(
                f"expected {name} as ids from 0 to {self._ids - 1} (the vocabulary), found {shown(token)}"
            )
        return found


def _string(metadata: Metadata, key: str) -> str:
    value = metadata.get(key) if key in metadata else None
    if not isinstance(value, str):
        raise FileFormatError(f"expected a string {key}, found {'none' if value is None else type(value).__name__}")
    return value


def _id(metadata: Metadata, key: str) -> int | None:
    value = metadata.get(key) if key in metadata else None
    if value is not None and (type(value) is not int or value < 0):
        raise FileFormatError(f"{key}: expected a token's id, found {value!r:.60}")
    return value


def _list(metadata: Metadata, key: str, kind: type) -> list:  # type: ignore[type-arg]
    value = metadata.get(key) if key in metadata else None
    if not isinstance(value, list) or not all(type(item) is kind for item in value):
        raise FileFormatError(f"expected an array of {kind.__name__} {key}")
    return value
