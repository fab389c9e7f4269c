"""What a model takes of a device's memory, before any weight is read.

The sums follow the layouts of kernels/packing.py and kernels/kv_cache.py; what CUDA itself takes is an allowance that
nobody has measured.
"""

from __future__ import annotations

from qwen3edge import _core
from qwen3edge.config import ModelConfig
from qwen3edge.errors import MemoryBudgetError, RequestError
from qwen3edge.kernels.attention_decode import FEW_ROWS, SPLIT
from qwen3edge.kernels.kv_cache import PAGE
from qwen3edge.kernels.matmul_parts import matrix_nbytes
from qwen3edge.kernels.panels import packed_format
from qwen3edge.runtime.torch_backend.device import Device
from qwen3edge.runtime.torch_backend.pages import page_bytes, pages_for
from qwen3edge.settings import CoreSettings

HEAD_ROWS = 32  # rows of logits at a time: their buffer is what a large vocabulary costs
_CHUNKS = (512, 256, 128, 64, 32, 16)
_CUDA_ALLOWANCE = 96 << 20  # workspaces of matrix libraries, compiled kernels, pools of captured graphs
_MEBI = 1 << 20


def plan_device(file: _core.ModelFile, config: ModelConfig, settings: CoreSettings, device: Device) -> _core.PlanResult:
    """The plan, with the largest chunk that fits. Raises MemoryBudgetError with the breakdown, RequestError."""
    if settings["min_expert_share"]:
        raise RequestError(f"min_expert_share: expected 0 on this device, found {settings['min_expert_share']}")
    if settings["kv"] not in device.kv_types:
        raise RequestError(f"kv: expected {' or '.join(device.kv_types)} on this device, found {settings['kv']!r}")
    budget = settings["memory"] or device.free_bytes()
    weights = weight_bytes(file, device)
    chunks = (settings["chunk"],) if settings["chunk"] else _CHUNKS
    plans = [_plan(config, settings, device, weights, budget, settings["context"], chunk) for chunk in chunks]
    for plan in plans:
        if plan["peak"] <= budget:
            return plan
    raise MemoryBudgetError(_refusal(config, settings, device, plans[-1]))


def weight_bytes(file: _core.ModelFile, device: Device) -> int:
    """All tensors of a file as they will lie on the device."""
    return sum(
        matrix_bytes(tensor["format"], tensor["rows"], tensor["columns"], device.dtype.itemsize)
        if tensor["format"] != "vector" and not tensor["name"].endswith("ffn_gate_inp.weight")
        else 4 * tensor["rows"] * tensor["columns"]
        for tensor in file.tensors()
        if tensor["name"] != "checksums"
    )


def matrix_bytes(format: str, rows: int, columns: int, itemsize: int) -> int:
    """A `DeviceMatrix`; itemsize: of what is not quantized."""
    fmt = packed_format(format)
    size: int = rows * columns * itemsize if fmt.kind == "dense" else matrix_nbytes(fmt, rows, columns)
    return size


def scratch_bytes(config: ModelConfig, sequences: int, context: int, chunk: int, itemsize: int) -> int:
    """What lives at once while a chunk is computed: residual, one sublayer's buffers, then logits."""
    hidden, query, kv = config.hidden_size, config.query_size, config.kv_size
    stream = hidden * (4 + itemsize + 4)  # residual, normed, delta
    attention = (query + 2 * kv + 2 * query) * itemsize + 4 * config.head_size
    # Partial sums and two numbers of every head, of the few queries that the decode kernel takes.
    few = sequences * max(FEW_ROWS // (config.heads // config.kv_heads), 1)
    splits = -(-context // SPLIT) * few * 4 * config.heads * (config.head_size + 2)
    if config.experts:
        ffn = config.experts_per_token * (config.expert_ffn_size * itemsize + 4 * hidden + 24) + 4 * config.experts
    else:
        ffn = 3 * config.ffn_size * itemsize
    size: int = chunk * (stream + max(attention, ffn)) + splits + HEAD_ROWS * config.vocab_size * 4
    return size


def _plan(
    config: ModelConfig, settings: CoreSettings, device: Device, weights: int, budget: int, context: int, chunk: int
) -> _core.PlanResult:
    sequences = settings["sequences"]
    chunk = min(chunk, context * sequences)
    per_page = page_bytes(config, settings["kv"])
    kv_cache = sequences * pages_for(context) * per_page
    scratch = scratch_bytes(config, sequences, context, chunk, device.dtype.itemsize)
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
        "threads": 1,  # that launches
        "kv": settings["kv"],
        "kv_bytes_per_token": per_page // PAGE,
        "layers": config.layers,
        "streamed_layers": 0,
        "streams_head": False,
        "streamed": 0,
        "experts": config.layers * config.experts,
        "expert_slots": 0,
        "expert_bytes": 0,
        "min_expert_share": 0.0,
    }


def _refusal(config: ModelConfig, settings: CoreSettings, device: Device, plan: _core.PlanResult) -> str:
    """As the CPU's planner says it."""
    need, budget = plan["peak"], plan["budget"]
    sizes = {
        "weights": plan["weights"],
        "KV cache": plan["kv_cache"],
        "scratch": plan["scratch"],
        "program": plan["program"],
    }
    parts = ", ".join(f"{name} {size / _MEBI:.1f}" for name, size in sizes.items())
    per_page = settings["sequences"] * page_bytes(config, settings["kv"])
    context = max(0, (budget - (need - plan["kv_cache"])) // per_page) * PAGE
    fits = [f"context={context}"] if context else []
    fits.append(f"memory={need // _MEBI + 1}MiB")
    return (
        f"memory on {device.place}: expected at most {budget / _MEBI:.1f} MiB, found a need of {need / _MEBI:.1f} MiB "
        f"({parts}); would fit: {', or '.join(fits)}"
    )
