"""The searches behind the table of formats that hold a GGUF type."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import gguf_holding as gh


def test_more_bits_and_smaller_groups_are_nearer(seed):
    weights = np.random.default_rng(seed).standard_normal((64, 512)).astype(np.float32)
    errors = {grid: float(((grid.nearest(weights) - weights) ** 2).mean()) for grid in gh.GRIDS}
    errors["q6z32"] = float(((gh.in_format("q6z32", weights) - weights) ** 2).mean())
    six, finer, seven = (errors[grid] for grid in gh.GRIDS)
    assert 0 < seven < finer < six
    assert six <= 1.02 * errors["q6z32"]  # whose offsets and scales are fewer
    assert seven <= 0.5 * six
