"""Text to token ids and back, built from the vocabulary that a `.q3e` file carries.

Tokens' names in text: `encode` reads text as plain text unless `allow_special` is set, so a user who writes
`<|im_end|>` writes ten harmless characters. Rendered chat templates are encoded with the added tokens of the
vocabulary; what came from the messages was marked by `protect` beforehand, so that control tokens (`<|im_start|>`) and
tags (`<think>`, `<tool_call>`) inside it stay plain.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from qwen3edge import _core, checks
from qwen3edge.errors import FileFormatError, RequestError, UnsupportedModelError, shown
from qwen3edge.text import pretokenizer
from qwen3edge.tokenization import KNOWN_SPLITTERS, NAMED_TOKENS, SPLITTERS, Splitter

MAX_TEXT_CHARACTERS = 16 * 1024 * 1024
"""Longer texts are refused: no context holds them."""

_TAG = re.compile(r"<.+>|\[.+\]", re.DOTALL)
"""Of added tokens those that structure a text; others are words that somebody added, and are found in every text."""

_ADD_BOS = "tokenizer.ggml.add_bos_token"
_ROWS = "qwen3edge.vocab_size"  # of the model's embedding
_PLAIN_MARK = "\ud800"  # no text holds it: `clean` replaces lone surrogates


class TokenLimitError(RequestError):
    """A text has more tokens than the caller's limit."""


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
    """Byte-level BPE with the file's way to make words, and its added tokens.

    named_tokens: texts of the special tokens that chat templates use, such as `bos_token`. prefix: ids that stand
    before every text which is no chat, mostly none.
    """

    def __init__(
        self,
        bpe: _core.Bpe,
        *,
        encodes: bool,
        splitter: Splitter,
        named: Mapping[str, int],
        begins_texts: bool,
        rows: int = 0,
    ) -> None:
        """Use `Tokenizer.from_metadata`."""
        self.vocabulary_size = bpe.size  # ids up to the largest
        self._ids = max(bpe.size, rows)  # a model may answer with ids that no token has, which are no text
        self._encodes = encodes
        self._splitter = splitter
        self._bpe = bpe
        self.named_tokens = {name: bpe.token_bytes(token).decode("utf-8", "replace") for name, token in named.items()}
        self.prefix = (named["bos_token"],) if begins_texts and "bos_token" in named else ()
        self._added = {text: token for text, token, _ in bpe.added()}
        self._control = frozenset(token for _, token, control in bpe.added() if control)
        self.marks = self._control | {token for text, token in self._added.items() if _TAG.fullmatch(text)}
        """Ids of control tokens and tags, which are not text."""
        self._added_pattern = _alternatives(self._added)
        control = {text for text, token in self._added.items() if token in self._control}
        marks = control | {text for text in self._added if _TAG.fullmatch(text)}
        self._control_pattern, self._mark_pattern = _alternatives(control), _alternatives(marks)
        self._word_pattern = _alternatives(self._added.keys() - marks)
        self._beginnings = frozenset(mark[:length] for mark in marks for length in range(1, len(mark)))
        self._longest = max(map(len, marks), default=1) - 1

    @classmethod
    def from_metadata(cls, metadata: Metadata, *, encodes: bool = True) -> Tokenizer:
        """Reads the `tokenizer.ggml.*` keys of docs/format.md: from a file's mapping, or from lists of Python's.

        encodes: False for a tokenizer that only decodes, see `require_encoding`. Raises FileFormatError for a
        vocabulary that contradicts itself, UnsupportedModelError for another kind of tokenizer.
        """
        kind, pre = _string(metadata, "tokenizer.ggml.model"), _string(metadata, "tokenizer.ggml.pre")
        if kind != "gpt2" or pre not in SPLITTERS:
            raise UnsupportedModelError(
                f"expected a tokenizer of model 'gpt2' and pre one of {KNOWN_SPLITTERS}, "
                f"found {kind!r:.60} and {pre!r:.60}"
            )
        if isinstance(metadata, _core.ModelFile):
            bpe = _core.Bpe.read(metadata)
        else:
            merges = _list(metadata, "tokenizer.ggml.merges", str) if "tokenizer.ggml.merges" in metadata else []
            tokens = _list(metadata, "tokenizer.ggml.tokens", str)
            bpe = _core.Bpe(tokens, _list(metadata, "tokenizer.ggml.token_type", int), merges)
        named = {name: _id(metadata, f"tokenizer.ggml.{key}") for name, key in NAMED_TOKENS.items()}
        rows = metadata.get(_ROWS) if _ROWS in metadata else 0
        begins = metadata.get(_ADD_BOS) is True if _ADD_BOS in metadata else False
        return cls(
            bpe,
            encodes=encodes,
            splitter=SPLITTERS[pre],
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
        text = clean(checks.text("text", text))
        pattern = self._mark_pattern if checks.flag("tags", tags) else self._control_pattern
        if pattern is None:
            return text
        text = pattern.sub(lambda match: match[0][0] + _PLAIN_MARK + match[0][1:], text)
        # Nor may its end become a name together with the text that the template puts behind it.
        ends = (text[-length:] in self._beginnings for length in range(1, min(len(text), self._longest) + 1))
        return text + _PLAIN_MARK if any(ends) else text

    def encode(self, text: str | bytes, *, allow_special: bool = False, limit: int | None = None) -> list[int]:
        """Token ids of a text.

        Invalid UTF-8 and lone surrogates count as U+FFFD. allow_special: the names of control tokens and tags become
        those tokens; otherwise they are plain text. limit: raise TokenLimitError as soon as there are more.
        Raises RequestError for more than MAX_TEXT_CHARACTERS, one word of more than `pretokenizer.MAX_WORD_CHARACTERS`,
        or in a tokenizer that only decodes.
        """
        if not isinstance(text, str | bytes):
            raise RequestError(f"expected text (str or UTF-8 bytes), found {type(text).__name__}")
        checks.flag("allow_special", allow_special)
        if limit is not None:
            limit = checks.whole("limit", limit, 0, 2**63 - 1)
        if len(text) > 4 * MAX_TEXT_CHARACTERS:
            raise _too_long(len(text))
        return self._encode(clean(text), allow_special, limit)

    def encode_prompt(self, prompt: str, *, limit: int | None = None) -> list[int]:
        """Token ids of a rendered template, whose parts from outside went through `protect`."""
        return self._encode(prompt, True, limit)

    def _encode(self, text: str, special: bool, limit: int | None) -> list[int]:
        self.require_encoding()
        if len(text) > MAX_TEXT_CHARACTERS:
            raise _too_long(len(text))
        ids: list[int] = []
        for part in self._parts(text, special):
            if isinstance(part, int):
                ids.append(part)
            else:
                for chunk in pretokenizer.chunks(part):
                    ids += self._bpe.encode(pretokenizer.words(chunk, self._splitter))
                    if limit is not None and len(ids) > limit:
                        break
            if limit is not None and len(ids) > limit:
                raise TokenLimitError(
                    f"expected at most {limit} tokens, found more in a text of {len(text)} characters"
                )
        return ids

    def _parts(self, text: str, special: bool) -> Iterator[str | int]:
        start = 0
        pattern = self._added_pattern if special else self._word_pattern
        if pattern is not None:
            for match in pattern.finditer(text):
                yield text[start : match.start()].replace(_PLAIN_MARK, "")
                yield self._added[match[0]]
                start = match.end()
        yield text[start:].replace(_PLAIN_MARK, "")

    @property
    def bpe(self) -> _core.Bpe:
        """The core's part of it."""
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
        skipped = self._control if checks.flag("skip_control", skip_control) else frozenset()
        try:
            items = None if isinstance(tokens, str | bytes) else list(tokens)
        except Exception:
            items = None
        if items is None:
            raise RequestError(f"expected tokens as ids (ints), found {shown(tokens)}")
        ids = [self._known("tokens", token) for token in items]
        return b"".join([self._bpe.token_bytes(token) for token in ids if token not in skipped]).decode(
            "utf-8", "replace"
        )

    def _known(self, name: str, token: object) -> int:
        found = checks.token_id(name, token)
        if not 0 <= found < self._ids:
            raise RequestError(
                f"expected {name} as ids from 0 to {self._ids - 1} (the vocabulary), found {shown(token)}"
            )
        return found


def _too_long(found: int) -> RequestError:
    return RequestError(f"expected a text of at most {MAX_TEXT_CHARACTERS} characters, found {found}")


def _alternatives(contents: Iterable[str]) -> re.Pattern[str] | None:
    names = sorted(contents, key=len, reverse=True)  # the longest match wins
    return re.compile("|".join(map(re.escape, names))) if names else None


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
