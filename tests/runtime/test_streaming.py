"""Models above their budget: streamed layers and heads give the same bits as resident ones, and faults are errors."""

import os
from pathlib import Path

import numpy as np
import pytest

from qwen3edge import _core
from qwen3edge.errors import MemoryBudgetError, TruncatedFileError
from tests.checkpoints import Shape, make_model, run, save, to_q3e

TIED = Shape("tied", hidden=320, ffn=576, heads=8, kv_heads=2, head_dim=64, vocab=600, layers=7)
UNTIED = Shape("untied", hidden=256, ffn=352, heads=4, kv_heads=2, head_dim=32, vocab=999, layers=4, tied=False)
QWEN2 = Shape("qwen2", family="qwen2", hidden=128, heads=2, kv_heads=1, head_dim=64, layers=5, vocab=515)
MOE = Shape(
    "moe",
    family="qwen3_moe",
    hidden=288,
    layers=3,
    heads=2,
    kv_heads=1,
    ffn=352,
    vocab=600,
    experts=20,
    top=3,
    tied=False,
)
SETTINGS = {"context": 256, "threads": 2, "program": 1 << 20, "chunk": 64}


@pytest.fixture(scope="module", params=[TIED, UNTIED, QWEN2, MOE], ids=lambda s: s.name)
def path(request, tmp_path_factory):
    return to_q3e(save(make_model(request.param, 3), tmp_path_factory.mktemp("streaming")), "int4")


@pytest.fixture(params=["uring", "threads"])
def reader(request, monkeypatch):
    monkeypatch.setenv("QWEN3EDGE_READER", request.param)


def budgets(file, **settings):
    """One budget for each way to split the model into resident and streamed parts, the largest first."""
    found = {}
    memory = _core.plan(file, **settings)["peak"]
    while True:
        try:
            plan = _core.plan(file, memory=memory, **settings)
        except MemoryBudgetError:
            return list(found.values())[::-5][::-1] if plan["experts"] else list(found.values())
        assert plan["peak"] <= memory
        found.setdefault((plan["streamed_layers"], plan["streams_head"], plan["expert_slots"]), memory)
        memory = plan["peak"] - 1


def test_budgets_give_the_same_bits(path, reader, seed):
    file = _core.ModelFile(str(path))
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, 515, 150)
    expected = run(_core.Engine(file, **SETTINGS), tokens)
    all_budgets = budgets(file, **SETTINGS)
    assert len(all_budgets) > 4
    for memory in all_budgets:
        engine = _core.Engine(file, memory=memory, **SETTINGS)
        assert (run(engine, tokens[:100]) == expected[:100]).all(), engine.plan
        # Passes without logits skip a streamed head, and the next pass must not mind.
        for i in range(100, 110):
            logits = engine.forward([tokens[i]], [i], [0], [i % 2 == 0])
            assert (logits == expected[i : i + 1 if i % 2 == 0 else i]).all(), (engine.plan, i)
        assert (run(engine, tokens[110:], start=110) == expected[110:]).all(), engine.plan
        metrics, plan = engine.metrics, engine.plan
        assert (metrics["bytes_read"] > 0) == (plan["streamed"] > 0 or plan["expert_slots"] > 0)
        assert (metrics["expert_misses"] > 0) == (plan["expert_slots"] > 0)


def test_a_router_that_is_not_there_is_not_asked(tmp_path):
    """Where layers are streamed, too, the next one's weights are on their way while this one's experts are chosen."""
    file = _core.ModelFile(str(to_q3e(save(make_model(MOE, 3), tmp_path), "int4")))
    guesses = {}
    for memory in budgets(file, **SETTINGS):
        engine = _core.Engine(file, memory=memory, **SETTINGS)
        for i in range(20):
            engine.forward([i], [i], [0], [False])
        guesses[engine.plan["streamed_layers"], engine.plan["expert_slots"] > 0] = engine.metrics["expert_guesses"]
    assert guesses[MOE.layers, True] == 0
    assert guesses[0, True] > 0


def test_threads_and_batches(path, seed):
    file = _core.ModelFile(str(path))
    tokens = np.random.default_rng(seed).integers(0, 515, 40)
    settings = {**SETTINGS, "sequences": 2}
    expected = run(_core.Engine(file, **settings), tokens)
    for threads in (1, 3):
        settings["threads"] = threads
        engine = _core.Engine(file, memory=budgets(file, **settings)[-1], **settings)
        assert engine.plan["streamed"] > 0 or engine.plan["expert_slots"] > 0
        run(engine, tokens[:20])
        both = engine.forward(tokens, [*range(20, 40), *range(20)], [0] * 20 + [1] * 20, [True] * 40)
        assert both.shape[0] == 40
        alone = run(engine, tokens, slot=1)
        assert (alone == expected).all()


def test_a_fork_reads_by_itself(path):
    file = _core.ModelFile(str(path))
    tokens = np.arange(30)
    engine = _core.Engine(file, memory=budgets(file, **SETTINGS)[-1], **SETTINGS)
    expected = run(engine, tokens)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, b"1" if (run(engine, tokens) == expected).all() else b"0")
        os._exit(0)
    os.close(write)
    assert os.read(read, 1) == b"1"
    os.close(read)
    assert os.waitpid(child, 0)[1] == 0
    assert (run(engine, tokens) == expected).all()


def test_a_file_without_direct_reads(path):
    """A file system in memory may refuse reads past its cache."""
    memory_folder = Path("/dev/shm")
    if not memory_folder.is_dir():
        pytest.skip("no file system in memory")
    copy = memory_folder / f"qwen3edge-{os.getpid()}.q3e"
    try:
        copy.write_bytes(path.read_bytes())
        file = _core.ModelFile(str(copy))
        engine = _core.Engine(file, memory=budgets(file, **SETTINGS)[-1], **SETTINGS)
        assert (run(engine, np.arange(30)) == run(_core.Engine(file, **SETTINGS), np.arange(30))).all()
    finally:
        copy.unlink(missing_ok=True)


def test_a_file_that_is_cut(path, reader, tmp_path):
    copy = tmp_path / "cut.q3e"
    contents = path.read_bytes()
    copy.write_bytes(contents)
    file = _core.ModelFile(str(copy))
    settings = {**SETTINGS, "sequences": 2}
    engine = _core.Engine(file, memory=budgets(file, **settings)[-1], **settings)
    other = _core.Engine(_core.ModelFile(str(path)), **SETTINGS)
    expected = run(engine, np.arange(20))
    run(engine, np.arange(20), slot=1)
    os.truncate(copy, len(contents) // 3)
    with pytest.raises(TruncatedFileError):
        for start in range(20, 60, 10):  # what was read ahead may still serve a call
            run(engine, np.arange(10), start=start)
    with pytest.raises(TruncatedFileError):
        run(engine, np.arange(10))
    assert engine.length(1) == 20
    assert (run(other, np.arange(20)) == expected).all()


def test_another_file_in_its_place(path, tmp_path):
    copy = tmp_path / "swapped.q3e"
    copy.write_bytes(path.read_bytes())
    file = _core.ModelFile(str(copy))
    memory = budgets(file, **SETTINGS)[-1]
    copy.rename(tmp_path / "old.q3e")
    copy.write_bytes(path.read_bytes())
    with pytest.raises(OSError, match="another one in its place"):
        _core.Engine(file, memory=memory, **SETTINGS)
