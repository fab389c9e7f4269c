"""The mended interpreter gives what torch gives in bfloat16."""

import pytest
import torch
import triton
import triton.language as tl


@triton.jit
def arithmetic(x, y, out, N: tl.constexpr):
    i = tl.arange(0, N)
    a, b = tl.load(x + i), tl.load(y + i)
    tl.store(out + i, a + b)
    tl.store(out + N + i, a * b)
    tl.store(out + 2 * N + i, tl.where(a < b, a, -b))
    tl.store(out + 3 * N + i, (tl.exp(a.to(tl.float32)) - b).to(tl.bfloat16))
    tl.store(out + 4 * N + i, tl.maximum(a, b))
    tl.store(out + 5 * N + i, (a.to(tl.float16) + 1).to(tl.bfloat16))
    tl.store(out + 6 * N + i, tl.where(a < 1e30, a, 0).to(tl.int32).to(tl.bfloat16))
    tl.store(out + 7 * N + i, tl.minimum(a, b) * tl.full([N], 0.3, tl.bfloat16))


@triton.jit
def product(x, y, out, K: tl.constexpr):
    i, k = tl.arange(0, 16), tl.arange(0, K)
    a = tl.load(x + i[:, None] * K + k[None, :])
    b = tl.load(y + k[:, None] * 16 + i[None, :])
    tl.store(out + i[:, None] * 16 + i[None, :], tl.dot(a, b))


def test_arithmetic(seed):
    torch.manual_seed(seed)
    x, y = (torch.randn(64) * 3).bfloat16(), (torch.randn(64) * 3).bfloat16()
    x[0], y[1] = float("nan"), float("inf")
    out = torch.empty(8, 64, dtype=torch.bfloat16)
    arithmetic[(1,)](x, y, out, 64)
    expected = torch.stack(
        [
            x + y,
            x * y,
            torch.where(x < y, x, -y),
            (x.float().exp() - y.float()).bfloat16(),
            torch.fmax(x, y),
            (x.half() + 1).bfloat16(),
            x.nan_to_num(0).int().bfloat16(),
            torch.fmin(x, y) * torch.tensor(0.3).bfloat16(),
        ]
    )
    assert torch.equal(out.nan_to_num(7e7), expected.nan_to_num(7e7))


@pytest.mark.parametrize("inner", [16, 64])
def test_dot(seed, inner):
    torch.manual_seed(seed)
    x, y = torch.randn(16, inner).bfloat16(), torch.randn(inner, 16).bfloat16()
    out = torch.empty(16, 16)
    product[(1,)](x, y, out, inner)
    torch.testing.assert_close(out, x.float() @ y.float(), rtol=1e-5, atol=1e-5)
