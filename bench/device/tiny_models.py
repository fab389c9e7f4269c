"""Small models of files on the device against what a CPU computed before: `prepare` writes it, `run` compares."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

import qwen3edge
from bench.device.context import Context
from qwen3edge.runtime.torch_backend import TorchCore
from tests.kernels.reference_graph import ReferenceGraph, mean_kl

EXPECTED = "expected.npz"
TO_REFERENCE, TO_CPU = 2e-4, 5e-3  # mean KL divergence in nats; the CPU's engine rounds activations to int8
_ANSWER = 24  # tokens


def prepare(folder: Path, prompts: Sequence[Sequence[int]], answer: int = _ANSWER) -> None:
    """Of every `.q3e` file in the folder: logits of float32 torch and of the CPU's engine, and its greedy answers."""
    found = {}
    for path in sorted(folder.glob("*.q3e")):
        reference = ReferenceGraph(path)
        with qwen3edge.load(path, kv="f32", context=512) as model:
            for number, prompt in enumerate(prompts):
                key = f"{path.stem}.{number}"
                found[f"{key}.prompt"] = np.array(prompt, np.int32)
                found[f"{key}.reference"] = reference.logits(list(prompt)).numpy()
                found[f"{key}.cpu"] = model.logits(list(prompt))
                found[f"{key}.answer"] = np.array(greedy(model.engine.core, prompt, answer, 0), np.int32)
    np.savez_compressed(folder / EXPECTED, **found)


def greedy(core: object, prompt: Sequence[int], count: int, sequence: int) -> list[int]:
    """The likeliest tokens one after the other, in a sequence that is empty before and after."""
    logits = core.forward(prompt, range(len(prompt)), [sequence] * len(prompt), [False] * (len(prompt) - 1) + [True])
    tokens = [int(logits[-1].argmax())]
    while len(tokens) < count:
        logits = core.forward([tokens[-1]], [len(prompt) + len(tokens) - 1], [sequence], [True])
        tokens.append(int(logits[0].argmax()))
    core.truncate(sequence, 0)
    return tokens


def run(context: Context) -> None:
    """Every file of the data; then what only several models or threads show."""
    expected = np.load(context.data / EXPECTED)
    device = "interpreter" if context.interpreted else "cuda"
    paths = sorted(context.data.glob("*.q3e"))
    if not paths:
        raise FileNotFoundError(f"{context.data}: expected .q3e files, as `device_check.py --prepare` writes them")
    for path in paths:
        with qwen3edge.load(path, device=device, context=512, sequences=3) as model:
            _check(context, path.stem, model.engine.core, expected)
            if not context.interpreted:
                _memory(context, path.stem, model)
    if not context.interpreted:
        _two_threads(context, paths[0], expected)


def _check(context: Context, name: str, core: TorchCore, expected: dict[str, np.ndarray]) -> None:
    numbers = sorted({int(key.split(".")[-2]) for key in expected if key.startswith(f"{name}.")})
    for number in numbers:
        prompt = expected[f"{name}.{number}.prompt"].tolist()
        found = core.forward(prompt, range(len(prompt)), [0] * len(prompt), [True] * len(prompt))
        core.truncate(0, 0)
        for other, most in (("reference", TO_REFERENCE), ("cpu", TO_CPU)):
            kl = mean_kl(expected[f"{name}.{number}.{other}"], found)
            context.result(f"{name}, prompt {number}, to the {other}", bool(kl <= most), kl, "nats")
        answer = expected[f"{name}.{number}.answer"].tolist()
        tokens = greedy(core, prompt, len(answer), 1)
        same = next((i for i, pair in enumerate(zip(tokens, answer, strict=True)) if pair[0] != pair[1]), len(answer))
        context.result(
            f"{name}, prompt {number}, answer", same == len(answer), same, f"of {len(answer)} tokens the same"
        )
    # Decoded together, which is another bucket, and again: the same bits from the same bucket.
    prompts = [expected[f"{name}.{number}.prompt"].tolist() for number in numbers[:3]]
    for sequence, prompt in enumerate(prompts):
        core.forward(prompt, range(len(prompt)), [sequence] * len(prompt), [False] * len(prompt))
    step = ([1] * len(prompts), [len(prompt) for prompt in prompts], list(range(len(prompts))), [True] * len(prompts))
    first, second = core.forward(*step), core.forward(*step)
    context.result(f"{name}, {len(prompts)} sequences in a bucket, twice", bool(np.array_equal(first, second)))
    for sequence in range(len(prompts)):
        core.truncate(sequence, 0)


def _memory(context: Context, name: str, model: qwen3edge.Model) -> None:
    peak, reserved = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
    planned = model.plan.peak - model.plan.program
    context.result(f"{name}, allocated of what is planned", peak <= planned, peak / planned, "", planned=planned,
                   reserved=reserved)  # fmt: skip


def _two_threads(context: Context, path: Path, expected: dict[str, np.ndarray]) -> None:
    """One model captures while another computes."""
    prompt = expected[f"{path.stem}.0.prompt"].tolist()
    answer = expected[f"{path.stem}.0.answer"].tolist()
    wrong: list[str] = []

    def work() -> None:
        try:
            with qwen3edge.load(path, device="cuda", context=512) as model:
                if greedy(model.engine.core, prompt, len(answer), 0) != answer:
                    wrong.append("another answer")
        except Exception as error:  # of a thread nobody would see it
            wrong.append(repr(error))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    context.result(f"{path.stem}, two models in two threads", not wrong, found=wrong)
