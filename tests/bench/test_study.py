"""A file with a quantized one's weights in float32, whatever either file's keys are scaled by."""

import numpy as np
import pytest

from bench.quality.study import dequantized
from qwen3edge.convert import convert
from tests.convert.small_checkpoint import write
from tests.convert.test_fold import MODELS, logits, unfolded, with_outliers


@pytest.mark.parametrize("name", MODELS)
def test_folds_that_differ(name, tmp_path, seed, monkeypatch):
    folder = write(tmp_path, MODELS[name], with_outliers(MODELS[name], seed))
    convert(folder, tmp_path / "int8.q3e", "int8", allow_missing_tokenizer=True)
    convert(folder, tmp_path / "folded.q3e", "f32", allow_missing_tokenizer=True)
    unfolded(monkeypatch, folder, tmp_path / "plain.q3e", "f32")
    found = []
    for exact in ("folded", "plain"):
        with dequantized(tmp_path / "int8.q3e", tmp_path / f"{exact}.q3e", tmp_path) as copy:
            found.append(logits(copy, "f32"))
    np.testing.assert_array_equal(*found)
    assert (found[0] != logits(tmp_path / "plain.q3e", "f32")).any()
