"""The shipped Qwen3.5 in miniature on its held-out items, answered greedily through the API that users call."""

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
from tests.reference.chats import AT_ONCE, Answers, Record, Texts, answer_greedily, read_records

LEAST_BF16 = 0.79  # README.md of the model: 0.807
INT8_WITHIN, INT4_WITHIN = 0.02, 0.02  # below bf16's accuracy
# Nats a token, prompts included, from bf16 weights in float32.
MOST_DIVERGENCE = {"bf16": 1e-9, "int8": 3e-3, "int4": 6e-2}


@pytest.fixture(scope="module")
def converted(tiny_hybrid_path: Path) -> Callable[[str], Path]:
    def to(quant: str) -> Path:
        target = tiny_hybrid_path / f"{quant}.q3e"
        if not target.exists():
            convert(tiny_hybrid_path, target, quant)
        return target

    return to


@pytest.fixture(scope="module")
def records(tiny_hybrid_path: Path) -> list[Record]:
    return read_records(tiny_hybrid_path / "heldout.jsonl")


@pytest.fixture(scope="module")
def answers(records: list[Record], converted: Callable[[str], Path]) -> dict[str, Answers]:
    """By recipe; one thread, as more give the same answers."""
    found = {}
    for quant, kv in (("bf16", "bf16"), ("int8", "int8"), ("int4", "int8")):
        with qwen3edge.load(converted(quant), context=1024, threads=1, kv=kv, sequences=AT_ONCE) as model:
            found[quant] = answer_greedily(model, records)
        print(f"{quant}: {sum(found[quant].right)} of {len(records)} right")
    return found


def test_bf16(answers: dict[str, Answers]) -> None:
    assert answers["bf16"].accuracy >= LEAST_BF16


def test_int8_is_near_bf16(answers: dict[str, Answers]) -> None:
    assert answers["int8"].accuracy >= answers["bf16"].accuracy - INT8_WITHIN


def test_int4_is_near_bf16(answers: dict[str, Answers]) -> None:
    assert answers["int4"].accuracy >= answers["bf16"].accuracy - INT4_WITHIN


def test_every_kind_of_answer_is_judged(answers: dict[str, Answers], records: list[Record]) -> None:
    """Calls are in XML."""
    judges = {record["judge"] for record, right in zip(records, answers["bf16"].right, strict=True) if right}
    assert judges == {"exact", "json", "tool_call"}


def test_divergence_from_transformers(converted: Callable[[str], Path], tiny_hybrid_path: Path) -> None:
    """transformers in one pass without a cache."""
    reference = AutoModelForCausalLM.from_pretrained(tiny_hybrid_path, dtype=torch.float32).eval()
    texts = Texts(_core.ModelFile(str(converted("bf16"))))
    records = [r for r in read_records(tiny_hybrid_path / "heldout.jsonl") if not r["enable_thinking"]]
    tokens = np.array([token for record in records[::21] for token in texts.expected(record).tokens][:300])
    with torch.no_grad():
        expected = reference(torch.from_numpy(tokens)[None], use_cache=False).logits[0].numpy()
    for quant, most in MOST_DIVERGENCE.items():
        logits = run(_core.Engine(_core.ModelFile(str(converted(quant))), context=320, threads=1, kv="f32"), tokens)
        kl = float(kl_divergence(expected, logits).mean())
        print(f"{quant}: {kl:.2e}")
        assert kl <= most


def test_calls_are_read_as_calls(records: list[Record], converted: Callable[[str], Path]) -> None:
    """What the model writes in XML reaches programs with the types of the tools."""
    chosen = [record for record in records if record["task"] == "tool_call" and not record["enable_thinking"]][::2]
    right = 0
    with qwen3edge.load(converted("int8"), context=1024, threads=1) as model:
        for record in chosen:
            answer = model.generate(
                record["messages"], tools=record["tools"], thinking=False, temperature=0, max_tokens=160
            )
            answer.read()
            found = [{"name": call.name, "arguments": call.parsed} for call in answer.tool_calls]
            right += found == [record["expected"]]
    assert right > 0.6 * len(chosen)


def test_it_answers_at_once_unless_asked_to_think(converted: Callable[[str], Path]) -> None:
    with qwen3edge.load(converted("int8"), context=512, threads=1) as model:
        for thinking, thinks in ((None, False), (False, False), (True, True)):
            answer = model.generate("What is 47 + 8?", thinking=thinking, temperature=0)
            answer.read()
            assert bool(answer.reasoning) == thinks
