"""What a model takes of a device's memory, before any weight is read.

The sums follow the layouts of kernels/packing.py and kernels/kv_cache.py; what CUDA itself takes is an allowance that
nobody has measured.
"""

from __future__ import annotations

import torch

from qwen3edge import _core
from qwen3edge.config import ModelConfig
from qwen3edge.errors import MemoryBudgetError, RequestError
from qwen3edge.kernels.kv_cache import PAGE
from qwen3edge.kernels.matmul_parts import matrix_nbytes, part_types
from qwen3edge.kernels.matmul_plan import FEW_TOKENS, MAX_SPLITS
from qwen3edge.kernels.packing import repacking_bytes
from qwen3edge.kernels.panels import packed_format
from qwen3edge.runtime.torch_backend.block import Block, block_class
from qwen3edge.runtime.torch_backend.device import Device
from qwen3edge.runtime.torch_backend.pages import pages_for
from qwen3edge.settings import CoreSettings

FREQUENCIES = "rope.inverse_frequencies"
HEAD_ROWS = 32  # rows of logits at a time: their buffer is what a large vocabulary costs
_CHUNKS = (512, 256, 128, 64, 32, 16)
_CUDA_ALLOWANCE = 96 << 20  # workspaces of matrix libraries, compiled kernels, pools of captured graphs
_MEBI = 1 << 20


def plan_device(file: _core.ModelFile, config: ModelConfig, settings: CoreSettings, device: Device) -> _core.PlanResult:
    """The plan, with the largest chunk that fits. Raises MemoryBudgetError with the breakdown, RequestError."""
    if settings["min_expert_share"]:
        raise RequestError(f"min_expert_share: expected 0 on this device, found {settings['min_expert_share']}")
    if settings["draft_tokens"]:
        raise RequestError(f"draft_tokens: expected 0 on this device, found {settings['draft_tokens']}")
    if settings["kv"] not in device.kv_types:
        raise RequestError(f"kv: expected {' or '.join(device.kv_types)} on this device, found {settings['kv']!r}")
    budget = settings["memory"] or device.free_bytes()
    weights, loading = weight_bytes(file, device), loading_bytes(file)
    blocks = [block_class(kind) for kind, _ in file.blocks()]
    chunks = (settings["chunk"],) if settings["chunk"] else _CHUNKS
    plans = [_plan(config, blocks, settings, device, weights, loading, budget, chunk) for chunk in chunks]
    for plan in plans:
        if plan["peak"] <= budget:
            return plan
    raise MemoryBudgetError(_refusal(device, plans[-1]))


def weight_bytes(file: _core.ModelFile, device: Device) -> int:
    """All tensors of a file as they will lie on the device."""
    floats = tuple({name for kind, _ in file.blocks() for name in block_class(kind).floats})
    total = 0
    for tensor in file.tensors():
        rows, columns = tensor["rows"], tensor["columns"]
        if tensor["name"] == FREQUENCIES:  # becomes a table of angles
            continue
        if tensor["format"] == "vector" or tensor["name"].endswith(floats):
            total += 4 * rows * columns
            continue
        fmt = packed_format(tensor["format"])
        dense = fmt.kind == "dense"
        total += rows * columns * device.dtype.itemsize if dense else matrix_nbytes(fmt, rows, columns)
    return total


def loading_bytes(file: _core.ModelFile) -> int:
    """The most that loading takes for one tensor besides what stays."""
    most = 0
    for tensor in file.tensors():
        rows, columns = tensor["rows"], tensor["columns"]
        if tensor["format"] == "vector":
            continue
        # Experts' scales and steps are turned round at the end, for which they lie there twice.
        fmt = packed_format(tensor["format"])
        parts = {} if fmt.kind == "dense" else part_types(fmt, rows, columns)
        turned = sum(part.nbytes for name, part in parts.items() if part is not None and name not in ("words", "high"))
        most = max(most, repacking_bytes(rows, columns) + ("_exps." in tensor["name"]) * turned)
    return most


def _plan(
    config: ModelConfig,
    blocks: list[type[Block]],
    settings: CoreSettings,
    device: Device,
    weights: int,
    loading: int,
    budget: int,
    chunk: int,
) -> _core.PlanResult:
    sequences, context = settings["sequences"], settings["context"]
    chunk = min(chunk, context * sequences)
    one_page = (block.new_state(config, 1, settings["kv"], torch.device("meta")) for block in blocks)
    per_page = sum(state.nbytes for state in one_page if state is not None)
    pages = sequences * pages_for(context)
    kv_cache = pages * per_page
    # What lives at once while a chunk is computed: the stream, one block's buffers, then logits.
    itemsize = device.dtype.itemsize
    stream = config.hidden_size * (4 + itemsize + 4)  # residual, normed, delta
    largest = max(block.scratch_bytes(config, itemsize) for block in blocks)
    splits = sequences * max(block.split_bytes(config, context) for block in blocks)
    # For good: cosines and sines of every position. In few rows K is split, and the parts of the sums lie there.
    table = 4 * context * config.head_size
    parts = 4 * MAX_SPLITS * FEW_TOKENS * max(config.query_size + 2 * config.kv_size, config.hidden_size)
    # Before that, while weights are loaded, what repacks them lies there.
    step = max(chunk * (stream + largest), parts) + splits + HEAD_ROWS * config.vocab_size * 4
    scratch = table + max(step, loading)
    program = _CUDA_ALLOWANCE if device.place.type == "cuda" else 0
    return {
        "weights": weights,
        "buffers": 0,  # nothing is streamed
        "kv_cache": kv_cache,
        "scratch": scratch,
        "program": program,
        "peak": weights + kv_cache + scratch + program,
        "budget": budget,
        "context": context,
        "sequences": sequences,
        "chunk": chunk,
        "draft_tokens": 0,
        "threads": 1,  # that launches
        "kv": settings["kv"],
        "kv_bytes_per_token": per_page // PAGE,
        "pages": pages,
        "layers": config.layers,
        "streamed_layers": 0,
        "streams_head": False,
        "streamed": 0,
        "experts": config.layers * config.experts,
        "expert_slots": 0,
        "expert_bytes": 0,
        "min_expert_share": 0.0,
    }


def _refusal(device: Device, plan: _core.PlanResult) -> str:
    """As the CPU's planner says it."""
    need, budget = plan["peak"], plan["budget"]
    sizes = {
        "weights": plan["weights"],
        "KV cache": plan["kv_cache"],
        "scratch": plan["scratch"],
        "program": plan["program"],
    }
    parts = ", ".join(f"{name} {size / _MEBI:.1f}" for name, size in sizes.items())
    per_page = plan["kv_cache"] // pages_for(plan["context"])  # of all sequences
    context = max(0, (budget - (need - plan["kv_cache"])) // per_page) * PAGE
    fits = [f"context={context}"] if context else []
    fits.append(f"memory={need // _MEBI + 1}MiB")
    return (
        f"memory on {device.place}: expected at most {budget / _MEBI:.1f} MiB, found a need of {need / _MEBI:.1f} MiB "
        f"({parts}); would fit: {', or '.join(fits)}"
    )
