"""The shipped mixture of experts on a part of the held-out items, answered greedily through the API that users call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import qwen3edge
from qwen3edge import _core
from qwen3edge.convert import convert
from qwen3edge.evaluate.divergence import kl_divergence
from tests.checkpoints import run
from tests.reference.chats import AT_ONCE, Texts, answer_greedily, read_records

EVERY = 5  # of the 440 items
LEAST = 0.95
# Nats a token, prompts included, from bf16 weights in float32. What rounds moves tokens between experts now and then.
MOST_DIVERGENCE = {"bf16": 1e-9, "int8": 3e-2, "int4": 2e-1}


@pytest.fixture(scope="module")
def converted(tiny_moe_path: Path) -> Callable[[str], Path]:
    def to(quant: str) -> Path:
        target = tiny_moe_path / f"{quant}.q3e"
        if not target.exists():
            convert(tiny_moe_path, target, quant)
        return target

    return to


@pytest.mark.parametrize("quant", ["int8", "int4"])
def test_answers(quant: str, converted: Callable[[str], Path], tiny_moe_path: Path) -> None:
    records = read_records(tiny_moe_path / "heldout.jsonl")[::EVERY]
    with qwen3edge.load(converted(quant), context=1024, threads=1, sequences=AT_ONCE) as model:
        answers = answer_greedily(model, records)
    print(f"{quant}: {sum(answers.right)} of {len(records)} right")
    assert answers.accuracy >= LEAST


def test_divergence_from_transformers(converted: Callable[[str], Path], tiny_moe_path: Path) -> None:
    reference = AutoModelForCausalLM.from_pretrained(tiny_moe_path, dtype=torch.float32).eval()
    texts = Texts(_core.ModelFile(str(converted("bf16"))))
    records = [r for r in read_records(tiny_moe_path / "heldout.jsonl") if not r["enable_thinking"]]
    tokens = np.array([token for record in records[::21] for token in texts.expected(record).tokens][:300])
    with torch.no_grad():
        expected = reference(torch.from_numpy(tokens)[None]).logits[0].numpy()
    for quant, most in MOST_DIVERGENCE.items():
        logits = run(_core.Engine(_core.ModelFile(str(converted(quant))), context=320, threads=1, kv="f32"), tokens)
        kl = float(kl_divergence(expected, logits).mean())
        print(f"{quant}: {kl:.2e}")
        assert kl <= most
