"""The vocabulary of a Hugging Face folder: tokenizer.json, or vocab.json and merges.txt, and what others add."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from qwen3edge import _core
from qwen3edge.errors import CheckpointError, FileFormatError, UnsupportedModelError
from qwen3edge.formats.gguf_header import MetadataItem
from qwen3edge.formats.safetensors import read_json
from qwen3edge.tokenization import NAMED_TOKENS, SPLITTERS, Splitter, splitter_name

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5

_BPE_OPTIONS = (
    "dropout",
    "unk_token",
    "continuing_subword_prefix",
    "end_of_word_suffix",
    "byte_fallback",
    "ignore_merges",
)
_MAX_JSON_BYTES = 256 << 20
_QWEN_CLASSES = {"Qwen2Tokenizer": "qwen2", "Qwen2TokenizerFast": "qwen2", "Qwen3_5Tokenizer": "qwen35"}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}


@dataclass
class Vocabulary:
    """tokens, types: by id, types as in `tokenizer.ggml.token_type`. merges: "left right", the first comes first.

    splitter: a name of SPLITTERS. begins_texts: the tokenizer puts its bos token before every text. notes: what
    was taken otherwise than a file says.
    """

    tokens: list[str]
    types: list[int]
    merges: list[str]
    splitter: str
    begins_texts: bool
    notes: list[str]
    _ids: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ids = {token: i for i, token in enumerate(self.tokens) if self.types[i] != UNUSED}

    def id_of(self, token: str) -> int | None:
        """None for a token that is not there."""
        return self._ids.get(token)

    def control_ids(self, names: Iterable[str]) -> list[int]:
        """Of those that are there, and control tokens."""
        ids = [self._ids[name] for name in names if name in self._ids]
        return [token for token in ids if self.types[token] == CONTROL]

    def metadata(self, named: Mapping[str, int | None]) -> dict[str, MetadataItem]:
        """The keys `tokenizer.ggml.*`. named: the ids of NAMED_TOKENS, as far as a file names such tokens."""
        keys: dict[str, MetadataItem] = {
            "model": "gpt2",
            "pre": self.splitter,
            "tokens": self.tokens,
            "token_type": np.array(self.types, np.int32),
        }
        if self.merges:
            keys["merges"] = self.merges
        keys |= {key: token for key, token in named.items() if token is not None}
        if self.begins_texts and "bos_token_id" in keys:
            keys["add_bos_token"] = True
        return {f"tokenizer.ggml.{key}": value for key, value in keys.items()}

    @classmethod
    def read(cls, folder: Path, config: Mapping[str, Any]) -> Vocabulary | None:
        """None if the folder has no tokenizer. config: tokenizer_config.json.

        Raises CheckpointError for files that contradict themselves, UnsupportedModelError for a tokenizer not Qwen's.
        """
        path = folder / "tokenizer.json"
        if path.exists():
            tokenizer = read_json(path, _MAX_JSON_BYTES)
        else:
            path = folder / "vocab.json"
            if not path.exists() or not (folder / "merges.txt").exists():
                return None
            tokenizer = _from_two_files(folder, config)
        splitter = _splitter(tokenizer, path)
        table = _Table(path)
        table.add_vocabulary(tokenizer["model"].get("vocab"))
        table.add_entries(tokenizer.get("added_tokens"), "added_tokens")
        known = len(table)
        table.add_config(folder, config, named=path.name == "vocab.json")
        if path.name != "vocab.json" and len(table) > known:
            table.notes.append(f"{len(table) - known} tokens stand in tokenizer_config.json alone and were added")
        tokens, types = table.by_id()
        merges = _merges(tokenizer["model"], table, path)
        require_loadable(tokens, types, merges, str(path))
        return cls(tokens, types, merges, splitter, _begins_texts(tokenizer, config), table.notes)


def pre_tokenizer(words: str) -> dict[str, Any]:
    """What tokenizer.json says of a splitter."""
    split = {"type": "Split", "pattern": {"Regex": words}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, BYTE_LEVEL]}


def require_loadable(tokens: list[str], types: list[int], merges: list[str], where: str) -> None:
    """What the runtime will refuse is refused now. transformers lets a user add a token that is the name of a byte's.

    where: the file or the keys, for messages. Raises CheckpointError.
    """
    try:
        _core.Bpe(tokens, types, merges)
    except FileFormatError as error:
        added = (token for token, kind in zip(tokens, types, strict=True) if len(token) == 1 and kind != NORMAL)
        token = next(added, None)
        hint = "" if token is None else f"; an added token of one character can hide a byte's: remove {token!r}"
        raise CheckpointError(f"{where}: {error}{hint}") from None


class _Table:
    """Tokens by id and by text while they are gathered."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._by_id: dict[int, tuple[str, int]] = {}
        self._ids: dict[str, int] = {}
        self.notes: list[str] = []

    def __len__(self) -> int:
        return len(self._by_id)

    def kind_of(self, token: str) -> int:
        """UNUSED for one that is not there."""
        return self._by_id[self._ids[token]][1] if token in self._ids else UNUSED

    def add_vocabulary(self, vocabulary: object) -> None:
        """The tokens that merges make."""
        if not isinstance(vocabulary, Mapping) or not vocabulary:
            raise CheckpointError(f"{self._path}: model.vocab: expected an object of tokens, found {_kind(vocabulary)}")
        for content, token in vocabulary.items():
            self._claim(token, content, NORMAL)

    def add_entries(self, entries: object, where: str) -> None:
        """A list of tokens with `id`, `content`, `special`, as in tokenizer.json."""
        if not isinstance(entries or [], list):
            raise CheckpointError(f"{self._path}: {where}: expected a list, found {_kind(entries)}")
        for entry in entries or []:  # type: ignore[attr-defined]
            content = token_name(entry) if isinstance(entry, Mapping) else None
            if not content:
                raise CheckpointError(f"{self._path}: {where}: expected objects with content, found {shorten(entry)}")
            for option in ("lstrip", "rstrip", "single_word"):
                if entry.get(option):
                    raise UnsupportedModelError(f"{self._path}: added token {content!r}: {option} is not supported")
            self._add(entry.get("id"), content, CONTROL if entry.get("special") else USER_DEFINED)

    def add_config(self, folder: Path, config: Mapping[str, Any], *, named: bool) -> None:
        """What tokenizer_config.json has besides, in transformers' order. named: eos and pad tokens as well."""
        decoder = config.get("added_tokens_decoder")
        where = "tokenizer_config.json: added_tokens_decoder"
        if decoder is None and (folder / "added_tokens.json").exists():
            where = "added_tokens.json"
            ids = read_json(folder / where, _MAX_JSON_BYTES)
            special = {token_name(config.get(name)) for name in NAMED_TOKENS} | set(_extra(config))
            decoder = {token: {"content": text, "special": text in special} for text, token in ids.items()}
        if not isinstance(decoder or {}, Mapping):
            raise CheckpointError(f"{where}: expected an object, found {_kind(decoder)}")
        entries = [
            {**entry, "id": _number(key)} for key, entry in (decoder or {}).items() if isinstance(entry, Mapping)
        ]
        if len(entries) != len(decoder or {}):
            raise CheckpointError(f"{where}: expected an object for each token")
        self.add_entries(
            sorted(entries, key=lambda entry: (type(entry["id"]) is int, str(entry["id"]).zfill(10))), where
        )
        # A model's end and padding are not made up where a tokenizer.json lacks them: see TextFiles.
        names = [
            token_name(config.get(name)) for name in NAMED_TOKENS if named or name not in ("eos_token", "pad_token")
        ]
        for content in (*names, *_extra(config)):
            if content and content not in self._ids:
                self._claim(max(self._by_id) + 1, content, CONTROL)

    def by_id(self) -> tuple[list[str], list[int]]:
        """Texts and types; ids that nobody uses are filled up."""
        size = max(self._by_id) + 1
        if size > 2 * len(self._by_id) + 4096:
            raise CheckpointError(
                f"{self._path}: expected ids without large gaps, found {len(self._by_id)} tokens up to id {size - 1}"
            )
        tokens = [self._by_id.get(token, (f"[unused{token}]", UNUSED)) for token in range(size)]
        return [content for content, _ in tokens], [kind for _, kind in tokens]

    def _add(self, token: object, content: str, kind: int) -> None:
        """A token that is there already keeps its id, as in the tokenizers library."""
        known = self._ids.get(content)
        if known is None:
            self._claim(token, content, kind)
            return
        if known != token:
            self.notes.append(f"the added token {content!r:.60} has the id {known} already, not {token!r:.20}")
        if self._by_id[known][1] == NORMAL:
            self._by_id[known] = (content, kind)

    def _claim(self, token: object, content: object, kind: int) -> None:
        if type(token) is not int or token < 0 or not isinstance(content, str):
            raise CheckpointError(
                f"{self._path}: expected an id of 0 or more for the token {content!r:.60}, found {token!r:.60}"
            )
        if token in self._by_id:
            raise CheckpointError(
                f"{self._path}: expected different ids, found {token} for {self._by_id[token][0]!r:.60} and "
                f"{content!r:.60}"
            )
        try:
            content.encode()
        except UnicodeEncodeError:
            raise CheckpointError(f"{self._path}: expected Unicode text, found the token {content!r:.60}") from None
        self._by_id[token] = (content, kind)
        self._ids[content] = token


def token_name(value: object) -> str | None:
    """The text of a token that a config names as a string or as an object with `content`."""
    content = value.get("content") if isinstance(value, Mapping) else value
    return content if isinstance(content, str) else None


def _extra(config: Mapping[str, Any]) -> list[str]:
    """Special tokens that have no name of their own, or one that only their model knows."""
    extra = config.get("extra_special_tokens") or config.get("additional_special_tokens") or []
    if not isinstance(extra, list | Mapping):
        raise CheckpointError(f"tokenizer_config.json: extra_special_tokens: expected a list, found {_kind(extra)}")
    names: Iterable[object] = extra.values() if isinstance(extra, Mapping) else extra
    return [content for content in map(token_name, names) if content]


def _from_two_files(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """What transformers makes of vocab.json and merges.txt: tokenizer.json in Qwen's form."""
    found = config.get("tokenizer_class") or "Qwen2Tokenizer"
    if found not in _QWEN_CLASSES:
        raise UnsupportedModelError(
            "tokenizer_config.json: tokenizer_class: expected Qwen2Tokenizer or Qwen3_5Tokenizer beside vocab.json and "
            f"merges.txt, found {found!r:.60}; AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) writes "
            "tokenizer.json"
        )
    path = folder / "merges.txt"
    try:
        data = path.read_bytes()
        if len(data) > _MAX_JSON_BYTES:
            raise CheckpointError(f"{path}: expected at most {_MAX_JSON_BYTES} bytes, found more")
        lines = data.decode().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: expected UTF-8 text: {error}") from None
    merges = [line.rstrip("\r") for line in lines[lines[0].startswith("#version") :]]
    return {
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": pre_tokenizer(SPLITTERS[_QWEN_CLASSES[found]].words),
        "model": {
            "type": "BPE",
            "vocab": read_json(folder / "vocab.json", _MAX_JSON_BYTES),
            "merges": [line for line in merges if line.strip()],
        },
    }


def _splitter(tokenizer: Mapping[str, Any], path: Path) -> str:
    """Its name. Refuses what the runtime would tokenize differently."""
    model = tokenizer.get("model")
    if not isinstance(model, Mapping) or model.get("type", "BPE") != "BPE":
        raise UnsupportedModelError(f"{path}: expected a BPE tokenizer, found {_kind(model)}")
    for option in _BPE_OPTIONS:
        if model.get(option):
            raise UnsupportedModelError(f"{path}: model.{option}: expected none, found {model[option]!r:.60}")
    splitter = tokenizer.get("pre_tokenizer")
    parts = splitter.get("pretokenizers") if isinstance(splitter, Mapping) else None
    if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(part, Mapping) for part in parts):
        raise UnsupportedModelError(f"{path}: pre_tokenizer: expected Split and ByteLevel, found {_kind(splitter)}")
    split, byte_level = parts
    words = next((s.words for s in SPLITTERS.values() if split == pre_tokenizer(s.words)["pretokenizers"][0]), None)
    if words is None:
        raise UnsupportedModelError(f"{path}: pre_tokenizer: expected Qwen's words, found {shorten(split)}")
    if byte_level.get("type") != "ByteLevel" or byte_level.get("add_prefix_space") or byte_level.get("use_regex", True):
        raise UnsupportedModelError(f"{path}: pre_tokenizer: expected plain ByteLevel, found {shorten(byte_level)}")
    normalizer = tokenizer.get("normalizer")
    name = splitter_name(Splitter(words, _normalizes(normalizer, path)))
    if name is None:
        raise UnsupportedModelError(
            f"{path}: normalizer: expected NFC before Qwen3.5's words, found {_kind(normalizer)}"
        )
    return name


def _normalizes(normalizer: object, path: Path) -> bool:
    """Whether texts are brought into NFC: by one normalizer, alone or in sequences, or not at all."""
    kind = normalizer.get("type") if isinstance(normalizer, Mapping) else None
    if normalizer is None:
        return False
    if kind == "NFC":
        return True
    inner = normalizer.get("normalizers") if isinstance(normalizer, Mapping) and kind == "Sequence" else None
    if not isinstance(inner, list) or len(inner) > 16:
        raise UnsupportedModelError(f"{path}: normalizer: expected NFC or none, found {_kind(normalizer)}")
    kinds = {_normalizes(part, path) for part in inner}
    return True in kinds


def _begins_texts(tokenizer: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Whether the bos token is put before every text."""
    if isinstance(config.get("add_bos_token"), bool):
        return bool(config["add_bos_token"])
    template = tokenizer.get("post_processor")
    for part in template.get("processors") or [] if isinstance(template, Mapping) else []:
        if isinstance(part, Mapping) and part.get("type") == "TemplateProcessing":
            template = part
    single = template.get("single") if isinstance(template, Mapping) else None
    first = single[0] if isinstance(single, list) and single else None
    special = first.get("SpecialToken") if isinstance(first, Mapping) else None
    return isinstance(special, Mapping) and special.get("id") == token_name(config.get("bos_token"))


def _merges(model: Mapping[str, Any], table: _Table, path: Path) -> list[str]:
    """Merges that touch an added token are left out: a text is cut at such tokens before anything is merged."""
    vocabulary, merges = model["vocab"], model.get("merges")
    if not isinstance(merges, list):
        raise CheckpointError(f"{path}: model.merges: expected a list, found {_kind(merges)}")
    out = []
    for merge in merges:
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise CheckpointError(f"{path}: model.merges: expected pairs, found {shorten(merge)}")
        left, right = pair
        if left not in vocabulary or right not in vocabulary or left + right not in vocabulary:
            raise CheckpointError(f"{path}: model.merges: expected tokens of the vocabulary, found {shorten(merge)}")
        if " " in left or " " in right:
            raise UnsupportedModelError(f"{path}: model.merges: expected byte-level tokens, found {shorten(merge)}")
        if all(table.kind_of(token) == NORMAL for token in (left, right, left + right)):
            out.append(f"{left} {right}")
    return out


def _number(key: object) -> object:
    """added_tokens_decoder's keys are texts, added_tokens.json's ids are numbers."""
    return int(key) if isinstance(key, str) and key.isascii() and key.isdecimal() and len(key) < 10 else key


def _kind(value: object) -> str:
    return repr(value.get("type", "an object")) if isinstance(value, Mapping) else shorten(value)


def shorten(value: object) -> str:
    """JSON of at most 160 characters."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 160 else text[:157] + "..."
