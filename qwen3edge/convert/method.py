"""How a conversion chooses formats, scales and codes beyond the recipe: the choices of a user in one place."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qwen3edge.architectures.architecture import ModelTensor
from qwen3edge.convert.allocation import allocate, find_choices
from qwen3edge.convert.gptq import Gptq
from qwen3edge.convert.quantizer import LeastSquares, Quantizer, Weighted
from qwen3edge.convert.recipe import Recipe
from qwen3edge.convert.source import TensorSource
from qwen3edge.convert.statistics import Statistics
from qwen3edge.errors import RequestError

QUANTIZERS = ("search", "weighted", "gptq")


@dataclass(frozen=True)
class Method:
    """By default no data, and the recipe as it is."""

    statistics: Statistics | None = None
    quantizer_name: str = "search"
    target_bits: float | None = None

    @classmethod
    def choose(
        cls, imatrix: str | os.PathLike[str] | None, quantizer: str | None = None, target_bits: float | None = None
    ) -> Method:
        """imatrix: a file of statistics. quantizer: by default "weighted" with one.

        Raises RequestError for choices that do not fit together, FileFormatError.
        """
        if quantizer is None:
            quantizer = "search" if imatrix is None else "weighted"
        if quantizer not in QUANTIZERS:
            raise RequestError(f"quantizer: expected one of {', '.join(QUANTIZERS)}, found {quantizer!r:.60}")
        if imatrix is None and (quantizer != "search" or target_bits is not None):
            what = "target_bits" if quantizer == "search" else quantizer
            raise RequestError(f"{what}: expected statistics as well (qwen3edge calibrate makes them), found none")
        if target_bits is not None and not 1 <= target_bits <= 32:
            raise RequestError(f"target_bits: expected 1 to 32 bits a weight, found {target_bits}")
        return cls(None if imatrix is None else Statistics(imatrix), quantizer, target_bits)

    def quantizer(self) -> Quantizer:
        """For one conversion. Raises RequestError for GPTQ on statistics without X^T X."""
        if self.statistics is None or self.quantizer_name == "search":
            return LeastSquares()
        return Gptq(self.statistics) if self.quantizer_name == "gptq" else Weighted(self.statistics)

    def recipe(
        self, recipe: Recipe, source: TensorSource, names: Mapping[str, str], tensors: Sequence[ModelTensor]
    ) -> Recipe:
        """The one to follow: that which was asked for, or one that meets the target. names: in the source."""
        if self.target_bits is None or self.statistics is None:
            return recipe
        # GPTQ's errors stand in the same proportion from format to format.
        estimate = LeastSquares() if self.quantizer_name == "search" else Weighted(self.statistics)
        choices = find_choices(source, names, tensors, self.statistics, estimate)
        weights = {t.name: t.rows * t.columns for t in tensors if t.name in choices}
        return allocate(choices, weights, self.target_bits, f"{self.target_bits:g} bits")
