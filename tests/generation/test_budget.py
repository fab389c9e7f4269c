"""The promise of `memory=` with the real vocabulary: what reading it takes for a moment must not break it unseen."""

import json
import shutil
import subprocess
import sys

import pytest

import qwen3edge
from qwen3edge.errors import MemoryBudgetError
from tests.conftest import TINY
from tests.real_tokenizer import QWEN3, require

PROGRAM = """
import sys, qwen3edge
from qwen3edge import _core
with qwen3edge.load(sys.argv[1], memory=sys.argv[2], context=512, threads=2) as model:
    model.generate(model.tokenizer.encode("hello " * 300), max_tokens=100, temperature=100, top_k=0).read()
    print(_core.peak_resident_bytes(), model.plan.peak)
"""

GRAMMARS = """
import sys, qwen3edge
from qwen3edge import _core
from qwen3edge.errors import GrammarError
with qwen3edge.load(sys.argv[1], context=512, threads=2, grammars=True, seed=1) as model:
    for asked in ({"json_schema": {}}, {"regex": "(.*a.{40}){5}"}):
        try:
            model.generate("hello", max_tokens=100, temperature=100, top_k=0, thinking=False, **asked).read()
        except GrammarError as error:
            print(error)
    print(_core.peak_resident_bytes(), model.plan.peak)
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    require(QWEN3.ranks_path)
    return QWEN3.make_q3e(tmp_path_factory.mktemp("real"))


def test_budget_that_the_tokenizer_would_break(path):
    with pytest.raises(MemoryBudgetError):
        qwen3edge.load(path, memory="100MiB")


def test_peak_stays_in_the_smallest_budget_that_loads(path):
    budget = 60
    while True:
        command = [sys.executable, "-c", PROGRAM, str(path), f"{budget}MiB"]
        result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if result.returncode == 0:
            break
        assert "MemoryBudgetError" in result.stderr, result.stderr
        budget += 4
        assert budget < 120
    peak, _ = map(int, result.stdout.split())
    assert peak <= budget << 20


def test_grammars_that_were_planned_for(path):
    """Also one that takes all that a grammar may."""
    command = [sys.executable, "-c", GRAMMARS, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    *refused, last = result.stdout.splitlines()
    assert len(refused) == 1 and "too many states" in refused[0]
    peak, planned = map(int, last.split())
    assert 0.85 * planned < peak <= planned


def test_the_longest_context(tmp_path):
    """As long as all weights stay resident and one sequence fits, whatever the number of sequences; no shorter than by
    default, and no longer than the model knows."""
    shutil.copytree(TINY, tmp_path / "tiny")
    config = json.loads((tmp_path / "tiny" / "config.json").read_text())
    (tmp_path / "tiny" / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 20_000}))
    qwen3edge.convert.convert(tmp_path / "tiny", tmp_path / "m.q3e", "int4")

    def plan(mebibytes, **settings):
        memory, program = mebibytes << 20, 10 << 20  # whatever this process holds
        return qwen3edge.plan(tmp_path / "m.q3e", memory=memory, program=program, **settings)

    found = plan(40, context="auto", sequences=3)
    assert found.context % 64 == 0 and 4096 < found.context < 20_000 and found.streamed == 0
    assert plan(40, context=found.context, sequences=3).streamed == 0
    assert plan(40, context=found.context + 128, sequences=3).streamed > 0
    assert plan(200, context="auto", sequences=3).context == 20_000
    least = plan(21, context="auto")
    assert least.context == 4096 == plan(21).context and least.streamed > 0
