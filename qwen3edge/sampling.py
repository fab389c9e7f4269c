"""What the parameters of sampling may be: one table for checkpoints, files and requests."""

from __future__ import annotations

RANGES = {
    "temperature": (0.0, 100.0),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "presence_penalty": (-2.0, 2.0),
    "repetition_penalty": (0.01, 100.0),
}
"""Least and greatest."""

MAX_TOP_K = 2**31 - 1
MAX_SEED = 2**64 - 1
