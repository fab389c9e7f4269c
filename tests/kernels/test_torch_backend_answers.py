"""The tiny models answer their held-out items in the interpreter as the CPU engine does, token by token."""

import json

import numpy as np
import pytest

import qwen3edge
from qwen3edge.convert import convert
from qwen3edge.errors import RequestError
from tests.conftest import TINY
from tests.kernels.large_tiles import large_tiles
from tests.kernels.reference_graph import ReferenceGraph, mean_kl

ITEMS = [json.loads(line) for line in (TINY / "heldout.jsonl").read_text().splitlines()]
SHORT = [item for item in ITEMS if not item["enable_thinking"] and "tools" not in item]
CONTEXT = 384  # the longest item has 369 tokens with its answer
PARTS = 8


@pytest.fixture(scope="module")
def paths(tiny_q3e, tiny_moe_path, tmp_path_factory):
    """paths("int4"), paths("moe")"""
    folder = tmp_path_factory.mktemp("answers")

    def path(name: str):
        if name != "moe":
            return tiny_q3e(name)
        target = folder / "moe.q3e"
        if not target.exists():
            convert(tiny_moe_path, target, "int4")
        return target

    return path


def answers_of_the_cpu(path, items) -> list[tuple[list[int], list[int]]]:
    """Tokens of each prompt and of its greedy answer, the stop token included."""
    with qwen3edge.load(path, context=CONTEXT) as model:
        found = []
        for item in items:
            asked = {"thinking": item["enable_thinking"], "tools": item.get("tools")}
            prompt = model.prompt_builder.prompt(item["messages"], **asked, limit=CONTEXT).tokens
            answer = model.generate(item["messages"], **asked, tool_calls=False, temperature=0.0)
            answer.read()
            assert answer.finish_reason == "stop"
            found.append((list(prompt), answer.tokens))
        return found


def different_answers(path, items) -> list[str]:
    """Of one ragged batch: after every prefix of the CPU's answer the GPU's kernels must choose the same next token.

    So they give the same answer, as choosing greedily from there would go on with the same prefix.
    """
    expected = answers_of_the_cpu(path, items)
    batch = []
    for sequence, (prompt, answer) in enumerate(expected):
        tokens = prompt + answer[:-1]
        batch += [(t, i, sequence, i >= len(prompt) - 1) for i, t in enumerate(tokens)]
    with (
        large_tiles(),
        qwen3edge.load(path, context=CONTEXT, sequences=len(items), chunk=4096, device="interpreter") as model,
    ):
        chosen = model.engine.core.forward(*zip(*batch, strict=True)).argmax(1)
        ends = np.cumsum([len(answer) for _, answer in expected])
        found = [part.tolist() for part in np.split(chosen, ends[:-1])]
        texts = [
            f"{item['messages'][-1]['content']!r}: expected {model.tokenizer.decode(answer)!r}"
            for item, (_, answer), ours in zip(items, expected, found, strict=True)
            if answer != ours
        ]
    print(f"{len(items) - len(texts)} of {len(items)} the same, {len(batch)} tokens")
    return texts


@pytest.mark.parametrize(
    ("name", "count"), [("int4", 6), ("int8", 4), ("moe", 3), pytest.param("int4", 24, marks=pytest.mark.slow)]
)
def test_short_answers(paths, name, count):
    assert not different_answers(paths(name), SHORT[:: len(SHORT) // count][:count])


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_all_answers(paths, part):
    """With thoughts and calls of tools."""
    assert not different_answers(paths("int4"), ITEMS[part::PARTS])


def test_activations_in_int8(paths):
    """They are rounded, as the CPU's; not to the same bits, as each deviation tips some of the next roundings."""
    path = paths("int4")
    tokens = answers_of_the_cpu(path, SHORT[:1])[0][0]
    reference = ReferenceGraph(path).logits(tokens)
    with qwen3edge.load(path, context=CONTEXT, kv="f32") as cpu:
        expected = cpu.logits(tokens)
    with (
        large_tiles(),
        qwen3edge.load(path, context=CONTEXT, kv="f16", device="interpreter", activation_bits=8) as model,
    ):
        found = model.logits(tokens)
    to_cpu, to_torch, rounding = mean_kl(expected, found), mean_kl(reference, found), mean_kl(reference, expected)
    print(f"KL to the CPU engine {to_cpu:.2g}, to torch {to_torch:.2g} (the CPU's {rounding:.2g})")
    assert to_cpu <= 5e-3
    assert 0.2 * rounding <= to_torch <= 5 * rounding


def test_activation_bits_that_are_not_there(paths):
    for device, bits, message in (
        ("cpu", 16, "expected activation_bits of 8 on"),
        ("interpreter", 4, "expected activation_bits of 8 or 16 on"),
        ("interpreter", "8", "expected activation_bits of 8 or 16 on"),
    ):
        with pytest.raises(RequestError, match=message):
            qwen3edge.load(paths("int4"), device=device, activation_bits=bits)


@pytest.mark.slow
def test_answers_decoded_together(paths):
    """The engine's own steps: prompts in one batch, then a token of each in buckets, fewer as answers end."""
    path = paths("int4")
    expected = answers_of_the_cpu(path, SHORT[5::60])
    with (
        large_tiles(),
        qwen3edge.load(path, context=CONTEXT, sequences=len(expected), chunk=4096, device="interpreter") as model,
    ):
        core, stops = model.engine.core, model.config.stop_token_ids
        batch = [
            (t, i, sequence, i == len(prompt) - 1)
            for sequence, (prompt, _) in enumerate(expected)
            for i, t in enumerate(prompt)
        ]
        answers = [[int(token)] for token in core.forward(*zip(*batch, strict=True)).argmax(1)]
        while running := [sequence for sequence, answer in enumerate(answers) if answer[-1] not in stops]:
            assert max(map(len, answers)) < 64
            step = [(answers[sequence][-1], core.length(sequence), sequence, True) for sequence in running]
            for sequence, token in zip(running, core.forward(*zip(*step, strict=True)).argmax(1), strict=True):
                answers[sequence].append(int(token))
    assert answers == [answer for _, answer in expected]
