"""Qwen3's real tokenizer, as tests/fetch_tokenizer.py found it, and a `.q3e` file that holds it."""

from __future__ import annotations

import base64
import json
from functools import cache
from pathlib import Path

import pytest

from qwen3edge.convert import convert
from tests.fetch_tokenizer import CONFIG, RANKS
from tests.reference.byte_alphabet import from_bytes

WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
FIRST_ADDED = 151643
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
# fmt: on
ADDED = {content: token for token, content in enumerate([*CONTROL, *USER_DEFINED], FIRST_ADDED)}


def require(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"Qwen3's tokenizer is not there ({path.name}): run `python tests/fetch_tokenizer.py`")
    return path


@cache
def ranks() -> dict[bytes, int]:
    lines = require(RANKS).read_bytes().splitlines()
    return {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, lines)}


@cache
def merges() -> list[tuple[bytes, bytes]]:
    """Of a token the pair that it was merged from is what BPE makes of it with the tokens before it."""
    table = ranks()
    pairs = []
    for token, rank in sorted(table.items(), key=lambda item: item[1]):
        parts = [token[i : i + 1] for i in range(len(token))]
        while len(parts) > 2:
            best = min(range(len(parts) - 1), key=lambda i: table.get(parts[i] + parts[i + 1], rank))
            assert table.get(parts[best] + parts[best + 1], rank) < rank
            parts[best : best + 2] = [parts[best] + parts[best + 1]]
        if len(parts) == 2:
            pairs.append((parts[0], parts[1]))
    return pairs


def tokenizer_json() -> dict:
    """What tokenizer.json says, made from the ranks."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": WORDS}, "behavior": "Isolated", "invert": False}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": token, "content": content, **flags, "special": content in CONTROL}
            for content, token in ADDED.items()
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
            "vocab": {from_bytes(token): rank for token, rank in ranks().items()},
            "merges": [[from_bytes(left), from_bytes(right)] for left, right in merges()],
        },
    }


def make_q3e(folder: Path) -> Path:
    """A file with the real vocabulary and a model too small to say anything."""
    import torch  # noqa: PLC0415 - tests of texts alone run without it (tests/pythons.py)
    from transformers import Qwen3Config, Qwen3ForCausalLM  # noqa: PLC0415

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=151936,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=1024,
        rope_theta=1e6,
        tie_word_embeddings=True,
        eos_token_id=ADDED["<|im_end|>"],
    )
    Qwen3ForCausalLM(config).save_pretrained(folder, safe_serialization=True)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json()))
    template = {"chat_template": json.loads(CONFIG.read_text())["chat_template"]} if CONFIG.exists() else {}
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>", **template}))
    target = folder / "model.q3e"
    convert(folder, target, "int8")
    return target
