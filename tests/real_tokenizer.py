"""Qwen2.5's, Qwen3's and Qwen3.5's real tokenizers, which tests/fetch_tokenizer.py fetched, and files of them."""

from __future__ import annotations

import base64
import itertools
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from qwen3edge.convert import convert
from qwen3edge.convert.vocabulary import Vocabulary
from qwen3edge.text.tokenizer import Tokenizer
from tests.fetch_tokenizer import CONFIG, RANKS, RANKS_3_5
from tests.reference.byte_alphabet import from_bytes

WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
WORDS_WITH_MARKS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)
# fmt: off
CONTROL = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
]
USER_DEFINED = [
    "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
    "<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>", "<think>", "</think>",
]
SPEECH = [
    "<|audio_start|>", "<|audio_end|>", "<tts_pad>", "<tts_text_bos>", "<tts_text_eod>", "<tts_text_bos_single>",
    "<|audio_pad|>",
]
# fmt: on


def require(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"Qwen's tokenizer is not there ({path.name}): run `python tests/fetch_tokenizer.py`")
    return path


@dataclass(frozen=True, eq=False)
class RealTokenizer:
    """words: its pattern. added: behind the ranks, in the order of their ids. rows: of the embedding."""

    ranks_path: Path
    words: str
    added_texts: tuple[str, ...]
    rows: int

    @cached_property
    def ranks(self) -> dict[bytes, int]:
        lines = require(self.ranks_path).read_bytes().splitlines()
        return {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, lines)}

    @cached_property
    def added(self) -> dict[str, int]:
        return {content: token for token, content in enumerate(self.added_texts, len(self.ranks))}

    def is_control(self, content: str) -> bool:
        return content not in USER_DEFINED

    @cached_property
    def merges(self) -> list[tuple[bytes, bytes]]:
        """Of a token the pair that it was merged from is what BPE makes of it with the tokens before it; of some 200
        of Qwen3.5's that cannot be, with all others.
        """
        pairs = []
        for token, rank in sorted(self.ranks.items(), key=lambda item: item[1]):
            parts = self._parts(token, rank) or self._parts(token, len(self.ranks))
            if parts:
                pairs.append((parts[0], parts[1]))
        return pairs

    def _parts(self, token: bytes, limit: int) -> list[bytes]:
        """The last two parts of a token, of tokens below a limit; none if they are more, or a byte."""
        parts = [token[i : i + 1] for i in range(len(token))]
        while len(parts) > 2:
            pairs = [left + right for left, right in itertools.pairwise(parts)]
            best = min(range(len(pairs)), key=lambda i: self.ranks.get(pairs[i], limit))
            if self.ranks.get(pairs[best], limit) >= limit:
                return []
            parts[best : best + 2] = [pairs[best]]
        return parts if len(parts) == 2 else []

    def tiktoken(self) -> Any:
        """It in another library."""
        import tiktoken  # noqa: PLC0415

        return tiktoken.Encoding("qwen", pat_str=self.words, mergeable_ranks=self.ranks, special_tokens=self.added)

    def tokenizer_json(self) -> dict[str, Any]:
        """What tokenizer.json says, made from the ranks."""
        byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
        split = {"type": "Split", "pattern": {"Regex": self.words}, "behavior": "Isolated", "invert": False}
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [
                {"id": token, "content": content, **flags, "special": self.is_control(content)}
                for content, token in self.added.items()
            ],
            "normalizer": {"type": "NFC"},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
            "post_processor": byte_level,
            "decoder": byte_level,
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": "",
                "end_of_word_suffix": "",
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": False,
                "vocab": {from_bytes(token): rank for token, rank in self.ranks.items()},
                "merges": [[from_bytes(left), from_bytes(right)] for left, right in self.merges],
            },
        }

    def library(self) -> tokenizers.Tokenizer:
        """It in the tokenizers library."""
        return tokenizers.Tokenizer.from_str(json.dumps(self.tokenizer_json()))

    def ours(self, folder: Path) -> Tokenizer:
        """What the converter and the runtime make of it. folder: for its files."""
        self.write_tokenizer(folder)
        vocabulary = Vocabulary.read(folder, {})
        assert vocabulary is not None
        keys = vocabulary.metadata({})
        return Tokenizer.from_metadata({k: v.tolist() if k.endswith("token_type") else v for k, v in keys.items()})

    def write_tokenizer(self, folder: Path) -> None:
        (folder / "tokenizer.json").write_text(json.dumps(self.tokenizer_json()))

    def make_q3e(self, folder: Path) -> Path:
        """A file with the real vocabulary and a model too small to say anything."""
        import torch  # noqa: PLC0415 - tests of texts alone run without it (tests/pythons.py)
        from transformers import Qwen3Config, Qwen3ForCausalLM  # noqa: PLC0415

        torch.manual_seed(0)
        config = Qwen3Config(
            vocab_size=self.rows,
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
            head_dim=32,
            max_position_embeddings=1024,
            rope_theta=1e6,
            tie_word_embeddings=True,
            eos_token_id=self.added["<|im_end|>"],
        )
        Qwen3ForCausalLM(config).save_pretrained(folder, safe_serialization=True)
        self.write_tokenizer(folder)
        template = {"chat_template": json.loads(CONFIG.read_text())["chat_template"]} if CONFIG.exists() else {}
        (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>", **template}))
        target = folder / "model.q3e"
        convert(folder, target, "int8")
        return target


QWEN2_5 = RealTokenizer(RANKS, WORDS, (*CONTROL, *USER_DEFINED[:8]), 151_936)
QWEN3 = RealTokenizer(RANKS, WORDS, (*CONTROL, *USER_DEFINED), 151_936)
QWEN3_5 = RealTokenizer(RANKS_3_5, WORDS_WITH_MARKS, (*CONTROL, *USER_DEFINED, *SPEECH), 248_320)
