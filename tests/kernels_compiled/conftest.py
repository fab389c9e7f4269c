"""Kernels compiled for GPUs without one: a pytest process of its own, as the interpreter's cannot compile."""

import contextlib
import fcntl
import os
from importlib.util import find_spec

import pytest

# Said once here, as triton 3.9 warns of it otherwise; every launch of ours names it.
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")
MISSING = find_spec("torch") is None or find_spec("triton") is None


@pytest.fixture(scope="session")
def compiles_alone(tmp_path_factory):
    """compiles_alone(): a lock between workers for what compiles the same. The second finds it in Triton's cache."""

    @contextlib.contextmanager
    def held():
        with (tmp_path_factory.getbasetemp().parent / "compiler.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    return held


def pytest_configure():
    if os.environ.get("TRITON_INTERPRET") == "1":
        raise pytest.UsageError("tests/kernels_compiled compiles: run it without TRITON_INTERPRET=1")


def pytest_pycollect_makemodule(module_path, parent):
    if MISSING:
        pytest.skip("torch and triton are not installed (there are no wheels of triton for this platform)")
