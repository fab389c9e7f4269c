"""Whole models of random weights: tokens a second, on the device alone and through the engine; prompts."""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from bench.device.context import Context
from bench.device.random_weights import RandomWeights
from bench.gpu.recorded import prompt_step
from qwen3edge.kernels.specialization import MODEL_SHAPES, ModelShape
from qwen3edge.runtime.aot_shapes import RECIPES, config_of
from qwen3edge.runtime.torch_backend import Device
from qwen3edge.runtime.torch_backend.batch import Batch
from qwen3edge.runtime.torch_backend.decode import DecodeSteps
from qwen3edge.runtime.torch_backend.graph import Graph
from qwen3edge.runtime.torch_backend.pages import Pages, pages_for

_SECONDS = 12  # a model and recipe take at most
TINY = ModelShape("tiny", hidden=64, layers=1, heads=2, kv_heads=1, feed_forward=64, head_dim=32, vocabulary=64)


def run(context: Context) -> None:
    """int4 of all models first, then int8; what does not fit into the time or the memory is left out, and said."""
    shapes = [TINY] if context.interpreted else [MODEL_SHAPES[name] for name in context.models]
    for recipe in RECIPES:
        for shape in shapes:
            if context.left() < _SECONDS and not context.interpreted:
                context.result(f"{shape.name} {recipe}", note="left out: no time")
                continue
            try:
                _measure(context, shape, recipe)
            except torch.OutOfMemoryError:
                context.result(f"{shape.name} {recipe}", note="left out: does not fit")
            if context.place.type == "cuda":
                torch.cuda.empty_cache()


def _measure(context: Context, shape: ModelShape, recipe: str) -> None:
    small = context.interpreted
    config = config_of(shape)
    device = Device(context.place, context.dtype, captures=not small)
    sequences, length = (2, 70) if small else (32, 512)
    kinds = ("attention", "experts" if config.experts else "dense")
    blocks = [(kind, layer) for layer in range(config.layers) for kind in kinds]
    weights = RandomWeights(config, recipe, device)
    pages = Pages(sequences, 1024, device.place)
    size = sequences * pages_for(1024)
    with torch.inference_mode():
        graph = Graph(config, blocks, weights, size, "int8", sequences, 1024)
        for state in graph.states:
            for part in state or ():
                part.zero_()
        steps = DecodeSteps(graph, pages, device)
        for count in (1,) if small else (1, 8, 32):
            batch = Batch([1] * count, [length] * count, list(range(count)), [True] * count)
            steps.run(batch)
            (step,) = [step for key, step in steps._steps.items() if key[0] == count]
            if not small:
                alone, spread = context.replayed(step._captured.replay)
                name = f"decode {shape.name} {recipe}, {count} sequence{'s' * (count > 1)}, the device alone"
                finite = bool(step._logits.isfinite().all())
                context.result(name, finite, alone / 1000, "ms", spread=spread / 1000)
            begin, rounds = time.perf_counter(), 1 if small else 30
            for _ in range(rounds):
                logits = steps.run(batch).cpu()
            taken = (time.perf_counter() - begin) / rounds
            name = f"decode {shape.name} {recipe}, {count} sequence{'s' * (count > 1)}, with logits on the host"
            context.result(name, bool(logits.isfinite().all()), count / taken, "tok/s")
        for tokens in (5,) if small else (512,):
            step, tables = prompt_step(tokens)
            moved = {
                name: value.to(device.place) for name, value in vars(step).items() if isinstance(value, torch.Tensor)
            }
            step, tables = replace(step, **moved), tables.to(device.place)
            logits = graph.logits(graph.forward(step, tables))
            _wait(context)
            begin, rounds = time.perf_counter(), 1 if small else 5
            for _ in range(rounds):
                logits = graph.logits(graph.forward(step, tables))
            launched = (time.perf_counter() - begin) / rounds
            _wait(context)
            taken = (time.perf_counter() - begin) / rounds
            name = f"prompt {shape.name} {recipe}, {tokens} tokens"
            context.result(name, bool(logits.isfinite().all()), 1000 * taken, "ms", host=1000 * launched)


def _wait(context: Context) -> None:
    if context.place.type == "cuda":
        torch.cuda.synchronize()
