"""The tokenizer, template and sampling defaults of a GGUF file as the metadata of a `.q3e` file."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from qwen3edge.convert.sampling import sampling_metadata
from qwen3edge.convert.template import PackedTemplate
from qwen3edge.convert.tokenizer import STOP_TOKENS
from qwen3edge.convert.vocabulary import CONTROL, NORMAL, UNUSED, USER_DEFINED, Vocabulary, require_loadable
from qwen3edge.errors import CheckpointError, UnsupportedModelError
from qwen3edge.formats.gguf import Value
from qwen3edge.formats.gguf_header import MetadataItem
from qwen3edge.templates.budget import MAX_SOURCE_CHARACTERS
from qwen3edge.tokenization import KNOWN_SPLITTERS, NAMED_TOKENS, SPLITTERS

_MODEL = "gpt2"
_UNNAMED = ("default", None)
"""`tokenizer.ggml.pre` of conversions before May 2024, which did not know it; Qwen2's is meant."""
_NO_TOKENIZER = (None, "none", "no_vocab")
_END_KEYS = ("eos_token_id", "eot_token_id", "eom_token_id")
_SAMPLING_KEYS = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "penalty_repeat": "repetition_penalty",
}


class GgufText:
    """What the keys `tokenizer.*` say, in a file of one of Qwen's architectures."""

    def __init__(self, metadata: Mapping[str, Value], vocab_size: int, template: str | None = None) -> None:
        """template: a chat template to pack in place of the file's. Raises UnsupportedModelError for a tokenizer not
        Qwen's, CheckpointError for one that contradicts itself.
        """
        self._metadata = metadata
        self._vocab_size = vocab_size
        model, pre = self._text("tokenizer.ggml.model"), self._text("tokenizer.ggml.pre")
        self.template = PackedTemplate.choose(template, self._template)
        self._vocabulary: Vocabulary | None = None
        if model in _NO_TOKENIZER:
            return
        later = str(metadata.get("general.architecture")).startswith("qwen35")
        if model != _MODEL or not (pre in SPLITTERS or (pre in _UNNAMED and not later)):
            raise UnsupportedModelError(
                f"tokenizer.ggml: expected Qwen's tokenizer, model {_MODEL!r} and pre one of {KNOWN_SPLITTERS}, "
                f"found {model!r:.60} and {pre!r:.60}"
            )
        self._vocabulary = self._read_vocabulary(pre)

    @property
    def present(self) -> bool:
        """Whether there is a tokenizer."""
        return self._vocabulary is not None

    @property
    def notes(self) -> tuple[str, ...]:
        """What the file asks for and does not get."""
        return (*(() if self._vocabulary is None else self._vocabulary.notes), *self.template.notes)

    def stop_token_ids(self) -> tuple[int, ...]:
        """All ids that end an answer."""
        ids = [self._token(key) for key in _END_KEYS]
        ids += [] if self._vocabulary is None else self._vocabulary.control_ids(STOP_TOKENS)
        return tuple(dict.fromkeys(token for token in ids if token is not None))

    def metadata(self, model_type: str, hidden_size: int) -> dict[str, MetadataItem]:
        """The keys `tokenizer.*` and `qwen3edge.sampling.*`."""
        keys: dict[str, MetadataItem] = {}
        if self._vocabulary is not None:
            keys = self._vocabulary.metadata({key: self._token(key) for key in NAMED_TOKENS.values()})
        keys.update(self.template.metadata())
        chosen = {name: self._metadata.get(f"general.sampling.{key}") for key, name in _SAMPLING_KEYS.items()}
        template = self.template.original
        keys.update(sampling_metadata(template, model_type, hidden_size, chosen, "general.sampling"))
        return keys

    def _template(self) -> str | None:
        template = self._text("tokenizer.chat_template")
        if template is not None and len(template) > MAX_SOURCE_CHARACTERS:
            raise CheckpointError(
                f"tokenizer.chat_template: expected text of at most {MAX_SOURCE_CHARACTERS} characters"
            )
        return template

    def _text(self, key: str) -> str | None:
        value = self._metadata.get(key)
        if value is not None and not isinstance(value, str):
            raise CheckpointError(f"{key}: expected text, found {value!r:.60}")
        return value

    def _read_vocabulary(self, pre: str | None) -> Vocabulary:
        tokens, types = self._strings("tokens"), self._metadata.get("tokenizer.ggml.token_type")
        if not isinstance(types, np.ndarray) or types.dtype.kind not in "iu" or types.shape != (len(tokens),):
            raise CheckpointError(f"tokenizer.ggml.token_type: expected an integer for each of {len(tokens)} tokens")
        strange = sorted(set(types.tolist()) - {NORMAL, CONTROL, USER_DEFINED, UNUSED})
        if strange:
            raise UnsupportedModelError(f"tokenizer.ggml.token_type: expected 1, 3, 4 or 5, found {strange[0]}")
        if not len(tokens):
            raise CheckpointError("tokenizer.ggml.tokens: expected tokens, found none")
        used = np.flatnonzero(types != UNUSED)
        size = int(used[-1]) + 1 if used.size else 0  # rows of the embedding that nobody uses need no token
        if not 1 <= size <= self._vocab_size:
            raise CheckpointError(
                f"tokenizer.ggml.tokens: expected 1 to {self._vocab_size} tokens, the embedding's rows, found {size}"
            )
        merges = self._strings("merges") if "tokenizer.ggml.merges" in self._metadata else []
        require_loadable(tokens[:size], types[:size].tolist(), merges, "tokenizer.ggml")
        notes: list[str] = []
        if not merges:
            notes.append("the file has no tokenizer.ggml.merges: every byte of a text is a token of its own")
        splitter = "qwen2" if pre is None or pre not in SPLITTERS else pre
        if splitter != pre:
            said = "no tokenizer.ggml.pre" if pre is None else f"tokenizer.ggml.pre {pre!r}"
            notes.append(f"the file has {said}, as old conversions do: texts are split as Qwen2 and Qwen3 do")
        begins_texts = self._metadata.get("tokenizer.ggml.add_bos_token") is True
        return Vocabulary(tokens[:size], types[:size].tolist(), merges, splitter, begins_texts, notes)

    def _strings(self, name: str) -> list[str]:
        value = self._metadata.get(f"tokenizer.ggml.{name}")
        if isinstance(value, np.ndarray) and not value.size:
            return []
        if not isinstance(value, list):
            raise CheckpointError(f"tokenizer.ggml.{name}: expected an array of strings, found {type(value).__name__}")
        return value

    def _token(self, name: str) -> int | None:
        value = self._metadata.get(f"tokenizer.ggml.{name}")
        if value is None:
            return None
        if type(value) is not int or not 0 <= value < self._vocab_size:
            raise CheckpointError(f"tokenizer.ggml.{name}: expected an id below {self._vocab_size}, found {value!r}")
        return value
