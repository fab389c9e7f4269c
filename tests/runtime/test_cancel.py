"""Another thread ends a forward: within a layer, the tokens of the call taken back, and the next answer is right."""

import threading

import numpy as np
import pytest

from qwen3edge import _core
from qwen3edge.errors import CancelledError
from qwen3edge.runtime.engine import Engine
from tests.checkpoints import run

TOKENS = np.arange(100, 160)
NAMES = ("attn_q", "attn_output", "ffn_gate", "ffn_down")


def opened(path, **settings):
    return _core.Engine(_core.ModelFile(str(path)), **{"context": 256, "sequences": 2, "chunk": 64, **settings})


def forward(engine, tokens, start=0, *, cancel):
    n = len(tokens)
    return engine.forward(tokens, np.arange(start, start + n), np.zeros(n, int), np.ones(n, bool), cancel=cancel)


def streamed(path):
    """The least budget with which the file still loads: all that can be is streamed, experts come through slots."""
    file = _core.ModelFile(str(path))
    for mebibytes in range(1, 200):
        try:
            plan = _core.plan(file, context=256, sequences=2, chunk=64, program=1 << 20, memory=mebibytes << 20)
        except Exception:
            continue
        assert plan["streamed_layers"] or plan["expert_slots"]
        return {"memory": mebibytes << 20, "program": 1 << 20}
    raise AssertionError("expected a budget that fits")


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("layer", range(4))
def test_a_forward_ends_within_a_layer(tiny_int4, threads, name, layer):
    """The flag is set in the middle of a layer, from what looks at its matrices."""
    engine, cancel, seen = opened(tiny_int4, threads=threads), _core.CancelFlag(), []
    expected = forward(engine, TOKENS, cancel=cancel)

    def look(tensor, at, *_):
        seen.append(at)
        if (tensor, at) == (name, layer):
            cancel.set()

    engine.observe(look)
    if layer == 3 and name.startswith("ffn"):  # too late: no layer follows
        assert (forward(engine, TOKENS, cancel=cancel) == expected).all()
        return
    with pytest.raises(CancelledError, match="taken back"):
        forward(engine, TOKENS, cancel=cancel)
    assert max(seen) <= layer + 1
    assert engine.length(0) == 0
    engine.observe(None)
    cancel.clear()
    assert (forward(engine, TOKENS, cancel=cancel) == expected).all()


@pytest.mark.parametrize("model", ["dense", "experts"])
@pytest.mark.parametrize("threads", [1, 2])
def test_streamed_weights_are_right_after_it(tiny_int4, tiny_moe_path, tmp_path, model, threads, seed):
    """Reads that were under way belong to no later pass."""
    path = tiny_int4
    if model == "experts":
        from qwen3edge.convert import convert  # noqa: PLC0415

        path = tmp_path / "experts.q3e"
        convert(tiny_moe_path, path, "int4")
    engine, cancel, random = (
        opened(path, threads=threads, **streamed(path)),
        _core.CancelFlag(),
        np.random.default_rng(seed),
    )
    expected = run(engine, TOKENS)
    for _ in range(20):
        left = int(random.integers(0, 20))

        def look(*_):
            nonlocal left
            left -= 1
            if left == 0:
                cancel.set()

        engine.observe(look)
        tokens = TOKENS[: random.integers(1, len(TOKENS))]
        try:
            got = forward(engine, tokens, cancel=cancel)
            assert (got == expected[: len(tokens)]).all()
        except CancelledError:
            assert engine.length(0) == 0
        cancel.clear()
        engine.observe(None)
        assert (run(engine, TOKENS) == expected).all()


def test_earlier_tokens_stay(tiny_int4):
    engine, cancel = opened(tiny_int4), _core.CancelFlag()
    expected = run(engine, TOKENS)
    engine.truncate(0, 30)
    cancel.set()
    with pytest.raises(CancelledError):
        forward(engine, TOKENS[30:], 30, cancel=cancel)
    assert engine.length(0) == 30
    cancel.clear()
    assert (forward(engine, TOKENS[30:], 30, cancel=cancel) == expected[30:]).all()
    assert (run(engine, TOKENS) == expected).all()


def test_from_another_thread(tiny_q3e):
    """A long prompt, in one call of many chunks, that would take seconds."""
    core = opened(tiny_q3e("f32"), context=2048, chunk=16, threads=2)
    engine, cancel = Engine(core, core.plan["context"]), _core.CancelFlag()
    begun = threading.Event()
    threading.Thread(target=lambda: (begun.wait(), cancel.set()), daemon=True).start()
    core.observe(lambda *_: begun.set())
    with pytest.raises(CancelledError):
        for _ in range(100):  # a machine so fast that one is over before the flag is set
            engine.truncate(0, 0)
            engine.extend(0, [5] * 2000, logits=False, cancel=cancel)
    assert engine.length(0) == 0


def test_only_the_call_that_was_given_the_flag(tiny_int4):
    engine, cancel = opened(tiny_int4), _core.CancelFlag()
    cancel.set()
    run(engine, TOKENS)
    assert engine.length(0) == len(TOKENS)
    forward(engine, TOKENS, cancel=_core.CancelFlag())


def test_an_interrupt_while_arguments_are_converted(tiny_int4):
    """Ctrl-C may come anywhere, and is never taken for arguments of a wrong type."""

    class Interrupted:
        def __array__(self, dtype=None, copy=None):
            raise KeyboardInterrupt

    engine = _core.Engine(_core.ModelFile(str(tiny_int4)), context=64)
    good = [[5], [0], [0], [True]]
    for i in range(4):
        with pytest.raises(KeyboardInterrupt):
            engine.forward(*good[:i], Interrupted(), *good[i + 1 :])
    assert engine.length(0) == 0
    assert engine.forward(*good).shape[0] == 1
