"""Which of our formats holds what a GGUF type says? The weights alone: activations stay float32 in both.

python bench/gguf_holding.py tests/data/tiny-qwen3 --markdown docs/decisions/gguf-types.md

Each row is the model in one type throughout (llama-quantize --pure); a column is the mean KL divergence, in nats a
token, of the model with those weights in one of our formats from the model with the file's own. The last columns are
no formats: codes of 6 or 7 bits on an int8 grid with one float scale in 256, as `q6z32` has them, but with the best
step and offset that a search over every one finds in each group.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from gguf_agreement import Agreements, replace_table
from harness import BenchError, Cell, table
from numpy.typing import NDArray
from peers import LLAMA_QUANTIZE, run
from rounded_reference import load_dequantized, reference_logits

from qwen3edge import _core
from qwen3edge.config import ModelConfig
from qwen3edge.convert import convert
from qwen3edge.convert.names import model_tensors
from qwen3edge.evaluate.divergence import kl_divergence

MARKS = ("<!-- holding: begin -->", "<!-- holding: end -->")
TYPES = ["Q4_K", "Q5_0", "Q5_1", "Q5_K", "Q6_K"]
FORMATS = ["q4z32", "q4a32", "q6z32", "q8", "q8g32"]
TOKENS = 400
SUPER_BLOCK = 256
SCALES = 24
"""That are tried for a super-block, from the smallest one that can hold its widest group up to 1.9 times that."""

Weights = NDArray[np.float32]


@dataclass(frozen=True)
class Grid:
    """Codes of some bits; a group's step is a whole number of a grid of int8, and so is its offset."""

    bits: int
    group: int

    @property
    def name(self) -> str:
        return f"{self.bits} bits in groups of {self.group}"

    def nearest(self, weights: Weights) -> Weights:
        """weights [rows, columns], columns of whole super-blocks -> the nearest that the grid can say."""
        codes = (1 << self.bits) - 1
        steps = 256 // (codes + 1)
        groups = torch.from_numpy(weights).reshape(-1, SUPER_BLOCK // self.group, self.group)
        width = (groups.amax(2) - groups.amin(2)).amax(1)
        smallest = torch.maximum(groups.abs().amax((1, 2)) / 127, width / (codes * steps)).clamp_min(1e-8)
        least, nearest = torch.full((len(groups),), torch.inf), torch.zeros_like(groups)
        for factor in np.linspace(0.97, 1.9, SCALES):
            scale = (smallest * float(factor)).half().float()[:, None, None]
            found = _nearest_codes(groups / scale, steps, codes) * scale
            error = (found - groups).square().sum((1, 2))
            better = error < least
            least = torch.where(better, error, least)
            nearest = torch.where(better[:, None, None], found, nearest)
        return nearest.reshape(weights.shape).numpy()


def _nearest_codes(values: torch.Tensor, steps: int, codes: int) -> torch.Tensor:
    """values [blocks, groups, group] in units of the grid -> whole numbers, with each group's best step and offset."""
    least, nearest = torch.full(values.shape[:2], torch.inf), torch.zeros_like(values)
    for step in range(1, steps + 1):
        for phase in range(step):
            offset = (values.amin(2, keepdim=True).floor() + phase - step // 2).clamp(-128, 127)
            code = torch.round((values - offset) / step).clamp(0, codes)
            found = (code * step + offset).clamp(-128, 127)
            error = (found - values).square().sum(2)
            better = error < least
            least = torch.where(better, error, least)
            nearest = torch.where(better[..., None], found, nearest)
    return nearest


GRIDS = [Grid(6, 32), Grid(6, 16), Grid(7, 32)]


def in_format(name: str, weights: Weights) -> Weights:
    """As the block format has them."""
    return _core.dequantize(name, _core.quantize(name, weights), *weights.shape)


def row(agreements: Agreements, kind: str) -> dict[str, Cell]:
    """One GGUF type."""
    program = LLAMA_QUANTIZE.find()
    if program is None:
        raise BenchError(LLAMA_QUANTIZE.absent())
    source, target = agreements.work / f"pure-{kind}.gguf", agreements.work / f"pure-{kind}.q3e"
    run([program, "--pure", agreements.base(), source, kind, "1"])
    convert(source, target, "f32", allow_missing_tokenizer=True)
    file = _core.ModelFile(str(target))
    model = load_dequantized(agreements.model, file)
    theirs = reference_logits(model, agreements.tokens)
    matrices = [tensor for tensor in model_tensors(ModelConfig.from_metadata(file)) if not tensor.is_vector]
    parameters = dict(model.named_parameters())
    ways: dict[str, Callable[[Weights], Weights]] = {name: partial(in_format, name) for name in FORMATS}
    ways |= {grid.name: grid.nearest for grid in GRIDS}
    cells: dict[str, Cell] = {"type": kind}
    for name, way in ways.items():
        for matrix in matrices:
            with torch.no_grad():
                parameters[matrix.source].copy_(torch.from_numpy(way(file.dequantize(matrix.name))))
        cells[name] = f"{kl_divergence(theirs, reference_logits(model, agreements.tokens)).mean():.1e}"
    return cells


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a dense Hugging Face folder with rows of whole 256")
    parser.add_argument("--tokens", type=int, default=TOKENS)
    parser.add_argument("--types", nargs="+", default=TYPES)
    parser.add_argument("--markdown", type=Path, help="a file with marks to write the table between")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        agreements = Agreements(arguments.model, Path(work), arguments.tokens)
        rows = []
        for kind in arguments.types:
            rows.append(row(agreements, kind))
            print(rows[-1], file=sys.stderr, flush=True)
    print("\n".join(table(rows)))
    if arguments.markdown is not None:
        replace_table(arguments.markdown, MARKS, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
