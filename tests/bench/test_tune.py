"""The tuner with a device that is made up: what it tries, takes and writes."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")

import torch

from bench import tune
from qwen3edge.kernels.matmul_plan import MatrixShape
from qwen3edge.kernels.references.packing import weights


def test_says_that_there_is_no_gpu(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert tune.main(["--model", "0.6B"]) == 1
    assert "no GPU" in capsys.readouterr().err


def test_takes_the_fastest_that_is_right():
    def measure(op: str, matrix: MatrixShape, tokens: int, entry: tune.Entry) -> float:
        if entry["num_stages"] == 2:
            return float("inf")  # a candidate that is wrong
        return 100 * entry["num_stages"] + abs(entry["BLOCK_N"] - 64) + entry["num_warps"]

    lines: list[str] = []
    chosen = tune.tune("matmul_a16", "0.6B", measure, False, lines.append)
    assert [entry.get("max_rows") for entry in chosen] == [8, 32, None]
    assert all(entry["num_stages"] == 3 and entry["BLOCK_N"] == 64 for entry in chosen)
    assert len(lines) == 3


def test_tunes_what_files_have():
    """The formats of the recipes, each as often as a layer has it."""
    found = {(matrix.name, matrix.format): share for matrix, share in tune.products("0.6B", "int4").items()}
    assert found == pytest.approx({
        ("q", "q4z32"): 4 / 28, ("k_v", "q6z32"): 4 / 28, ("output", "q6z32"): 4 / 28,
        ("q_k", "q4z64"): 24 / 28, ("v", "q6z32"): 24 / 28, ("output", "q4z64"): 24 / 28,
        ("gate_up", "q4z64"): 1.0, ("down", "q4z32"): 1.0, ("head", "q6z32"): 1 / 28,
    })  # fmt: skip


def test_nothing_right_is_an_error():
    with pytest.raises(SystemExit, match="no candidate"):
        tune.tune("matmul_a8", "0.6B", lambda *_: float("inf"), True, print)


def test_candidates_are_launchable():
    for tokens in (1, 32, 512):
        for amd in (False, True):
            found = list(tune.candidates(tokens, amd))
            assert found
            assert all(entry["BLOCK_M"] >= (16 if amd else 8) for entry in found)


def test_other_ops_of_the_file_stay(tmp_path):
    path = tmp_path / "sm_00.json"
    path.write_text('{"attention_decode": [{"BLOCK": 64}], "matmul_a8": [{"BLOCK_M": 1}]}')
    tune.write(path, {"matmul_a8": [{"max_rows": 8, "BLOCK_M": 8}, {"BLOCK_M": 64}]})
    assert json.loads(path.read_text()) == {
        "attention_decode": [{"BLOCK": 64}],
        "matmul_a8": [{"max_rows": 8, "BLOCK_M": 8}, {"BLOCK_M": 64}],
    }


@pytest.mark.parametrize("name", ["q4g32", "q4z32", "q6z32", "q8"])
def test_random_matrices_are_numbers(name):
    shape = MatrixShape("any", 48, 256, name, (1,))
    matrix = tune.random_matrix(shape, torch.device("cpu"))
    found = weights(matrix)
    assert found.isfinite().all() and found.std() > 0.01
