"""config.json and the tokenizer's files of a Hugging Face folder, from the metadata of a `.q3e` file."""

from __future__ import annotations

import json
from typing import Any

from qwen3edge.config import Metadata, ModelConfig, keys_of
from qwen3edge.convert.sampling import starting_mode
from qwen3edge.convert.vocabulary import BYTE_LEVEL, CONTROL, NORMAL, USER_DEFINED, pre_tokenizer
from qwen3edge.tokenization import NAMED_TOKENS, SPLITTERS

_FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}


def hf_config(config: ModelConfig, dtype: str) -> dict[str, Any]:
    """config.json, without a quantization_config."""
    architecture = config.architecture
    scaling = {"rope_scaling": config.rope_scaling.to_hf()} if config.rope_scaling else {}
    return {
        "architectures": [architecture.hf_class],
        "model_type": config.model_type,
        "dtype": dtype,
        "intermediate_size": config.token_ffn_size,
        **{key.hf: getattr(config, name) for name, (_, key) in keys_of(architecture).items() if key.hf},
        **scaling,
        "hidden_act": "silu",
        "use_sliding_window": False,
        "eos_token_id": list(config.stop_token_ids) or None,
        "bos_token_id": None,
        **architecture.written,
        **architecture.hf_keys(config),
    }


def hf_texts(file: Metadata, config: ModelConfig) -> dict[str, str]:
    """By name: tokenizer.json, tokenizer_config.json, generation_config.json; no tokenizer where there is none."""
    texts = {"generation_config.json": _json(_generation(file, config))}
    if "tokenizer.ggml.tokens" not in file:
        return texts
    tokens: Any = file.get("tokenizer.ggml.tokens")
    types: Any = file.get("tokenizer.ggml.token_type")
    merges: Any = file.get("tokenizer.ggml.merges") if "tokenizer.ggml.merges" in file else []
    added = [
        {"id": token, "content": text, **_FLAGS, "special": kind == CONTROL}
        for token, (text, kind) in enumerate(zip(tokens, types, strict=True))
        if kind in (CONTROL, USER_DEFINED)
    ]
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": "",
        "end_of_word_suffix": "",
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": {text: i for i, (text, kind) in enumerate(zip(tokens, types, strict=True)) if kind == NORMAL},
        "merges": [merge.split(" ") for merge in merges],
    }
    pre: Any = file.get("tokenizer.ggml.pre")
    splitter = SPLITTERS[pre]
    begins = "tokenizer.ggml.add_bos_token" in file
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "NFC"} if splitter.normalizes else None,
        "pre_tokenizer": pre_tokenizer(splitter.words),
        "post_processor": _beginning(file, tokens) if begins else BYTE_LEVEL,
        "decoder": BYTE_LEVEL,
        "model": model,
    }
    settings: dict[str, Any] = {
        # Qwen2's own class has its words, NFC and no token before a text, whatever tokenizer.json says.
        "tokenizer_class": "Qwen2Tokenizer" if pre == "qwen2" and not begins else "PreTrainedTokenizerFast",
        "add_bos_token": begins,
        "add_prefix_space": False,
        "bos_token": None,
        "unk_token": None,
        "clean_up_tokenization_spaces": False,
        "errors": "replace",
        "split_special_tokens": False,
        "model_max_length": config.context_length,
        "added_tokens_decoder": {
            str(entry["id"]): {key: value for key, value in entry.items() if key != "id"} for entry in added
        },
    }
    for name, key in NAMED_TOKENS.items():
        if f"tokenizer.ggml.{key}" in file:
            token: Any = file.get(f"tokenizer.ggml.{key}")
            settings[name] = tokens[token]
    if "tokenizer.chat_template" in file:
        settings["chat_template"] = file.get("tokenizer.chat_template")
    return {**texts, "tokenizer.json": _json(tokenizer), "tokenizer_config.json": _json(settings)}


def _beginning(file: Metadata, tokens: list[str]) -> dict[str, Any]:
    """What puts the bos token before a text, and before each of two."""
    token: Any = file.get("tokenizer.ggml.bos_token_id")
    text = tokens[token]
    special = {"SpecialToken": {"id": text, "type_id": 0}}
    texts = [{"Sequence": {"id": name, "type_id": 0}} for name in ("A", "B")]
    return {
        "type": "TemplateProcessing",
        "single": [special, texts[0]],
        "pair": [special, texts[0], special, texts[1]],
        "special_tokens": {text: {"id": text, "ids": [token], "tokens": [text]}},
    }


def _generation(file: Metadata, config: ModelConfig) -> dict[str, Any]:
    """The sampling of the mode that the model starts in, as it is read from there."""
    template = file.get("tokenizer.chat_template") if "tokenizer.chat_template" in file else None
    mode = starting_mode(template if isinstance(template, str) else None, config.model_type)
    keys: dict[str, Any] = {"do_sample": True, "eos_token_id": list(config.stop_token_ids) or None}
    for name in ("temperature", "top_k", "top_p", "min_p", "repetition_penalty"):
        key = f"qwen3edge.sampling.{mode}.{name}"
        if key in file:
            value: Any = file.get(key)
            keys[name] = round(value, 6) if isinstance(value, float) else value
    keys["do_sample"] = keys.get("temperature") != 0
    return keys


def _json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
