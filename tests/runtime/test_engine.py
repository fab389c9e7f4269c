"""The engine: bad batches change nothing, shrinking files and forks do not kill, tiers and cores can be chosen."""

import os
import subprocess
import sys

import numpy as np
import pytest

from qwen3edge import _core
from qwen3edge.errors import MemoryBudgetError, RequestError, TruncatedFileError
from tests.checkpoints import run


@pytest.fixture
def file(tiny_int4):
    return _core.ModelFile(str(tiny_int4))


@pytest.fixture
def engine(file):
    return _core.Engine(file, context=128, sequences=2, threads=2)


BAD_BATCHES = {
    "token below": ([-1], [0], [0], [True]),
    "token above": ([1 << 30], [0], [0], [True]),
    "position above": ([1], [128], [0], [True]),
    "position below": ([1], [-1], [0], [True]),
    "position leaves a hole": ([1], [21], [0], [True]),
    "slot above": ([1], [0], [2], [True]),
    "slot below": ([1], [0], [-1], [True]),
    "positions jump": ([1, 1], [20, 22], [0, 0], [True, True]),
    "slot twice": ([1, 1, 1], [20, 0, 21], [0, 1, 0], [True] * 3),
    "lengths differ": ([1, 1], [20], [0, 0], [True, True]),
}


@pytest.mark.parametrize("batch", BAD_BATCHES.values(), ids=BAD_BATCHES.keys())
def test_bad_batch_changes_nothing(engine, batch):
    tokens = np.arange(20)
    first = run(engine, tokens)
    with pytest.raises(RequestError, match="expected"):
        engine.forward(*batch)
    assert engine.length(0) == 20
    assert engine.length(1) == 0
    assert (run(engine, tokens[10:], start=10) == first[10:]).all()


def test_full_context(engine):
    tokens = np.arange(128)
    assert run(engine, tokens).shape[0] == 128
    with pytest.raises(RequestError, match="position"):
        engine.forward([1], [128], [0], [True])


def test_empty_batch(engine):
    assert engine.forward([], [], [], []).shape[0] == 0


@pytest.mark.parametrize("place", range(3), ids=["token", "position", "slot"])
def test_numbers_that_32_bits_do_not_hold(engine, place):
    """They must not wrap around to others that are valid."""
    batch = [np.array([1]), np.array([0]), np.array([0])]
    batch[place] = batch[place] + (1 << 32)
    with pytest.raises(RequestError, match="32 bits"):
        engine.forward(*batch, [True])
    assert engine.length(0) == 0


def test_flags_of_other_bytes_than_0_and_1(engine):
    """A row is counted for each flag that the engine sees, not only for those that are 1."""
    expected = engine.forward([1, 2, 3], [0, 1, 2], [0, 0, 0], [True, False, True])
    engine.truncate(0, 0)
    flags = np.array([2, 0, 255], np.uint8).view(bool)
    assert np.array_equal(engine.forward([1, 2, 3], [0, 1, 2], [0, 0, 0], flags), expected)


def test_rope_positions_as_the_positions(file, engine):
    """And others give other logits."""
    tokens, positions = np.arange(20), np.arange(20)
    expected = run(engine, tokens)
    batch = (tokens, positions, np.zeros(20, int), np.ones(20, bool))
    assert np.array_equal(engine.forward(*batch, rope_positions=np.repeat(positions[:, None], 3, 1)), expected)
    assert not np.array_equal(engine.forward(*batch, rope_positions=np.full((20, 3), 7)), expected)
    for wrong in (positions, np.zeros((20, 2)), np.full((20, 3), -1)):
        with pytest.raises(RequestError, match=r"rope_positions|RoPE position"):
            engine.forward(*batch, rope_positions=wrong)


def test_embeddings_as_the_rows_of_tokens(file, engine):
    """In place of any number as the token, which caches may take for a key."""
    tokens = np.arange(20)
    expected = run(engine, tokens)
    table = file.dequantize("token_embd.weight")
    keys = np.where(tokens % 3 == 0, -7 - tokens, tokens)
    rows = [table[token] if token % 3 == 0 else None for token in tokens]
    batch = (keys, np.arange(20), np.zeros(20, int), np.ones(20, bool))
    assert np.array_equal(engine.forward(*batch, embeddings=rows), expected)
    with pytest.raises(RequestError, match="token of batch entry 0"):
        engine.forward(*batch)
    for wrong in (rows[1:], [row if row is None else row[1:] for row in rows], [table[:2], *rows[1:]]):
        with pytest.raises(RequestError, match="embeddings: expected"):
            engine.forward(*batch, embeddings=wrong)


def test_hidden_states(file, engine):
    """After the final norm: the head's product with them is the logits."""
    tokens, want = np.arange(20), np.array([0, 1, 2, 3] * 5)
    expected = run(engine, tokens)
    states = np.full((10, file.dequantize("output_norm.weight").size), np.nan, np.float32)
    logits = engine.forward(tokens, np.arange(20), np.zeros(20, int), want, hidden=states)
    assert np.array_equal(logits, expected[want % 2 == 1])
    head = file.dequantize("token_embd.weight")
    np.testing.assert_allclose(states @ head.T, expected[want >= 2], rtol=0.05, atol=0.05)
    for wrong in (None, states[1:], states.astype(np.float64), states.T.copy().T):
        with pytest.raises(RequestError, match="hidden: expected"):
            engine.forward(tokens, np.arange(20), np.zeros(20, int), want, hidden=wrong)
    with pytest.raises(RequestError, match="want of batch entry 3"):
        engine.forward(tokens, np.arange(20), np.zeros(20, int), [0, 0, 0, 4] + [0] * 16)


def test_truncate_says_how_far_it_got(engine):
    """A cache of keys and values goes all the way, with a snapshot or without."""
    run(engine, np.arange(20))
    engine.snapshot(0)
    assert engine.truncate(0, 13) == engine.length(0) == 13
    with pytest.raises(RequestError):
        engine.snapshot(2)


@pytest.mark.parametrize("length", [-1, 21, 1 << 40])
def test_bad_truncate(engine, length):
    run(engine, np.arange(20))
    with pytest.raises((RequestError, TypeError)):
        engine.truncate(0, length)
    assert engine.length(0) == 20


@pytest.mark.parametrize(
    "settings",
    [
        {"context": 1 << 31},
        {"sequences": 0},
        {"sequences": 1 << 20},
        {"threads": 10000},
        {"kv": "int2"},
        {"isa": "sse9"},
        {"chunk": 1 << 30},
    ],
    ids=str,
)
def test_bad_settings(file, settings):
    with pytest.raises((RequestError, TypeError)):
        _core.Engine(file, **settings)


def test_over_budget_names_what_fits(file):
    with pytest.raises(MemoryBudgetError, match=r"weights .*KV cache .*scratch .*program .*would fit") as caught:
        _core.Engine(file, context=1024, kv="f32", memory=8 << 20, program=1 << 20)
    suggestion = str(caught.value).rpartition("memory=")[2].partition("MiB")[0]
    assert (
        _core.plan(file, context=1024, kv="f32", memory=int(suggestion) << 20, program=1 << 20)["peak"]
        <= int(suggestion) << 20
    )


def test_refusal_names_three_ways_that_fit(file):
    """The cheapest first: a cache of fewer bits, fewer tokens, more memory."""
    settings = {"context": 2048, "kv": "f32", "chunk": 16, "program": 1 << 20}
    generous = _core.plan(file, **settings)
    budget = generous["peak"] - generous["kv_cache"] // 2 - generous["weights"]
    with pytest.raises(MemoryBudgetError) as caught:
        _core.plan(file, memory=budget, **settings)
    ways = str(caught.value).partition("would fit: ")[2].split(", or ")
    assert len(ways) == 3
    for way in ways:
        changes = dict(part.split("=") for part in way.partition(" (")[0].split(" with "))
        changed = {name: value if name == "kv" else int(value.removesuffix("MiB")) for name, value in changes.items()}
        if "memory" in changed:
            changed["memory"] <<= 20
        changed = {**settings, "memory": budget, **changed}
        assert _core.plan(file, **changed)["peak"] <= changed["memory"], way


def test_suggested_context_fits(file):
    generous = _core.plan(file, context=1024, kv="f32", program=1 << 20, chunk=16)
    budget = generous["peak"] - generous["kv_cache"] // 2
    with pytest.raises(MemoryBudgetError) as caught:
        _core.plan(file, context=1024, kv="f32", memory=budget, program=1 << 20, chunk=16)
    context = int(str(caught.value).partition("context=")[2].split(",")[0].split()[0])
    assert 0 < context < 1024
    assert _core.plan(file, context=context, kv="f32", memory=budget, program=1 << 20, chunk=16)["peak"] <= budget


def test_file_that_shrinks(tiny_int4, tmp_path):
    """Reading past the new end would be SIGBUS."""
    path = tmp_path / "shrinking.q3e"
    path.write_bytes(tiny_int4.read_bytes())
    engine = _core.Engine(_core.ModelFile(str(path)), context=128)
    run(engine, np.arange(20))
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(TruncatedFileError):
        run(engine, np.arange(20))
    assert engine.length(0) == 0
    with pytest.raises(TruncatedFileError):
        run(engine, np.arange(20))


def test_fork(engine):
    """A child has no threads of its parent; it works alone and gets the same answer."""
    expected = run(engine, np.arange(20))
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, b"1" if (run(engine, np.arange(20)) == expected).all() else b"0")
        os._exit(0)
    os.close(write)
    assert os.read(read, 1) == b"1"
    os.close(read)
    assert os.waitpid(child, 0)[1] == 0
    assert (run(engine, np.arange(20)) == expected).all()


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


def test_forced_tier():
    for tier in _core.isa_tiers():
        assert (
            python("from qwen3edge import _core; print(_core.selected_isa())", QWEN3EDGE_ISA=tier).stdout.strip()
            == tier
        )
    refused = python("from qwen3edge import _core; _core.selected_isa()", QWEN3EDGE_ISA="sse9")
    assert "RequestError" in refused.stderr and "expected one of" in refused.stderr


def test_cores_follow_the_affinity_mask():
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "from qwen3edge import _core; print(_core.usable_cores())"
    )
    assert python(code).stdout.strip() == "1"
    assert 1 <= _core.usable_cores() <= len(os.sched_getaffinity(0))


def test_two_threads_on_one_core_are_one(tiny_q3e):
    """They would take turns, and so be slower than one. What quotas leave: tests/base/test_cores.py."""
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); import qwen3edge\n"
        f"model = qwen3edge.load({str(tiny_q3e('int4'))!r}, context=64, threads=THREADS); model.logits([1, 2, 3])\n"
        "print(model.plan.threads, len(os.listdir('/proc/self/task')))"
    )
    one, two = (python(code.replace("THREADS", threads)).stdout.split() for threads in ("1", "2"))
    assert one == two and one[0] == "1"


def test_import_is_light():
    """No torch, and fast enough for a command line: the best of five."""
    code = (
        "import time, sys; t = time.perf_counter(); import qwen3edge; "
        "print(time.perf_counter() - t, 'torch' in sys.modules)"
    )
    results = [python(code).stdout.split() for _ in range(5)]
    assert all(loaded == "False" for _, loaded in results)
    assert min(float(seconds) for seconds, _ in results) < 0.15


def test_an_observer_sees_what_the_matrices_multiply(tiny_q3e):
    """Every input of every layer, as many rows as tokens; in q8 as it was rounded. What it raises, forward raises."""
    tokens = list(range(100, 140))
    seen: dict[str, dict[tuple[str, int], np.ndarray]] = {}
    for quant in ("f32", "q8"):
        engine = _core.Engine(_core.ModelFile(str(tiny_q3e(quant))), context=64, threads=2)
        seen[quant] = {}
        before = engine.forward(tokens, range(40), [0] * 40, [True] * 40)
        engine.observe(lambda name, layer, expert, values, into=seen[quant]: into.update({(name, layer): values}))
        np.testing.assert_array_equal(engine.forward(tokens, range(40), [0] * 40, [True] * 40), before)

        def fail(*_):
            raise KeyError("seen")

        engine.observe(fail)
        with pytest.raises(KeyError, match="seen"):
            engine.forward(tokens, range(40), [0] * 40, [True] * 40)
        engine.observe(None)
        np.testing.assert_array_equal(engine.forward(tokens, range(40), [0] * 40, [True] * 40), before)
    names = ("attn_q", "attn_output", "ffn_gate", "ffn_down")
    assert set(seen["f32"]) == {(name, layer) for name in names for layer in range(4)} | {("output", -1)}
    for key, values in seen["f32"].items():
        rounded = seen["q8"][key]
        assert values.shape == rounded.shape == (40, {"attn_output": 512, "ffn_down": 768}.get(key[0], 256))
        assert 0 < np.abs(values - rounded).max() < 0.2 * np.abs(values).max(), key
        steps = np.unique(np.abs(rounded[0, :256]))
        assert len(steps) <= 128
