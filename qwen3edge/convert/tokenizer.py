"""What the text files of a Hugging Face folder say, as the metadata of a `.q3e` file (docs/format.md)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qwen3edge.architectures.keys import token_ids
from qwen3edge.convert.sampling import sampling_metadata
from qwen3edge.convert.template import PackedTemplate
from qwen3edge.convert.vocabulary import Vocabulary, token_name
from qwen3edge.errors import CheckpointError
from qwen3edge.formats.gguf_header import MetadataItem
from qwen3edge.formats.safetensors import read_json
from qwen3edge.templates.budget import MAX_SOURCE_CHARACTERS
from qwen3edge.tokenization import NAMED_TOKENS

STOP_TOKENS = ("<|im_end|>", "<|endoftext|>")
"""The end of a turn and of a text. A model may stop on either, whatever its configs say."""

_DEFAULT_TOKENS = dict.fromkeys(("eos_token", "pad_token", "unk_token"), "<|endoftext|>")
"""Of transformers' tokenizer for Qwen, which it makes from vocab.json and merges.txt."""

_MAX_JSON_BYTES = 256 << 20


class TextFiles:
    """What a folder has of a tokenizer, tokenizer_config.json, chat_template.jinja and generation_config.json."""

    def __init__(self, folder: Path, template: str | None = None) -> None:
        """template: a chat template to pack in place of the folder's. Raises CheckpointError for a file that cannot be
        read, UnsupportedModelError for a tokenizer not Qwen's.
        """
        config = _optional_json(folder / "tokenizer_config.json")
        if "added_tokens_decoder" not in config:  # what older versions of transformers wrote, and newer ones still read
            config = {**config, **_optional_json(folder / "special_tokens_map.json")}
        if not (folder / "tokenizer.json").exists():
            config = {**_DEFAULT_TOKENS, **config}
        self._config = config
        self.generation = _optional_json(folder / "generation_config.json")
        self.template = PackedTemplate.choose(template, lambda: _chat_template(folder, config))
        self._vocabulary = Vocabulary.read(folder, config)

    @property
    def present(self) -> bool:
        """Whether there is a tokenizer."""
        return self._vocabulary is not None

    @property
    def notes(self) -> tuple[str, ...]:
        """What was taken otherwise than a file says."""
        return (*(() if self._vocabulary is None else self._vocabulary.notes), *self.template.notes)

    def stop_token_ids(self, from_config: tuple[int, ...], vocab_size: int) -> tuple[int, ...]:
        """All ids that end an answer: generation_config's, config's, the tokenizer's and Qwen's own, in this order."""
        ids = [
            *token_ids(self.generation.get("eos_token_id"), "generation_config.json: eos_token_id"),
            *from_config,
        ]
        eos = self._special("eos_token")
        ids += [] if eos is None else [eos]
        if self._vocabulary is not None:
            ids += self._vocabulary.control_ids(STOP_TOKENS)
        for token in ids:
            if token >= vocab_size:
                raise CheckpointError(f"eos_token_id: expected ids below {vocab_size}, found {token}")
        return tuple(dict.fromkeys(ids))

    def metadata(self, vocab_size: int, model_type: str, hidden_size: int) -> dict[str, MetadataItem]:
        """The keys `tokenizer.*` and `qwen3edge.sampling.*`. Raises CheckpointError for more tokens than rows."""
        keys: dict[str, MetadataItem] = {}
        if self._vocabulary is not None:
            tokens = self._vocabulary.tokens
            if len(tokens) > vocab_size:
                raise CheckpointError(f"tokenizer.json: expected at most {vocab_size} tokens, found {len(tokens)}")
            keys = self._vocabulary.metadata({key: self._special(name) for name, key in NAMED_TOKENS.items()})
        keys.update(self.template.metadata())
        template, where = self.template.original, "generation_config.json"
        keys.update(sampling_metadata(template, model_type, hidden_size, self.generation, where))
        return keys

    def _special(self, name: str) -> int | None:
        """The id of the token that tokenizer_config.json names."""
        content = token_name(self._config.get(name))
        if content is None or self._vocabulary is None:
            return None
        token = self._vocabulary.id_of(content)
        if token is None:
            raise CheckpointError(
                f"tokenizer_config.json: {name} is {content!r:.100}, which the tokenizer does not have"
            )
        return token


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
    if not isinstance(template, str) or len(template) > MAX_SOURCE_CHARACTERS:
        raise CheckpointError(f"chat_template: expected text of at most {MAX_SOURCE_CHARACTERS} characters")
    return template
