"""Kernels in Triton's interpreter: a pytest process of its own, in which nothing can be compiled."""

import os
from importlib.util import find_spec

import pytest

# Said once here, as triton 3.9 warns of it otherwise; every launch of ours names it.
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")
MISSING = find_spec("torch") is None or find_spec("triton") is None


def pytest_configure():
    if os.environ.get("TRITON_INTERPRET") != "1":
        raise pytest.UsageError(
            "tests/kernels needs the interpreter: TRITON_INTERPRET=1 python -m pytest tests/kernels"
        )


def pytest_pycollect_makemodule(module_path, parent):
    if MISSING:
        pytest.skip("torch and triton are not installed (there are no wheels of triton for this platform)")


if os.environ.get("TRITON_INTERPRET") == "1" and not MISSING:
    from tests.kernels import bfloat16, maxima, patch_once, quick_types

    bfloat16.install()
    maxima.install()
    patch_once.install()
    quick_types.install()
