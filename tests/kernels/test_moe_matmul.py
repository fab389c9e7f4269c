"""Products over experts against plain torch, few tokens and many, every format."""

import pytest
import torch

from qwen3edge import _core
from qwen3edge.kernels.errors import KernelError
from qwen3edge.kernels.moe_align import moe_align
from qwen3edge.kernels.moe_matmul import moe_down, moe_feed_forward, moe_gate_up, takes_few
from qwen3edge.kernels.packing import DeviceMatrix
from qwen3edge.kernels.references import moe as reference
from tests.kernels.closeness import assert_close

FORMATS = ["q4z32", "q4z64", "q8", "q6z32", "q4g32", "q4g64", "q4g128", "q4a32", "q4a128", "q8g32", "bf16"]


def batch(format: str, experts: int, rows: int, columns: int, dtype: torch.dtype = torch.float16) -> DeviceMatrix:
    weights = torch.randn(experts * rows, columns) / columns**0.5
    weights[torch.rand_like(weights) < 0.002] *= 8
    packed = torch.from_numpy(_core.quantize(format, weights.numpy()))
    return DeviceMatrix.from_packed(format, packed, experts * rows, columns, "cpu", dtype).split_experts(experts)


def check(x: torch.Tensor, ids: torch.Tensor, weights: torch.Tensor, gate_up: DeviceMatrix, down: DeviceMatrix) -> None:
    found = moe_feed_forward(x, ids, weights, gate_up, down)
    hidden = reference.moe_gate_up(x, ids, gate_up).to(x.dtype)
    expected = reference.moe_down(hidden, ids, weights, down)
    used = ids.flatten() >= 0
    assert found.dtype == torch.float32
    assert_close(found[used], expected[used])


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("tokens", [1, 11])
def test_formats(seed, format, tokens):
    torch.manual_seed(seed)
    columns, ffn = (128, 128) if format.endswith("128") else (192, 64)
    gate_up, down = batch(format, 8, 2 * ffn, columns), batch(format, 8, columns, ffn)
    ids = torch.rand(tokens, 8).argsort(dim=1)[:, :2].int().contiguous()
    assert takes_few(tokens, 2, 8) == (tokens == 1)
    check(torch.randn(tokens, columns).half(), ids, torch.rand(tokens, 2), gate_up, down)


@pytest.mark.parametrize("tokens", [1, 20])
def test_bfloat16_and_odd_sizes(seed, tokens):
    torch.manual_seed(seed)
    gate_up, down = batch("q4z32", 8, 128, 288), batch("q8", 8, 80, 64)
    ids = torch.randint(0, 3, (tokens, 1), dtype=torch.int32) * 3  # experts 1, 2, 4, 5, 7 get no token
    x = torch.randn(tokens, 288)
    x[0, 5] = 60.0
    check(x.bfloat16(), ids, torch.rand(tokens, 1), gate_up, down)


@pytest.mark.parametrize("tokens", [1, 9])
def test_padding_wakes_no_expert(seed, tokens):
    torch.manual_seed(seed)
    gate_up, down = batch("q4z32", 8, 64, 64), batch("q4z32", 8, 64, 32)
    ids = torch.randint(0, 8, (tokens, 2), dtype=torch.int32)
    ids[tokens // 2 :] = -1
    check(torch.randn(tokens, 64).half(), ids, torch.rand(tokens, 2), gate_up, down)


def test_nan_reaches_its_rows_only(seed):
    torch.manual_seed(seed)
    gate_up, down = batch("q4z32", 4, 64, 64), batch("q4z32", 4, 64, 32)
    x, ids = torch.randn(6, 64).half(), torch.randint(0, 4, (6, 2), dtype=torch.int32)
    x[2, 3] = float("nan")
    found = moe_feed_forward(x, ids, torch.ones(6, 2), gate_up, down).view(6, 2, -1)
    assert found[2].isnan().all() and found[[0, 1, 3, 4, 5]].isfinite().all()


def test_no_tokens():
    gate_up, down = batch("q8", 4, 64, 64), batch("q8", 4, 64, 32)
    ids = torch.zeros(0, 2, dtype=torch.int32)
    assert moe_feed_forward(torch.zeros(0, 64).half(), ids, torch.zeros(0, 2), gate_up, down).shape == (0, 64)


def test_refused():
    gate_up, down = batch("q4z32", 4, 64, 64), batch("q4z32", 4, 64, 32)
    x, ids, weights = torch.zeros(1, 64).half(), torch.zeros(1, 2, dtype=torch.int32), torch.zeros(1, 2)
    for arguments in (
        (x.float(), ids, weights, gate_up, down),
        (x[:, :32].contiguous(), ids, weights, gate_up, down),
        (x, ids.long(), weights, gate_up, down),
        (x, ids, weights.half(), gate_up, down),
        (x, ids, weights[:, :1].contiguous(), gate_up, down),
        (x, ids, weights, down, gate_up),
        (x, ids, weights, reference.expert_of(gate_up, 0), down),
        (torch.zeros(3, 64).half(), ids, weights, gate_up, down),
    ):
        with pytest.raises(KernelError, match="expected"):
            moe_feed_forward(*arguments)


@pytest.mark.parametrize("grouped", [False, True])
def test_opcheck(grouped):
    gate_up, down = batch("q4z32", 4, 64, 64), batch("q4z32", 4, 64, 32)
    x, ids = torch.randn(2, 64).half(), torch.tensor([[0, 2], [2, 3]], dtype=torch.int32)
    order, owners = moe_align(ids, 4, 16) if grouped else (None, ids.flatten())

    def parts(matrix):
        return matrix.words, matrix.high, matrix.scales, matrix.offsets, matrix.steps, matrix.format, matrix.rows, 16

    torch.library.opcheck(moe_gate_up, (x, ids, order, owners, *parts(gate_up)))
    hidden = torch.randn(4, 32).half()
    torch.library.opcheck(moe_down, (hidden, ids, torch.rand(2, 2), order, owners, *parts(down)))
