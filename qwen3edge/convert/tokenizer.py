"""A Hugging Face tokenizer, chat template and generation config as the metadata of a `.q3e` file (docs/format.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qwen3edge.config import token_ids
from qwen3edge.errors import CheckpointError, UnsupportedModelError
from qwen3edge.formats.gguf_header import MetadataItem
from qwen3edge.formats.safetensors import read_json

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5

WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen2, Qwen2.5 and Qwen3 split a text before BPE. Another pattern is another tokenizer."""

STOP_TOKENS = ("<|im_end|>", "<|endoftext|>")
"""The end of a turn and of a text. A model may stop on either, whatever its configs say."""

_SAMPLING = {
    "thinking": {"temperature": 0.6, "top_p": 0.95, "top_k": 20},
    "direct": {"temperature": 0.7, "top_p": 0.8, "top_k": 20},
}
"""Qwen's advice by mode; generation_config.json has at most one of the two."""
_SAMPLING_NEUTRAL = {"min_p": 0.0, "presence_penalty": 0.0, "repetition_penalty": 1.0}

_BPE_OPTIONS = (
    "dropout",
    "unk_token",
    "continuing_subword_prefix",
    "end_of_word_suffix",
    "byte_fallback",
    "ignore_merges",
)

_MAX_JSON_BYTES = 256 << 20
MAX_TEMPLATE = 1 << 20
"""Characters."""


class TextFiles:
    """What a folder has of tokenizer.json, tokenizer_config.json, chat_template.jinja and generation_config.json."""

    def __init__(self, folder: Path) -> None:
        """Raises CheckpointError for a file that cannot be read, UnsupportedModelError for a tokenizer not Qwen's."""
        self._config = _optional_json(folder / "tokenizer_config.json")
        self.generation = _optional_json(folder / "generation_config.json")
        self.template = _chat_template(folder, self._config)
        path = folder / "tokenizer.json"
        self.present = path.exists()
        self.tokens: list[str] = []
        self.types: list[int] = []
        self.merges: list[str] = []
        if self.present:
            tokenizer = read_json(path, _MAX_JSON_BYTES)
            _require_qwen(tokenizer, path)
            self.tokens, self.types = _vocabulary(tokenizer, path)
            self.merges = _merges(tokenizer["model"], path)

    def stop_token_ids(self, from_config: tuple[int, ...], vocab_size: int) -> tuple[int, ...]:
        """All ids that end an answer: generation_config's, config's, the tokenizer's and Qwen's own, in this order."""
        ids = [
            *token_ids(self.generation.get("eos_token_id"), "generation_config.json: eos_token_id"),
            *from_config,
        ]
        eos = self._special("eos_token")
        ids += [] if eos is None else [eos]
        ids += [self.tokens.index(name) for name in STOP_TOKENS if name in self._control()]
        for token in ids:
            if token >= vocab_size:
                raise CheckpointError(f"eos_token_id: expected ids below {vocab_size}, found {token}")
        return tuple(dict.fromkeys(ids))

    def metadata(self, vocab_size: int) -> dict[str, MetadataItem]:
        """The keys `tokenizer.*` and `qwen3edge.sampling.*`. Raises CheckpointError for more tokens than rows."""
        if len(self.tokens) > vocab_size:
            raise CheckpointError(f"tokenizer.json: expected at most {vocab_size} tokens, found {len(self.tokens)}")
        keys: dict[str, MetadataItem] = {}
        if self.present:
            keys["tokenizer.ggml.model"] = "gpt2"
            keys["tokenizer.ggml.pre"] = "qwen2"
            keys["tokenizer.ggml.tokens"] = self.tokens
            keys["tokenizer.ggml.token_type"] = np.array(self.types, np.int32)
            if self.merges:
                keys["tokenizer.ggml.merges"] = self.merges
            for key, name in (("eos_token_id", "eos_token"), ("padding_token_id", "pad_token")):
                token = self._special(name)
                if token is not None:
                    keys[f"tokenizer.ggml.{key}"] = token
        if self.template is not None:
            keys["tokenizer.chat_template"] = self.template
        keys.update(sampling_metadata(self.template, self.generation, "generation_config.json"))
        return keys

    def _control(self) -> set[str]:
        return {token for token, kind in zip(self.tokens, self.types, strict=True) if kind == CONTROL}

    def _special(self, name: str) -> int | None:
        """The id of the token that tokenizer_config.json names."""
        value = self._config.get(name)
        content = value.get("content") if isinstance(value, Mapping) else value
        if content is None or not self.present:
            return None
        if content not in self.tokens:
            raise CheckpointError(f"tokenizer_config.json: {name} is {content!r}, which tokenizer.json does not have")
        return self.tokens.index(content)


def sampling_metadata(template: str | None, chosen: Mapping[str, Any], where: str) -> dict[str, MetadataItem]:
    """The keys `qwen3edge.sampling.*`. chosen: what the checkpoint has, named as in generation_config.json.

    Raises CheckpointError for what is no number.
    """
    modes = {mode: {**values, **_SAMPLING_NEUTRAL} for mode, values in _SAMPLING.items()}
    # The file's only set belongs to the mode that the model starts in: thinking, if its template knows how to.
    mode = "thinking" if template is None or "<think>" in template else "direct"
    for name, default in modes[mode].items():
        value = chosen.get(name)
        if value is None:
            continue
        if type(value) not in (int, float) or (isinstance(default, int) and type(value) is not int):
            raise CheckpointError(f"{where}: {name}: expected a number, found {value!r}")
        modes[mode][name] = type(default)(value)
    return {
        f"qwen3edge.sampling.{mode}.{name}": value for mode, values in modes.items() for name, value in values.items()
    }


def _optional_json(path: Path) -> dict[str, Any]:
    return read_json(path, _MAX_JSON_BYTES) if path.exists() else {}


def _chat_template(folder: Path, config: Mapping[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    template = config.get("chat_template")
    if path.exists():
        try:
            data = path.read_bytes()
            template = data.decode()
        except (OSError, UnicodeDecodeError) as error:
            raise CheckpointError(f"{path}: expected UTF-8 text: {error}") from None
    if isinstance(template, list):  # several, by name
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, Mapping)}
        template = named.get("default")
        if template is None:
            raise CheckpointError(f"chat_template: expected one named 'default', found {sorted(map(str, named))}")
    if template is None:
        return None
    if not isinstance(template, str) or len(template) > MAX_TEMPLATE:
        raise CheckpointError(f"chat_template: expected text of at most {MAX_TEMPLATE} characters")
    return template


def _require_qwen(tokenizer: Mapping[str, Any], path: Path) -> None:
    """Refuses what the runtime would tokenize differently."""
    model = tokenizer.get("model")
    if not isinstance(model, Mapping) or model.get("type", "BPE") != "BPE":
        raise UnsupportedModelError(f"{path}: expected a BPE tokenizer, found {_kind(model)}")
    for option in _BPE_OPTIONS:
        if model.get(option):
            raise UnsupportedModelError(f"{path}: model.{option}: expected none, found {model[option]!r}")
    if tokenizer.get("normalizer") != {"type": "NFC"}:
        raise UnsupportedModelError(f"{path}: normalizer: expected NFC, found {_kind(tokenizer.get('normalizer'))}")
    splitter = tokenizer.get("pre_tokenizer")
    parts = splitter.get("pretokenizers") if isinstance(splitter, Mapping) else None
    if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(part, Mapping) for part in parts):
        raise UnsupportedModelError(f"{path}: pre_tokenizer: expected Split and ByteLevel, found {_kind(splitter)}")
    split, byte_level = parts
    expected = {"type": "Split", "pattern": {"Regex": WORDS}, "behavior": "Isolated", "invert": False}
    if split != expected:
        raise UnsupportedModelError(f"{path}: pre_tokenizer: expected Qwen's words, found {_shorten(split)}")
    if byte_level.get("type") != "ByteLevel" or byte_level.get("add_prefix_space") or byte_level.get("use_regex", True):
        raise UnsupportedModelError(f"{path}: pre_tokenizer: expected plain ByteLevel, found {_shorten(byte_level)}")


def _vocabulary(tokenizer: Mapping[str, Any], path: Path) -> tuple[list[str], list[int]]:
    """Texts and types by id; ids that nobody uses are filled up."""
    vocabulary = tokenizer["model"].get("vocab")
    added = tokenizer.get("added_tokens") or []
    if not isinstance(vocabulary, Mapping) or not vocabulary:
        raise CheckpointError(f"{path}: model.vocab: expected an object of tokens, found {_kind(vocabulary)}")
    if not isinstance(added, list):
        raise CheckpointError(f"{path}: added_tokens: expected a list, found {_kind(added)}")
    by_id: dict[int, tuple[str, int]] = {}
    for content, token in vocabulary.items():
        _claim(by_id, token, content, NORMAL, path)
    for entry in added:
        if not isinstance(entry, Mapping) or not isinstance(entry.get("content"), str) or not entry["content"]:
            raise CheckpointError(f"{path}: added_tokens: expected objects with content, found {_shorten(entry)}")
        for option in ("lstrip", "rstrip", "single_word"):
            if entry.get(option):
                raise UnsupportedModelError(f"{path}: added token {entry['content']!r}: {option} is not supported")
        kind = CONTROL if entry.get("special") else USER_DEFINED
        token = entry.get("id")
        if type(token) is int and by_id.get(token, ("", 0))[0] == entry["content"]:
            del by_id[token]  # in the vocabulary, too
        _claim(by_id, token, entry["content"], kind, path)
    size = max(by_id) + 1
    if size > 2 * len(by_id) + 4096:
        raise CheckpointError(f"{path}: expected ids without large gaps, found {len(by_id)} tokens up to id {size - 1}")
    tokens = [by_id.get(token, (f"[unused{token}]", UNUSED)) for token in range(size)]
    return [content for content, _ in tokens], [kind for _, kind in tokens]


def _claim(by_id: dict[int, tuple[str, int]], token: object, content: object, kind: int, path: Path) -> None:
    if type(token) is not int or token < 0 or not isinstance(content, str):
        raise CheckpointError(f"{path}: expected an id of 0 or more for the token {content!r}, found {token!r}")
    if token in by_id:
        raise CheckpointError(f"{path}: expected different ids, found {token} for {by_id[token][0]!r} and {content!r}")
    try:
        content.encode()
    except UnicodeEncodeError:
        raise CheckpointError(f"{path}: expected Unicode text, found the token {content!r}") from None
    by_id[token] = (content, kind)


def _merges(model: Mapping[str, Any], path: Path) -> list[str]:
    vocabulary, merges = model["vocab"], model.get("merges")
    if not isinstance(merges, list):
        raise CheckpointError(f"{path}: model.merges: expected a list, found {_kind(merges)}")
    out = []
    for merge in merges:
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise CheckpointError(f"{path}: model.merges: expected pairs, found {_shorten(merge)}")
        left, right = pair
        if left not in vocabulary or right not in vocabulary or left + right not in vocabulary:
            raise CheckpointError(f"{path}: model.merges: expected tokens of the vocabulary, found {_shorten(merge)}")
        if " " in left or " " in right:
            raise UnsupportedModelError(f"{path}: model.merges: expected byte-level tokens, found {_shorten(merge)}")
        out.append(f"{left} {right}")
    return out


def _kind(value: object) -> str:
    return repr(value.get("type", "an object")) if isinstance(value, Mapping) else _shorten(value)


def _shorten(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 160 else text[:157] + "..."
