"""Rounding of activations against torch, by ==: it decides what the int8 products see."""

import pytest
import torch

from qwen3edge.kernels.errors import KernelShapeError, KernelTypeError
from qwen3edge.kernels.quantize_activations import BLOCKS, quantize_activations
from qwen3edge.kernels.references import quantize_activations as reference


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])
@pytest.mark.parametrize("block", BLOCKS)
def test_rounds_like_torch(block, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    for rows, columns in ((1, 32), (2, 2336)):
        x = torch.randn(rows, columns, generator=generator)
        x[:, 5] *= 100
        x[-1, :32] = 0  # a block of zeros, if blocks are as short
        x = x.to(dtype)
        found = quantize_activations(x, block)
        expected = reference.quantize_activations(x, block)
        for ours, theirs in zip(found, expected, strict=True):
            assert torch.equal(ours, theirs)


def test_not_a_number_shows_in_the_scale():
    x = torch.ones(1, 512, dtype=torch.float16)
    x[0, 300] = float("nan")
    scales = quantize_activations(x, 256)[1]
    assert scales[0, 1].isnan() and not scales[0, 0].isnan()


def test_opcheck(seed):
    x = torch.randn(2, 96, generator=torch.Generator().manual_seed(seed)).half()
    torch.library.opcheck(quantize_activations, (x, 64))


def test_no_rows():
    assert [t.shape[0] for t in quantize_activations(torch.empty(0, 64, dtype=torch.float16), 32)] == [0, 0, 0]


def test_refused():
    with pytest.raises(KernelTypeError, match="x: expected"):
        quantize_activations(torch.ones(1, 64), 32)
    with pytest.raises(KernelShapeError, match="found 48 and 64"):
        quantize_activations(torch.ones(1, 64, dtype=torch.float16), 48)
    with pytest.raises(KernelShapeError, match="found 32 and 40"):
        quantize_activations(torch.ones(1, 40, dtype=torch.float16), 32)
