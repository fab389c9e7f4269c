"""The shipped Qwen3.5 in miniature as a checkpoint, in transformers; and how it is trained."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from qwen3edge.convert.tokenizer import TextFiles
from qwen3edge.text.prompt import PromptBuilder
from qwen3edge.text.template import ChatTemplate
from qwen3edge.text.tokenizer import Tokenizer
from tests.reference.chats import read_records

TINY = Path(__file__).resolve().parents[1] / "data" / "tiny-qwen3"
sys.path.insert(0, str(TINY / "training"))

from tiny_hybrid import TinyHybrid, rows_of_a_chat  # noqa: E402
from tiny_model import TinyConfig, TinyQwen3  # noqa: E402

TEMPLATE = Path(__file__).resolve().parents[1] / "data" / "templates" / "qwen3_5_nothink.jinja"
ROWS = 2560
ANSWERED = ("translate", "count", "memory", "add")


@pytest.fixture(scope="module")
def builder(tiny_hybrid_path: Path) -> PromptBuilder:
    files = TextFiles(tiny_hybrid_path)
    assert files.template.text == TEMPLATE.read_text(encoding="utf-8") and not files.notes
    keys = files.metadata(ROWS, "qwen3", 256)
    assert keys["tokenizer.ggml.pre"] == "qwen35"
    lists = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in keys.items()}
    return PromptBuilder(Tokenizer.from_metadata(lists), ChatTemplate(files.template.text))


def test_it_has_the_shape_of_qwen3_5(tiny_hybrid_path: Path) -> None:
    config = json.loads((tiny_hybrid_path / "config.json").read_text())
    text = config["text_config"]
    assert config["model_type"] == "qwen3_5" and text["layer_types"] == 3 * ["linear_attention"] + ["full_attention"]
    assert text["linear_num_value_heads"] == 2 * text["linear_num_key_heads"]
    names = load_file(tiny_hybrid_path / "model.safetensors").keys()
    assert all(name.startswith("model.language_model.") for name in names)


def test_same_prompts_as_transformers(builder: PromptBuilder, tiny_hybrid_path: Path) -> None:
    theirs = AutoTokenizer.from_pretrained(tiny_hybrid_path)
    for record in read_records(tiny_hybrid_path / "heldout.jsonl")[::7]:
        messages, thinking, tools = record["messages"], record["enable_thinking"], record.get("tools")
        expected = theirs.apply_chat_template(
            messages, tools=tools, enable_thinking=thinking, add_generation_prompt=True, return_dict=False
        )
        assert list(builder.prompt(messages, thinking=thinking, tools=tools).tokens) == expected


def test_it_answers(builder: PromptBuilder, tiny_hybrid_path: Path) -> None:
    """Its most likely tokens are those of the expected answers, in one pass without a cache."""
    model, report = AutoModelForCausalLM.from_pretrained(
        tiny_hybrid_path, dtype=torch.float32, output_loading_info=True
    )
    assert not report["missing_keys"] and not report["unexpected_keys"]
    records = read_records(tiny_hybrid_path / "heldout.jsonl")
    chosen = [r for r in records if r["task"] in ANSWERED and not r["enable_thinking"]][::10]
    right = 0
    for record in chosen:
        prompt = builder.prompt(record["messages"], thinking=False).tokens
        answer = builder.tokenizer.encode(record["expected"] + "<|im_end|>", allow_special=True)
        with torch.inference_mode():
            logits = model(torch.tensor([[*prompt, *answer]]), use_cache=False).logits[0]
        right += logits[len(prompt) - 1 : -1].argmax(dim=1).tolist() == answer
    assert right > 0.8 * len(chosen)


def test_padding_changes_nothing() -> None:
    """A row is one chat with padding behind it."""
    torch.manual_seed(0)
    model = TinyHybrid(ROWS)
    lengths = (5, 70, 131)
    tokens = [torch.randint(ROWS, (length,)).tolist() for length in lengths]
    chats = [(chat, [-100] * (len(chat) - 4) + chat[-3:] + [-100]) for chat in tokens]
    together = next(rows_of_a_chat(iter(chats * 171), 400))
    assert together[0].numel() <= 400
    sizes = together[1].sum(dim=1).tolist()
    alone = [tuple(part[row : row + 1, :size] for part in together) for row, size in enumerate(sizes)]
    with torch.inference_mode():
        whole, parts = model.loss(*together), torch.stack([model.loss(*batch) for batch in alone]).mean()
    torch.testing.assert_close(whole, parts, rtol=1e-5, atol=1e-5)


def test_it_begins_with_a_trained_qwen3() -> None:
    """Its attention writes nearly what the Qwen3's does, its gated delta nets nothing of it yet."""
    torch.manual_seed(0)
    large = TinyQwen3(TinyConfig(ROWS), torch.float32)
    large.restore(load_file(TINY / "model.safetensors"))
    model = TinyHybrid(ROWS)
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    chat = tokenizer.encode("<|im_start|>user\nWhat is 12 + 7?<|im_end|>\n<|im_start|>assistant\n12 + 7 = 19<|im_end|>")
    tokens = torch.tensor([chat])
    batch = tokens, torch.ones_like(tokens), torch.arange(len(chat))[None], torch.full_like(tokens, -100)
    with torch.inference_mode():
        before = float(model.mixers_loss(large, *batch))
        model.adopt(large)
        after = float(model.mixers_loss(large, *batch))
    assert before == pytest.approx(4, abs=0.1) and after == pytest.approx(3.2, abs=0.3)
    model.train_mixers_alone(True)
    trained = {name.split(".")[4] for name, weight in model.named_parameters() if weight.requires_grad}
    assert trained == {"linear_attn", "self_attn"}
