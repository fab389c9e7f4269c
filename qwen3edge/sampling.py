"""What the parameters of sampling may be, and are when nobody says: one table for checkpoints, files and requests.

csrc/runtime/sampling_defaults.cpp has the same advice for programs in C.
"""

from __future__ import annotations

from typing import Any

RANGES = {
    "temperature": (0.0, 100.0),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0),
    "repetition_penalty": (0.01, 100.0),
    "logit_bias": (-100.0, 100.0),  # of each token
}
"""Least and greatest. csrc/runtime/sampler.cpp holds itself to the same."""

_NEUTRAL = {"min_p": 0.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "repetition_penalty": 1.0}
ADVICE: dict[str, dict[str, Any]] = {
    "thinking": {"temperature": 0.6, "top_p": 0.95, "top_k": 20, **_NEUTRAL},
    "direct": {"temperature": 0.7, "top_p": 0.8, "top_k": 20, **_NEUTRAL},
}
"""Qwen's, by mode; generation_config.json has at most one of the two."""

MAX_TOP_K = 2**31 - 1
MAX_SEED = 2**64 - 1
MAX_CHOICE = 2**32 - 1
MAX_TOKENS = 2**31 - 1
MAX_DRAFT_TOKENS = 256  # of a step
"""Of an answer; no context is as long."""
MAX_BIASES = 1024
MAX_TOP_LOGPROBS = 20
