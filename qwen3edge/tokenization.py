"""What converter and runtime agree on about tokenizers."""

from __future__ import annotations

WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen2, Qwen2.5 and Qwen3 split a text before BPE (Oniguruma syntax); every character is in one of the words.
Another pattern is another tokenizer."""

SPLIT_NFC, SPLIT_AS_IT_IS = "qwen2", "deepseek-r1-qwen"
"""GGUF's names (`tokenizer.ggml.pre`) of that splitter: after NFC as in Qwen's own models; without it as in R1."""

NAMED_TOKENS = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "sep_token": "seperator_token_id",  # GGUF's own spelling
    "pad_token": "padding_token_id",
    "cls_token": "cls_token_id",
    "mask_token": "mask_token_id",
}
"""Special tokens as transformers and chat templates name them, and their ids in GGUF (`tokenizer.ggml.*`)."""
