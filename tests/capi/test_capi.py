"""The C API's calls as a host makes them, through its shared library."""

import ctypes
import os
import signal
import threading
import time
from ctypes import POINTER, byref, c_float, c_int32, c_void_p

import numpy as np
import pytest

from qwen3edge import _core
from qwen3edge.convert import convert
from qwen3edge.generation.sampler import SamplingDefaults
from qwen3edge.sampling import RANGES
from tests.capi.library import BAD_ARGUMENT, BAD_FILE, CANCELLED, CORRUPT_FILE, OK, Api, CallError

TOKENS = np.arange(100, 160, dtype=np.int32)


class Host:
    """One model and one session of it."""

    def __init__(self, library, path, **changes):
        self.library, self.api = library, Api(library)
        self.model = self.api.load(path, **{"context": 2048, "threads": 2, "texts": 0, **changes})
        self.session = self.new_session()
        self.logits = np.empty(library.q3e_vocabulary(self.model), np.float32)

    def new_session(self, seed=0, **sampling):
        handle = self.api.made("sampling", **sampling)
        try:
            return self.api.made("session", self.model, handle, seed)
        finally:
            self.library.q3e_sampling_free(handle)

    def forward(self, tokens=TOKENS):
        tokens = np.ascontiguousarray(tokens, np.int32)
        pointer = tokens.ctypes.data_as(POINTER(c_int32))
        return self.library.q3e_forward(
            self.session, pointer, len(tokens), self.logits.ctypes.data_as(POINTER(c_float))
        )

    @property
    def length(self):
        return self.library.q3e_session_length(self.session)

    def free(self):
        self.library.q3e_session_free(self.session)
        self.library.q3e_model_free(self.model)


@pytest.fixture
def host(library, tiny_int4):
    opened = Host(library, tiny_int4)
    yield opened
    opened.free()


@pytest.fixture
def expected(tiny_int4):
    engine = _core.Engine(_core.ModelFile(str(tiny_int4)), context=2048)
    n = len(TOKENS)
    return engine.forward(TOKENS, np.arange(n), np.zeros(n, int), np.arange(n) == n - 1)[0]


def test_cancel_stays_until_resume(library, host, expected):
    library.q3e_session_cancel(host.session)
    for _ in range(2):
        assert host.forward() == CANCELLED
        assert b"cancelled" in library.q3e_error_text()
        assert host.length == 0
    library.q3e_session_resume(host.session)
    assert host.forward() == OK
    assert (host.logits == expected).all()
    library.q3e_session_cancel(None)
    library.q3e_session_resume(None)


def test_cancel_from_another_thread(library, host, expected):
    """ctypes lets go of the GIL: the other thread runs while q3e_forward does."""
    calls = 0
    done = threading.Event()

    def cancel():
        while calls == 0 and not done.is_set():
            time.sleep(0.001)
        time.sleep(0.01)
        library.q3e_session_cancel(host.session)

    thread = threading.Thread(target=cancel)
    thread.start()
    for _ in range(1000):
        calls += 1
        library.q3e_session_truncate(host.session, 0)
        if (status := host.forward(np.full(2000, 5))) != OK:
            break
    done.set()
    thread.join()
    assert status == CANCELLED
    assert host.length == 0
    library.q3e_session_resume(host.session)
    assert host.forward() == OK
    assert (host.logits == expected).all()


def streaming_budget(library, path):
    api, settings = Api(library), {"context": 2048, "threads": 2, "texts": 0}
    plan = api.plan(path, **settings)
    for mebibytes in range(plan.program >> 20, plan.peak >> 20):
        try:
            assert api.plan(path, memory=mebibytes << 20, **settings).streamed > 0
        except CallError:
            continue
        return (mebibytes + 1) << 20
    raise AssertionError("expected a budget that fits")


def child(run):
    """The exit status of a child that runs this and then leaves through the C library's exit."""
    pid = os.fork()
    if pid == 0:
        try:
            code = 0 if run() else 3
        except BaseException:
            code = 4
        if code:
            os._exit(code)
        ctypes.CDLL(None).exit(0)  # atexit handlers and destructors of the library
    for _ in range(6000):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "hung"


@pytest.mark.parametrize("streams", [False, True], ids=["resident", "streamed"])
def test_a_forked_child_uses_and_frees(library, tiny_int4, expected, streams):
    host = Host(library, tiny_int4, memory=streaming_budget(library, tiny_int4) if streams else 0)
    assert host.forward() == OK

    def uses():
        host.library.q3e_session_truncate(host.session, 0)
        right = host.forward() == OK and (host.logits == expected).all()
        host.free()
        return right

    assert child(lambda: True) == 0
    assert child(lambda: host.free() is None) == 0
    assert child(uses) == 0
    host.free()


def test_without_io_uring_the_same_bits(library, tiny_int4, expected):
    host = Host(library, tiny_int4, memory=streaming_budget(library, tiny_int4), without_io_uring=1)
    assert host.forward() == OK
    assert (host.logits == expected).all()
    host.free()


def test_verify(library, tiny_int4, tmp_path):
    damaged = tmp_path / "damaged.q3e"
    data = bytearray(tiny_int4.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    Host(library, tiny_int4, verify=1).free()
    with pytest.raises(CallError, match="checksum") as raised:
        Host(library, damaged, verify=1)
    assert raised.value.status == CORRUPT_FILE


@pytest.fixture
def stored(library, tmp_path, tiny_model_path, monkeypatch):
    """stored(keys): a model whose file has these values alone under `qwen3edge.sampling.`, and its path."""
    models = []

    def opened(keys):
        values = {f"qwen3edge.sampling.{name}": value for name, value in keys.items()}
        monkeypatch.setattr("qwen3edge.convert.tokenizer.sampling_metadata", lambda *_: values)
        path = tmp_path / f"{len(models)}.q3e"
        convert(tiny_model_path, path, "int4")
        models.append(Api(library).load(path, context=64, texts=0))
        return models[-1], path

    yield opened
    for model in models:
        library.q3e_model_free(model)


@pytest.mark.parametrize("temperature", [0, 100])
def test_truncated_tokens_are_not_penalized_nor_their_draws_gone(library, host, temperature):
    """With penalties that no token outlives: a session that forgot its answer gives the same one again."""
    library.q3e_session_free(host.session)
    host.session = host.new_session(
        12345,
        temperature=temperature,
        repetition_penalty=50,
        presence_penalty=2,
        frequency_penalty=0.5,
        top_k=0,
        top_p=1,
    )

    def answer():
        found = []
        for _ in range(5):
            token, again = c_int32(), c_int32()
            assert library.q3e_sample(host.session, byref(token)) == OK
            assert library.q3e_sample(host.session, byref(again)) == OK
            assert again.value == token.value  # until it is appended
            found.append(token.value)
            assert host.forward([token.value]) == OK
        return found

    assert host.forward() == OK
    first = answer()
    assert len(set(first)) == 5
    assert library.q3e_session_truncate(host.session, len(TOKENS) - 1) == OK
    assert library.q3e_sample(host.session, byref(c_int32())) == BAD_ARGUMENT  # its logits are gone
    assert host.forward(TOKENS[-1:]) == OK
    assert answer() == first
    library.q3e_session_cancel(host.session)  # a failed call leaves the penalties as they were
    assert host.forward([1]) == CANCELLED
    library.q3e_session_resume(host.session)
    assert library.q3e_session_truncate(host.session, len(TOKENS) - 1) == OK
    assert host.forward(TOKENS[-1:]) == OK
    assert answer() == first


def test_sampling_of_the_model(library, stored):
    """What a file says and what it does not, as in Python."""
    every = {
        "temperature": 0.3,
        "top_k": 7,
        "top_p": 0.5,
        "min_p": 0.25,
        "presence_penalty": -1.5,
        "frequency_penalty": 0.5,
    }
    for keys in (
        {},
        {"direct.repetition_penalty": 1.1},
        {f"direct.{name}": value for name, value in every.items()},
        {f"thinking.{name}": value for name, value in every.items()},
        {"thinking.temperature": 0.0, "direct.temperature": 0.0},
    ):
        model, path = stored(keys)
        expected = SamplingDefaults.from_metadata(_core.ModelFile(str(path)))
        for thinking in (True, False):
            found = Api(library).model_sampling(model, thinking)
            for name, value in expected.choose(thinking).numbers.items():
                assert getattr(found, name) == np.float32(value), (keys, thinking, name)


def test_sampling_that_no_sampler_takes(library, stored):
    for keys, named in (
        ({"direct.top_p": 1.5}, "direct.top_p: expected"),
        ({"direct.temperature": float("nan")}, "direct.temperature: expected"),
        ({"direct.frequency_penalty": 2.5}, "direct.frequency_penalty: expected"),
        ({"direct.top_k": 20.0}, "direct.top_k"),
    ):
        model, session, api = stored(keys)[0], c_void_p(), Api(library)
        assert library.q3e_session_new(model, None, 0, byref(session)) == BAD_FILE and not session
        with pytest.raises(CallError, match=named) as raised:
            api.model_sampling(model, 0)
        assert raised.value.status == BAD_FILE
        assert api.model_sampling(model, 1).top_k == 20
    with pytest.raises(CallError) as raised:
        api.model_sampling(None, 0)
    assert raised.value.status == BAD_ARGUMENT


@pytest.mark.parametrize("name", sorted(RANGES.keys() - {"logit_bias"}))
def test_parameters_out_of_range(library, name):
    """With the range, as in Python."""
    sampling = Api(library).made("sampling")
    change = getattr(library, f"q3e_sampling_set_{name}")
    for limit, away in zip(RANGES[name], (-1, 1), strict=True):
        assert change(sampling, limit) == OK
        assert change(sampling, limit + 0.01 * away) == BAD_ARGUMENT
        low, high = (f"{float(np.float32(each)):f}" for each in RANGES[name])
        assert f"{name}: expected {low} to {high}, found" in library.q3e_error_text().decode()
    assert change(None, 1) == BAD_ARGUMENT
    library.q3e_sampling_free(sampling)


@pytest.mark.parametrize("kept", [1.0, 0.4])
def test_sessions_of_several_threads(library, tiny_int4, kept, seed):
    """Computed together, each as alone; on few pages those that wait for their owner give theirs up meanwhile."""
    alone = Host(library, tiny_int4, context=512, threads=1)
    rng = np.random.default_rng(seed)
    beginning = rng.integers(0, 500, 100)
    texts = [np.concatenate([beginning[: 50 * (n % 3)], rng.integers(0, 500, 250)]) for n in range(4)]
    parts = [np.split(text, np.sort(rng.integers(1, len(text) - 1, 12))) for text in texts]
    expected = []
    for own in parts:
        library.q3e_session_truncate(alone.session, 0)
        expected.append([])
        for part in own:
            assert len(part) == 0 or alone.forward(part) == OK
            expected[-1].append(alone.logits.copy())
    alone.free()
    settings = {"context": 512, "sessions": 4, "threads": 2}
    plan = Api(library).plan(tiny_int4, texts=0, **settings)
    first = Host(library, tiny_int4, memory=plan.peak - int((1 - kept) * plan.kv_cache), **settings)
    sessions = [first.session] + [first.new_session() for _ in range(3)]
    wrong: list[str] = []

    def work(number):
        logits = np.empty_like(first.logits)
        own = np.random.default_rng([seed, number])
        for place, part in enumerate(parts[number]):
            if len(part) == 0:
                continue
            tokens = np.ascontiguousarray(part, np.int32)
            call = (sessions[number], tokens.ctypes.data_as(POINTER(c_int32)), len(tokens))
            if own.integers(3) == 0:
                library.q3e_session_cancel(sessions[number])
                if library.q3e_forward(*call, None) != CANCELLED:
                    wrong.append("not cancelled")
                library.q3e_session_resume(sessions[number])
            if library.q3e_forward(*call, logits.ctypes.data_as(POINTER(c_float))) != OK:
                wrong.append(library.q3e_error_text().decode())
            if not np.array_equal(logits, expected[number][place]):
                wrong.append(f"session {number}, part {place}")

    threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not wrong and not any(thread.is_alive() for thread in threads)
    assert [library.q3e_session_length(session) for session in sessions] == [len(text) for text in texts]
    assert library.q3e_session_new(first.model, None, 0, byref(c_void_p())) == BAD_ARGUMENT
    for session in sessions[1:]:
        library.q3e_session_free(session)
    first.free()
