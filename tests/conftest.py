"""A new seed for each test run, printed when a test fails; QWEN3EDGE_SEED repeats one."""

import os
import secrets

import pytest


@pytest.fixture
def seed() -> int:
    value = int(os.environ.get("QWEN3EDGE_SEED") or secrets.randbits(32))
    print(f"QWEN3EDGE_SEED={value}")
    return value
