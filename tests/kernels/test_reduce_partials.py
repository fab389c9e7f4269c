"""Partial sums against torch."""

import pytest
import torch

from qwen3edge.kernels.reduce_partials import reduce_partials
from qwen3edge.kernels.references import reduce_partials as reference
from tests.kernels.closeness import assert_close


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize(("splits", "rows", "columns"), [(2, 1, 16), (7, 3, 683)])
def test_sums(splits, rows, columns, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    partials = torch.randn(splits, rows, columns, generator=generator)
    for residual in (None, torch.randn(rows, columns, generator=generator).to(dtype)):
        y = torch.empty(rows, columns, dtype=dtype)
        reduce_partials(partials, residual, y)
        assert_close(y, reference.reduce_partials(partials, residual))
