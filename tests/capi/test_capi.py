"""The C API's calls as a host makes them, through its shared library."""

import ctypes
import os
import signal
import threading
import time
from ctypes import POINTER, Structure, byref, c_char_p, c_float, c_int, c_int32, c_size_t, c_uint32, c_uint64, c_void_p

import numpy as np
import pytest

from qwen3edge import _core
from qwen3edge.convert import convert
from qwen3edge.generation.sampler import SamplingDefaults
from qwen3edge.sampling import RANGES

OK, BAD_ARGUMENT, CORRUPT_FILE, BAD_FILE, CANCELLED = 0, 1, 5, 6, 11
TOKENS = np.arange(100, 160, dtype=np.int32)


class Settings(Structure):
    _fields_ = [
        ("context", c_uint32),
        ("sessions", c_uint32),
        ("threads", c_uint32),
        ("kv", c_int),
        ("memory", c_uint64),
        ("min_expert_share", c_float),
        ("without_io_uring", c_uint32),
        ("verify", c_uint32),
    ]


class Sampling(Structure):
    _fields_ = [
        ("repetition_penalty", c_float),
        ("frequency_penalty", c_float),
        ("presence_penalty", c_float),
        ("temperature", c_float),
        ("top_k", c_uint32),
        ("top_p", c_float),
        ("min_p", c_float),
        ("seed", c_uint64),
    ]


class Plan(Structure):
    _fields_ = [
        (name, c_uint64)
        for name in ("weights", "buffers", "kv_cache", "scratch", "program", "peak", "budget", "streamed")
    ]


@pytest.fixture(scope="module")
def library(c_build):
    lib = ctypes.CDLL(str(c_build / "qwen3edge" / "libqwen3edge.so"))
    lib.q3e_default_settings.restype = Settings
    lib.q3e_default_sampling.restype = Sampling
    lib.q3e_model_sampling.argtypes = [c_void_p, c_int, POINTER(Sampling)]
    lib.q3e_error_text.restype = c_char_p
    lib.q3e_plan.argtypes = [c_char_p, POINTER(Settings), POINTER(Plan)]
    lib.q3e_load.argtypes = [c_char_p, POINTER(Settings), POINTER(c_void_p)]
    lib.q3e_session_new.argtypes = [c_void_p, POINTER(Sampling), POINTER(c_void_p)]
    lib.q3e_forward.argtypes = [c_void_p, POINTER(c_int32), c_size_t, POINTER(c_float)]
    lib.q3e_session_truncate.argtypes = [c_void_p, c_uint32]
    lib.q3e_sample.argtypes = [c_void_p, POINTER(c_int32)]
    lib.q3e_vocabulary.restype = lib.q3e_session_length.restype = c_uint32
    for name in ("model_free", "vocabulary", "session_free", "session_length", "session_cancel", "session_resume"):
        getattr(lib, f"q3e_{name}").argtypes = [c_void_p]
    return lib


class Host:
    """One model and one session of it."""

    def __init__(self, library, path, **changes):
        self.library, self.model, self.session = library, c_void_p(), c_void_p()
        settings = library.q3e_default_settings()
        for name, value in {"context": 2048, "threads": 2, **changes}.items():
            setattr(settings, name, value)
        self.status = library.q3e_load(os.fsencode(path), byref(settings), byref(self.model))
        if self.status == OK:
            assert library.q3e_session_new(self.model, byref(library.q3e_default_sampling()), byref(self.session)) == OK
            self.logits = np.empty(library.q3e_vocabulary(self.model), np.float32)

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
    settings, plan = library.q3e_default_settings(), Plan()
    settings.context, settings.threads = 2048, 2
    assert library.q3e_plan(os.fsencode(path), byref(settings), byref(plan)) == OK
    for mebibytes in range(plan.program >> 20, plan.peak >> 20):
        settings.memory = mebibytes << 20
        if library.q3e_plan(os.fsencode(path), byref(settings), byref(plan)) == OK:
            assert plan.streamed > 0
            return settings.memory + (1 << 20)
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
    for path, status in ((tiny_int4, OK), (damaged, CORRUPT_FILE)):
        host = Host(library, path, verify=1)
        assert host.status == status
        if status == OK:
            host.free()
        else:
            assert b"checksum" in library.q3e_error_text()


@pytest.fixture
def stored(library, tmp_path, tiny_model_path, monkeypatch):
    """stored(keys): a host of a model whose file has these values alone under `qwen3edge.sampling.`, and its path."""
    hosts = []

    def opened(keys):
        values = {f"qwen3edge.sampling.{name}": value for name, value in keys.items()}
        monkeypatch.setattr("qwen3edge.convert.tokenizer.sampling_metadata", lambda *_: values)
        convert(tiny_model_path, tmp_path / f"{len(hosts)}.q3e", "int4")
        hosts.append(Host(library, tmp_path / f"{len(hosts)}.q3e", context=64))
        return hosts[-1], tmp_path / f"{len(hosts) - 1}.q3e"

    yield opened
    for host in hosts:
        host.free()


@pytest.mark.parametrize("temperature", [0, 100])
def test_truncated_tokens_are_not_penalized_nor_their_draws_gone(library, host, temperature):
    """With penalties that no token outlives: a session that forgot its answer gives the same one again."""
    sampling = library.q3e_default_sampling()
    sampling.temperature, sampling.repetition_penalty, sampling.presence_penalty = temperature, 50, 2
    sampling.frequency_penalty, sampling.top_k, sampling.top_p, sampling.seed = 0.5, 0, 1, 12345
    library.q3e_session_free(host.session)
    assert library.q3e_session_new(host.model, byref(sampling), byref(host.session)) == OK

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
        host, path = stored(keys)
        expected = SamplingDefaults.from_metadata(_core.ModelFile(str(path)))
        for thinking in (True, False):
            found = Sampling(seed=5)
            assert library.q3e_model_sampling(host.model, thinking, byref(found)) == OK
            for name, value in expected.choose(thinking).numbers.items():
                assert getattr(found, name) == np.float32(value), (keys, thinking, name)
            assert found.seed == 0
    default, file = library.q3e_default_sampling(), SamplingDefaults()
    assert {name: getattr(default, name) for name in file.direct.numbers} == {
        name: np.float32(value) for name, value in file.direct.numbers.items()
    }


def test_sampling_that_no_sampler_takes(library, stored):
    found = Sampling()
    for keys, named in (
        ({"direct.top_p": 1.5}, b"direct.top_p: expected"),
        ({"direct.temperature": float("nan")}, b"direct.temperature: expected"),
        ({"direct.frequency_penalty": 2.5}, b"direct.frequency_penalty: expected"),
        ({"direct.top_k": 20.0}, b"direct.top_k"),
    ):
        host, _ = stored(keys)
        assert library.q3e_model_sampling(host.model, 0, byref(found)) == BAD_FILE
        assert named in library.q3e_error_text()
        assert library.q3e_model_sampling(host.model, 1, byref(found)) == OK
    for model, place in ((None, byref(found)), (host.model, None)):
        assert library.q3e_model_sampling(model, 0, place) == BAD_ARGUMENT


@pytest.mark.parametrize("name", sorted(RANGES.keys() - {"logit_bias"}))
def test_parameters_out_of_range(library, host, name):
    """With the range, as in Python."""
    library.q3e_session_free(host.session)
    for limit, away in zip(RANGES[name], (-1, 1), strict=True):
        sampling, session = library.q3e_default_sampling(), c_void_p()
        setattr(sampling, name, limit)
        assert library.q3e_session_new(host.model, byref(sampling), byref(session)) == OK
        library.q3e_session_free(session)
        setattr(sampling, name, limit + 0.01 * away)
        assert library.q3e_session_new(host.model, byref(sampling), byref(session)) == BAD_ARGUMENT
        low, high = (f"{float(np.float32(each)):f}" for each in RANGES[name])
        assert f"{name}: expected {low} to {high}, found" in library.q3e_error_text().decode()
    host.session = None


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
    asked, plan = library.q3e_default_settings(), Plan()
    for name, value in settings.items():
        setattr(asked, name, value)
    assert library.q3e_plan(os.fsencode(tiny_int4), byref(asked), byref(plan)) == OK
    budget = plan.peak - int((1 - kept) * plan.kv_cache)
    first = Host(library, tiny_int4, memory=budget, **settings)
    assert first.status == OK, library.q3e_error_text()
    sessions = [first.session] + [c_void_p() for _ in range(3)]
    for session in sessions[1:]:
        assert library.q3e_session_new(first.model, byref(library.q3e_default_sampling()), byref(session)) == OK
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
    assert (
        library.q3e_session_new(first.model, byref(library.q3e_default_sampling()), byref(c_void_p())) == BAD_ARGUMENT
    )
    for session in sessions[1:]:
        library.q3e_session_free(session)
    first.free()
