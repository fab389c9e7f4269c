"""What two models' logits say about the same tokens, in float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]


def log_softmax(logits: Logits) -> NDArray[np.float64]:
    """Of each row of logits [n, vocabulary]."""
    x = logits.astype(np.float64)
    x -= x.max(-1, keepdims=True)
    shifted: NDArray[np.float64] = x - np.log(np.exp(x).sum(-1, keepdims=True))
    return shifted


def kl_divergence(reference: Logits, other: Logits) -> NDArray[np.float64]:
    """KL(reference || other) of each row in nats, from logits [n, vocabulary]."""
    return log_divergence(log_softmax(reference), log_softmax(other))


def log_divergence(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    """KL(p || q) of each row, from logarithms of probabilities [n, vocabulary]."""
    divergence: NDArray[np.float64] = (np.exp(p) * (p - q)).sum(-1)
    return divergence
