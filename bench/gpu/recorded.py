"""What a model's forward passes launch on a GPU, recorded without one: the graph runs, on weights of no content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch

from qwen3edge.config import ModelConfig
from qwen3edge.convert.names import model_tensors
from qwen3edge.convert.recipe import find_recipe
from qwen3edge.kernels.kv_cache import PAGE
from qwen3edge.kernels.matmul_parts import part_types
from qwen3edge.kernels.packing import DeviceMatrix
from qwen3edge.kernels.panels import packed_format
from qwen3edge.kernels.recording import Launch, recording
from qwen3edge.kernels.specialization import MODEL_SHAPES
from qwen3edge.runtime.aot_shapes import config_of, layer_formats
from qwen3edge.runtime.torch_backend import Device
from qwen3edge.runtime.torch_backend.block import Step
from qwen3edge.runtime.torch_backend.graph import Graph
from qwen3edge.runtime.torch_backend.plan import HEAD_ROWS
from qwen3edge.runtime.torch_backend.weights import WeightReader

TOKENS = (1, 8, 32, 64, 512)  # decode steps of so many sequences, and prompts
CONTEXT = 4096


class EmptyWeights(WeightReader):
    """Tensors of the sizes that a file of the recipe would give them, of which nobody writes a byte."""

    def __init__(self, config: ModelConfig, recipe: str, device: Device) -> None:
        self.device = device
        rules = find_recipe(recipe)
        self._tensors = {
            tensor.name: {
                "format": rules.format_of(tensor, config.layers),
                "rows": tensor.rows,
                "columns": tensor.columns,
            }
            for tensor in model_tensors(config)
        }
        self._frequencies = config.head_size // 2

    def _stacked(self, names: Sequence[str], in_turn: bool = False) -> DeviceMatrix:
        tensors = [self._tensors[name] for name in names]
        format, columns = tensors[0]["format"], tensors[0]["columns"]
        rows, fmt = sum(tensor["rows"] for tensor in tensors), packed_format(format)
        if fmt.kind == "dense":
            return DeviceMatrix(format, rows, columns, dense=self._empty((rows, columns), self.device.dtype))
        parts = {
            name: self._empty(part.shape, part.dtype)
            for name, part in part_types(fmt, rows, columns).items()
            if part is not None
        }
        return DeviceMatrix(format, rows, columns, **parts)

    def floats(self, name: str) -> torch.Tensor:
        if name.startswith("rope."):
            return torch.zeros(1, self._frequencies)
        return self._empty((self._tensors[name]["rows"], self._tensors[name]["columns"]), torch.float32)

    def _empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype, device=self.device.place)


def launches(model: str, recipe: str, target: str, int8: bool = False) -> list[Launch]:
    """Of decode steps and prompts of TOKENS, by a model of one layer of each kind that the recipe makes, with an int8
    and a bf16 cache. int8: with activations rounded to int8. Raises KernelConfigurationError for an unknown target.
    """
    config = config_of(MODEL_SHAPES[model])
    kinds = {str(formats): layer for layer, formats in enumerate(layer_formats(config, recipe))}
    found: list[Launch] = []
    for kv in ("int8", "bf16"):
        graph = empty_graph(config, recipe, kv, int8, list(kinds.values()))
        with recording(target) as noted, torch.inference_mode():
            for count in TOKENS:
                for step, tables in _steps(count):
                    graph.logits(graph.forward(step, tables)[:HEAD_ROWS])
        found += noted
    return found


def token_launches(model: str, recipe: str, target: str) -> list[Launch]:
    """Of one decoded token, all layers."""
    graph = empty_graph(config_of(MODEL_SHAPES[model]), recipe, "int8")
    with recording(target) as noted, torch.inference_mode():
        step, tables = decode_step(1, CONTEXT)
        graph.logits(graph.forward(step, tables))
    return noted


def empty_graph(
    config: ModelConfig, recipe: str, kv: str, int8: bool = False, layers: Sequence[int] | None = None
) -> Graph:
    """Of these layers, or all, on weights that nobody has written."""
    device = Device(torch.device("cpu"), torch.bfloat16, captures=False)
    kinds = ("attention", "experts" if config.experts else "dense")
    blocks = [(kind, layer) for layer in (range(config.layers) if layers is None else layers) for kind in kinds]
    return Graph(config, blocks, EmptyWeights(config, recipe, device), 1, kv, HEAD_ROWS, CONTEXT, int8)


def decode_step(sequences: int, context: int) -> tuple[Step, torch.Tensor]:
    """One token of each after context - 1 of them, and the block tables."""

    def ints(values: Sequence[int]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.int32)

    every = range(sequences)
    step = Step(
        tokens=ints([0] * sequences),
        positions=ints([context - 1] * sequences),
        sequences=ints(every),
        rows=ints([sequences]),
        run_sequences=ints(every),
        run_starts=ints(range(sequences + 1)),
        run_lengths=ints([context] * sequences),
        wanted=None,
        longest_run=1,
        longest_context=context,
    )
    return step, torch.zeros(sequences, -(-context // PAGE), dtype=torch.int32)


def prompt_step(tokens: int) -> tuple[Step, torch.Tensor]:
    """The first tokens of a sequence, the last one's logits wanted."""

    def ints(values: Sequence[int]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.int32)

    step = Step(
        tokens=ints([0] * tokens),
        positions=ints(range(tokens)),
        sequences=ints([0] * tokens),
        rows=ints([tokens]),
        run_sequences=ints([0]),
        run_starts=ints([0, tokens]),
        run_lengths=ints([tokens]),
        wanted=ints([tokens - 1]),
        longest_run=tokens,
        longest_context=tokens,
    )
    return step, torch.zeros(1, -(-tokens // PAGE), dtype=torch.int32)


def _steps(tokens: int) -> Iterator[tuple[Step, torch.Tensor]]:
    if tokens <= HEAD_ROWS:
        yield decode_step(tokens, CONTEXT)
    if tokens > 1:
        yield prompt_step(tokens)


def counted(noted: Sequence[Launch]) -> Mapping[str, int]:
    """How often each kernel is launched."""
    found: dict[str, int] = {}
    for launch in noted:
        found[launch.specialization.name] = found.get(launch.specialization.name, 0) + 1
    return found
