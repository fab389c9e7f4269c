"""The recipes on the public real model, which is fetched unless QWEN3EDGE_REAL_MODEL names it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench import real_model
from bench.peers import LLAMA_CPP_PYTHON, LLAMA_QUANTIZE
from tests import real_file

pytestmark = pytest.mark.slow

INT8, INT4 = 0.002, 0.046  # mean KL as run; 0.55 of llama.cpp's Q4_0
UNIFORM_INT8 = 641_900_000  # bytes with q8 for every matrix
Q4_0 = 429_000_000


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> real_model.Study:
    named = os.environ.get("QWEN3EDGE_REAL_MODEL")
    try:
        path = Path(named) if named else real_file.fetch()
    except real_file.FetchError as error:
        pytest.skip(str(error))
    real_file.check(path)
    return real_model.Study(path, real_model.TEXT, tmp_path_factory.mktemp("real"))


def test_the_recipes_of_a_real_model(study: real_model.Study) -> None:
    has_llama = LLAMA_CPP_PYTHON.find() is not None and LLAMA_QUANTIZE.find() is not None
    found = {row.what: row for row in real_model.as_run(study, real_model.OURS, has_llama)}
    for row in found.values():
        print(row.cells())
    kl = {what: row.scores.summary()["kl"] for what, row in found.items() if row.scores is not None}
    assert kl["int8"] <= INT8 and found["int8"].nbytes <= 1.01 * UNIFORM_INT8
    assert kl["int4"] <= INT4 and found["int4"].nbytes <= Q4_0
    assert kl["int8"] < kl["int6"] < kl["int4"]
    if has_llama:
        theirs = found["llama.cpp Q4_0"]
        assert kl["int4"] <= 0.55 * kl["llama.cpp Q4_0"] and found["int4"].nbytes <= theirs.nbytes
