"""What the tuner times is right, what is wrong is left out: its measurement in the interpreter, without a clock."""

import pytest
import torch
import triton

from bench import tune
from qwen3edge.kernels.matmul_plan import MatrixShape

ENTRY = {"BLOCK_M": 16, "BLOCK_N": 16, "SWAPPED": 1, "num_warps": 1, "num_stages": 2, "programs": 64}


@pytest.mark.parametrize("op", tune.OPS)
def test_measures_what_is_right(op, monkeypatch):
    runs = []
    monkeypatch.setattr(triton.testing, "do_bench", lambda run: runs.append(run()) or 0.25)
    device = tune.Device(torch.device("cpu"))
    shape = MatrixShape("any", 48, 512, "q4z32", (1,))
    assert device.measure(op, shape, 2, ENTRY) == 250
    assert len(runs) == 1


@pytest.mark.parametrize("op", tune.OPS)
def test_leaves_out_what_is_wrong(op, monkeypatch):
    monkeypatch.setattr(tune, "launch", lambda kernel, plan, x, parts, residual, y: y.fill_(float("nan")))
    device = tune.Device(torch.device("cpu"))
    assert device.measure(op, MatrixShape("any", 32, 256, "q8", (1,)), 1, ENTRY) == float("inf")
