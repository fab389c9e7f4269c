"""Ways to load a model through the C API, and what is told meanwhile."""

import ctypes
from ctypes import byref, c_void_p, sizeof

import pytest

import qwen3edge
from qwen3edge.convert import convert
from tests.capi.asking import answered
from tests.capi.library import BAD_ARGUMENT, CANCELLED, CORRUPT_FILE, ON_PROGRESS, CallError, Metrics

HI = [{"role": "user", "content": "hi"}]


class Told:
    """A callback that notes what it is told, and ends the load after so many calls."""

    def __init__(self, most=10**9):
        self.seen = []
        self.callback = ON_PROGRESS(self._tell)
        self._most = most

    def _tell(self, _, done, of):
        self.seen.append((done, of))
        return int(len(self.seen) >= self._most)


def settings_with(api, told, **values):
    handle = api.made("settings", context=64, threads=1, **values)
    api.settings_set_progress(handle, told.callback, None)
    return handle


def load_memory(api, data, settings=None):
    model = c_void_p()
    api.load_memory(data, len(data), settings, byref(model))
    return model


def test_progress_of_a_checked_load(api, tiny_int4):
    """Every byte of the tensors once; a callback may end it."""
    told = Told()
    settings, model = settings_with(api, told, verify=1), c_void_p()
    api.__getattr__("load")(str(tiny_int4).encode(), settings, byref(model))
    dones = [done for done, _ in told.seen]
    whole = told.seen[-1][1]
    assert dones == sorted(set(dones)) and dones[-1] == whole and {of for _, of in told.seen} == {whole}
    assert 0.5 * tiny_int4.stat().st_size < whole < tiny_int4.stat().st_size
    api.library.q3e_model_free(model)
    ended = Told(2)
    api.settings_set_progress(settings, ended.callback, None)
    with pytest.raises(CallError, match="ended by its callback") as raised:
        api.__getattr__("load")(str(tiny_int4).encode(), settings, byref(model))
    assert raised.value.status == CANCELLED and len(ended.seen) == 2
    api.library.q3e_settings_free(settings)


def test_from_memory(api, both, tiny_int4, seed):
    """The same answers as from the file; the bytes may go."""
    data = tiny_int4.read_bytes()
    told = Told()
    settings = settings_with(api, told)
    held = ctypes.create_string_buffer(data, len(data))
    model = load_memory(api, held, settings)
    ctypes.memset(held, 0, len(data))
    assert told.seen[-1] == (len(data), len(data))
    expected = answered(api, both.c, HI, seed=seed, max_tokens=20)
    assert answered(api, model, HI, seed=seed, max_tokens=20).tokens == expected.tokens
    api.library.q3e_model_free(model)
    api.library.q3e_settings_free(settings)


def test_memory_that_is_no_model(api, tiny_int4):
    data = bytearray(tiny_int4.read_bytes())
    data[len(data) // 2] ^= 1
    settings = settings_with(api, Told(), verify=1)
    with pytest.raises(CallError) as raised:
        load_memory(api, bytes(data), settings)
    assert raised.value.status == CORRUPT_FILE
    api.library.q3e_settings_free(settings)
    with pytest.raises(CallError):
        load_memory(api, b"x" * 100)
    for nothing in (None, b""):
        with pytest.raises(CallError, match="expected a file's bytes") as raised:
            api.load_memory(nothing, 0, None, byref(c_void_p()))
        assert raised.value.status == BAD_ARGUMENT


def test_drafts_change_no_answer(api, both, tiny_int4, seed):
    """Of an answer that repeats its prompt some are kept; the plan counts what they take."""
    model = api.load(tiny_int4, context=1024, threads=1, draft_tokens=8)
    sums = [{"role": "user", "content": "What is 12 + 7? " * 8}]
    for messages in (sums, [5, 6, 7, 8] * 40):
        options = {"seed": seed, "max_tokens": 120, "ignore_end": 1, "sampling": {"temperature": 0}}
        assert answered(api, model, messages, **options).tokens == answered(api, both.c, messages, **options).tokens
    found = Metrics()
    api.model_metrics(model, byref(found), sizeof(found))
    assert 0 < found.accepted_draft_tokens <= found.drafted_tokens
    api.model_metrics(both.c, byref(found), sizeof(found))
    assert found.drafted_tokens == found.accepted_draft_tokens == 0
    api.library.q3e_model_free(model)
    assert api.plan(tiny_int4, draft_tokens=8).peak > api.plan(tiny_int4).peak
    with pytest.raises(CallError, match="draft_tokens: expected 0 to 256, found 257"):
        api.load(tiny_int4, draft_tokens=257)


@pytest.mark.parametrize("sessions", [1, 3])
def test_a_draft_model_changes_no_answer(api, both, tiny_int4, tiny_q3e, seed, sessions):
    """Greedy and drawn, some of its tokens kept: how many are asked for depends on the clock. The plan tells what it
    takes, within the same budget."""
    draft = str(tiny_q3e("int8")).encode()
    model = api.load(tiny_int4, context=1024, threads=1, sessions=sessions, draft=draft)
    for sampling in ({"temperature": 0}, {"temperature": 0.7, "top_k": 20}):
        options = {"seed": seed, "max_tokens": 100, "ignore_end": 1, "sampling": sampling}
        assert answered(api, model, HI, **options).tokens == answered(api, both.c, HI, **options).tokens
    found = Metrics()
    api.model_metrics(model, byref(found), sizeof(found))
    assert 0 < found.accepted_draft_tokens <= found.drafted_tokens
    api.library.q3e_model_free(model)
    settings = {"context": 1024, "threads": 1, "sessions": sessions}
    alone, plan = api.plan(tiny_int4, **settings), api.plan(tiny_int4, **settings, draft=draft)
    assert alone.draft == 0 and plan.draft > api.plan(tiny_q3e("int8"), **settings).weights
    for each in (alone, plan):
        parts = each.weights + each.buffers + each.kv_cache + each.scratch + each.program + each.draft
        assert each.peak == parts <= each.budget
    assert plan.peak >= alone.peak + plan.draft
    own = qwen3edge.plan(tiny_int4, context=1024, threads=1, sequences=sessions, draft=draft.decode())
    assert plan.draft == own.draft, "C and Python count alike"


def test_a_draft_model_that_does_not_fit(api, tiny_int4, tiny_q3e, tiny_hybrid_path, tmp_path):
    draft, hybrid = str(tiny_q3e("int8")).encode(), tmp_path / "hybrid.q3e"
    convert(tiny_hybrid_path, hybrid, "int4")
    settings = {"context": 256, "threads": 1}
    for model, drafts, changed, words in (
        (tiny_int4, draft, {"draft_tokens": 0}, "draft_tokens: expected at least 1 with a draft model, found 0"),
        (tiny_int4, draft, {"memory": 1 << 20}, "memory: expected at most 1.0 MiB"),
        (tiny_int4, str(hybrid).encode(), {}, "draft: expected a model (with the same tokens|whose cache can be cut)"),
        (hybrid, str(hybrid).encode(), {}, "draft: expected a model whose cache can be cut"),
        (tiny_int4, b"", {}, "draft: expected a path, found an empty text"),
        (tiny_int4, bytes(tmp_path / "none.q3e"), {}, "none.q3e"),
    ):
        for call in (api.plan, api.load):
            with pytest.raises(CallError, match=words):
                call(model, **settings, **changed, draft=drafts)
    assert api.plan(tiny_int4, **settings, draft=None).draft == 0
