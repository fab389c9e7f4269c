"""silu(gate) * up against torch."""

import pytest
import torch
from torch.library import opcheck

from qwen3edge.kernels.errors import KernelShapeError, KernelTypeError
from qwen3edge.kernels.references import silu_mul as reference
from qwen3edge.kernels.silu_mul import silu_mul
from tests.kernels.closeness import assert_close


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 1), (3, 37), (2, 1024), (2, 1500), (0, 8)])
def test_silu_mul(shape, dtype, seed):
    rows, columns = shape
    random = torch.Generator().manual_seed(seed)
    gate_up = (torch.randn(rows, 2 * columns, generator=random) * 4).to(dtype)
    gate_up[:, 1::7] *= 50  # exp overflows for gates below -88
    gate_up[:, 0] = 1  # of a single column nothing but an underflow may be left otherwise
    found = silu_mul(gate_up)
    assert found.dtype == dtype
    assert_close(found, reference.silu_mul(gate_up))


def test_nan_shows():
    gate_up = torch.ones(1, 8, dtype=torch.float16)
    gate_up[0, 1] = gate_up[0, 6] = float("nan")
    assert silu_mul(gate_up).isnan().tolist() == [[False, True, True, False]]


def test_refusals():
    with pytest.raises(KernelTypeError, match=r"gate_up: expected torch\.float16 or torch\.bfloat16, found"):
        silu_mul(torch.ones(1, 8))
    with pytest.raises(KernelShapeError, match="even number of columns, found 7"):
        silu_mul(torch.ones(1, 7, dtype=torch.float16))
    with pytest.raises(KernelShapeError, match="contiguous"):
        silu_mul(torch.ones(8, 8, dtype=torch.float16)[:, ::2])


def test_opcheck():
    opcheck(torch.ops.qwen3edge.silu_mul.default, (torch.ones(2, 64, dtype=torch.float16),))
