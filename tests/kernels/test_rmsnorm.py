"""RMSNorm against torch, with and without a sum, to a working type and to int8."""

import pytest
import torch
from torch.library import opcheck

from qwen3edge.kernels import rmsnorm as op
from qwen3edge.kernels.errors import KernelConfigurationError, KernelShapeError, KernelTypeError
from qwen3edge.kernels.references import rmsnorm as reference
from tests.kernels.closeness import assert_close

EPSILON = 1e-6
SHAPES = [(1, 1), (3, 37), (2, 896), (5, 1024), (1, 2560), (0, 64)]
DTYPES = [torch.float16, torch.bfloat16, torch.float32]  # the router of experts reads float32


def inputs(rows, columns, dtype, seed):
    random = torch.Generator().manual_seed(seed)
    residual = torch.randn(rows, columns, generator=random)
    residual[:, columns // 2 :: 97] *= 1e5  # past float16, as the residual stream of the 8B is
    delta = torch.randn(rows, columns, generator=random).to(dtype)
    return residual, delta, torch.rand(columns, generator=random) + 0.5


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("adds", [False, True])
def test_rmsnorm(shape, dtype, adds, seed):
    residual, delta, weight = inputs(*shape, dtype, seed)
    total = residual + delta.float() if adds else residual.clone()
    found = op.rmsnorm(residual, weight, EPSILON, dtype, delta if adds else None)
    assert found.dtype == dtype
    assert torch.equal(residual, total)
    assert_close(found, reference.rmsnorm(total, weight, EPSILON))


@pytest.mark.parametrize("shape", [(3, 37), (2, 1024), (0, 64)])
def test_a_sum_in_parts_is_their_sum(shape, seed):
    """Added up in order, and only then to the stream."""
    residual, _, weight = inputs(*shape, torch.float16, seed)
    parts = torch.randn(3, *shape, generator=torch.Generator().manual_seed(seed))
    whole = residual.clone()
    expected = op.rmsnorm(whole, weight, EPSILON, torch.float16, (parts[0] + parts[1]) + parts[2])
    found = op.rmsnorm(residual, weight, EPSILON, torch.float16, parts)
    assert torch.equal(residual, whole) and torch.equal(found, expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("adds", [False, True])
def test_rmsnorm_quantize(shape, adds, seed):
    residual, delta, weight = inputs(*shape, torch.float16, seed)
    total = residual + delta.float() if adds else residual.clone()
    quants, scales = op.rmsnorm_quantize(residual, weight, EPSILON, delta if adds else None)
    assert torch.equal(residual, total)
    expected_quants, expected_scales = reference.quantize(reference.rmsnorm(total, weight, EPSILON))
    assert scales.shape == expected_scales.shape
    assert_close(scales, expected_scales, scale=1e-3)
    # The norm's last bits may move a value across a tie.
    difference = (quants.int() - expected_quants.int()).abs()
    assert difference.numel() == 0 or (difference.max() <= 1 and (difference > 0).float().mean() < 0.01)


def test_rounding_is_that_of_the_cpu():
    """Ties go to even: the norm of a row of ones is exact, and 2.5 / 127 of the largest is a tie."""
    steps = torch.tensor([127.0, 0.5, 1.5, 2.5, -0.5, -2.5, 126.5, -127.0] * 32)[None]
    weight = steps[0] * 1.0
    quants, _ = op.rmsnorm_quantize(torch.ones(1, 256), weight, 1e-30)
    assert quants[0, :8].tolist() == [127, 0, 2, 2, 0, -2, 126, -127]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
def test_what_is_no_number_shows(bad):
    """1e30 is one, but its square is not: the row must not become 0."""
    residual = torch.ones(2, 512)
    residual[0, 300] = bad
    found = op.rmsnorm(residual, torch.ones(512), EPSILON, torch.float16)
    _, scales = op.rmsnorm_quantize(residual, torch.ones(512), EPSILON)
    assert found[0].isnan().all() and scales[0].isnan().all()
    assert found[1].isfinite().all() and scales[1].isfinite().all()


def test_zeros_stay_zero():
    quants, scales = op.rmsnorm_quantize(torch.zeros(1, 256), torch.ones(256), EPSILON)
    assert not quants.any() and not scales.any()


def test_refusals():
    x, weight = torch.ones(2, 64), torch.ones(64)
    with pytest.raises(KernelTypeError, match=r"residual: expected torch\.float32, found torch\.float16"):
        op.rmsnorm(x.half(), weight, EPSILON, torch.float16)
    with pytest.raises(KernelTypeError, match="dtype: expected"):
        op.rmsnorm(x, weight, EPSILON, torch.float64)
    with pytest.raises(KernelTypeError, match="weight: expected"):
        op.rmsnorm(x, weight.double(), EPSILON, torch.float16)
    with pytest.raises(KernelShapeError, match=r"weight: expected shape \[64\], found \[63\]"):
        op.rmsnorm(x, weight[:63], EPSILON, torch.float16)
    with pytest.raises(KernelShapeError, match="delta: expected shape"):
        op.rmsnorm(x, weight, EPSILON, torch.float16, torch.ones(1, 64))
    with pytest.raises(KernelShapeError, match="contiguous"):
        op.rmsnorm(torch.ones(64, 2).T, weight, EPSILON, torch.float16)
    with pytest.raises(KernelShapeError, match="1 to 16384 columns"):
        op.rmsnorm(torch.ones(1, 16385), torch.ones(16385), EPSILON, torch.float16)
    with pytest.raises(KernelConfigurationError, match="epsilon"):
        op.rmsnorm(x, weight, float("nan"), torch.float16)


def test_opcheck():
    x, delta, weight = torch.randn(2, 64), torch.randn(2, 64).half(), torch.ones(64)
    ops = torch.ops.qwen3edge
    opcheck(ops.rmsnorm.default, (x, weight, EPSILON, torch.float16))
    opcheck(ops.add_rmsnorm.default, (x, delta, weight, EPSILON, torch.bfloat16))
    opcheck(ops.rmsnorm_quantize.default, (x, weight, EPSILON))
    opcheck(ops.add_rmsnorm_quantize.default, (x, delta, weight, EPSILON))
