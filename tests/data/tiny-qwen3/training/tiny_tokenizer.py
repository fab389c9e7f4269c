"""The tiny Qwen3's tokenizer: Qwen3's own pipeline and special tokens around a small byte-level BPE."""

# ruff: noqa: SIM905 - long lists of words read better as text
from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from jinja2 import Template
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tiny_tasks import Item
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN3_5_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)
BYTE_LEVEL = {"add_prefix_space": False, "trim_offsets": False, "use_regex": False}
# In Qwen3's order. The first group is `special` (skipped when decoding), the second is not.
SPECIAL = (
    "<|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|object_ref_end|> <|box_start|> <|box_end|> "
    "<|quad_start|> <|quad_end|> <|vision_start|> <|vision_end|> <|vision_pad|> <|image_pad|> <|video_pad|>"
).split()
ADDED = (
    "<tool_call> </tool_call> <|fim_prefix|> <|fim_middle|> <|fim_suffix|> <|fim_pad|> <|repo_name|> <|file_sep|> "
    "<tool_response> </tool_response> <think> </think>"
).split()
ADDED_BY_QWEN3_5 = (
    "<|audio_start|> <|audio_end|> <tts_pad> <tts_text_bos> <tts_text_eod> <tts_text_bos_single> <|audio_pad|>"
).split()


def _words(pattern: str) -> pre_tokenizers.PreTokenizer:
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(**BYTE_LEVEL)])


def train_tokenizer(texts: Iterable[str], entries: int) -> Tokenizer:
    """A byte-level BPE of at most `entries` entries, with Qwen3's added tokens after them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = _words(QWEN_SPLIT)
    tokenizer.post_processor = processors.ByteLevel(**BYTE_LEVEL)
    tokenizer.decoder = decoders.ByteLevel(**BYTE_LEVEL)
    trainer = trainers.BpeTrainer(
        vocab_size=entries, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL])
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in ADDED])
    return tokenizer


def as_qwen3_5(tokenizer: Tokenizer) -> Tokenizer:
    """Qwen3.5's tokenizer on the same small vocabulary: its words, and its added tokens behind the others."""
    made = Tokenizer.from_str(tokenizer.to_str())
    made.pre_tokenizer = _words(QWEN3_5_SPLIT)
    made.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in ADDED_BY_QWEN3_5])
    return made


def tokenizer_config(tokenizer: Tokenizer, chat_template: str, max_length: int) -> dict[str, Any]:
    """The contents of tokenizer_config.json, with the keys of Qwen3's own."""
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    added = sorted(tokenizer.get_added_tokens_decoder().items())
    decoder = {str(token): {"content": each.content, **flags, "special": each.special} for token, each in added}
    return {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": decoder,
        "additional_special_tokens": SPECIAL[1:],
        "bos_token": None,
        "chat_template": chat_template,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": max_length,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }


def compile_template(source: str) -> Template:
    """A chat template with the settings that transformers gives it (tojson neither escapes HTML nor sorts)."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.from_string(source)


@dataclass(frozen=True)
class Chat:
    """A rendered item: only the tokens of `answer` are trained on."""

    prompt: str
    answer: str


def render(template: Template, item: Item) -> Chat:
    """Splits the rendered chat where generation starts, or where the thinking was cut from outside."""
    tools = list(item.tools) or None
    thinking = item.reasoning is not None or item.soft_switch
    prompt = template.render(
        messages=list(item.messages), tools=tools, add_generation_prompt=True, enable_thinking=thinking
    )
    last: dict[str, Any] = {"role": "assistant", "content": item.answer, "reasoning_content": item.reasoning or ""}
    if item.tool_calls:
        last["tool_calls"] = list(item.tool_calls)
    text = template.render(messages=[*item.messages, last], tools=tools).removesuffix("\n")
    assert text.startswith(prompt), "the template must render a prompt as the start of its chat"
    start = text.rindex("</think>") if item.budget_ended else len(prompt)
    return Chat(text[:start], text[start:])


def corpus(template: Template, items: Iterable[Item], words: Iterable[str]) -> Iterator[str]:
    """Texts for the BPE: rendered chats, then bare words that the chats may use too seldom."""
    for item in items:
        chat = render(template, item)
        yield chat.prompt + chat.answer
    for word in words:
        yield f"{word} {word}"
