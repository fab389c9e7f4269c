"""Sampling in plain torch, by sorting: what csrc/runtime/sampler.cpp does with one row, without penalties."""

import torch

_MASK = 2**64 - 1


def uniform(seed: int, draws: int) -> float:
    """splitmix64, 53 bits."""
    z = (seed + (draws + 1) * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((z ^ (z >> 31)) >> 11) * 2.0**-53


def kept(
    logits: torch.Tensor, temperature: float, top_k: int, top_p: float, min_p: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens that one can be drawn from, best first, and their weights relative to the best, float64."""
    values = logits.double()
    tokens = torch.argsort(torch.where(values.isnan(), -torch.inf, values), descending=True, stable=True)
    tokens = tokens[values[tokens] > -torch.inf]
    tokens = tokens[: 1 if temperature == 0 else top_k or None]
    if temperature == 0 or len(tokens) == 0:
        return tokens, torch.ones(len(tokens)).double()
    weights = ((values[tokens] - values[tokens[0]]) / temperature).exp()
    weights[values[tokens] == values[tokens[0]]] = 1
    before = weights.cumsum(0) - weights
    stays = (before < top_p * weights.sum()) & (weights >= min_p)
    stays[0] = True
    count = int(stays.long().cumprod(0).sum())
    return tokens[:count], weights[:count]


def sample(
    logits: torch.Tensor, temperature: float, top_k: int, top_p: float, min_p: float, seed: int, draws: int
) -> tuple[int, float]:
    """The token of one row, -1 if there is none; and how far, of all weight, the draw was from another one."""
    tokens, weights = kept(logits, temperature, top_k, top_p, min_p)
    if len(tokens) == 0:
        return -1, 1.0
    edges = weights.cumsum(0) / weights.sum()
    at = uniform(seed, draws)
    index = min(int((edges <= at).sum()), len(tokens) - 1)
    others = edges[:-1]
    return int(tokens[index]), float((others - at).abs().min()) if len(others) else 1.0
