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

OK, BAD_ARGUMENT, CORRUPT_FILE, CANCELLED = 0, 1, 5, 11
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
    lib.q3e_error_text.restype = c_char_p
    lib.q3e_plan.argtypes = [c_char_p, POINTER(Settings), POINTER(Plan)]
    lib.q3e_load.argtypes = [c_char_p, POINTER(Settings), POINTER(c_void_p)]
    lib.q3e_session_new.argtypes = [c_void_p, POINTER(Sampling), POINTER(c_void_p)]
    lib.q3e_forward.argtypes = [c_void_p, POINTER(c_int32), c_size_t, POINTER(c_float)]
    lib.q3e_session_truncate.argtypes = [c_void_p, c_uint32]
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
    for mebibytes in range(1, 4000):
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
