"""Draws bits a weight against KL divergence. Needs matplotlib."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


@dataclass(frozen=True)
class Point:
    """One file."""

    label: str
    bits: float  # a weight
    kl: float  # mean, nats
    series: str = ""  # points of one series share a colour


def draw(points: Sequence[Point], target: str | os.PathLike[str]) -> None:
    """The KL axis is logarithmic; a point without divergence lies at its lower end."""
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    least = min((p.kl for p in points if p.kl > 0), default=1e-6)
    series = list(dict.fromkeys(p.series for p in points))
    for name in series:
        chosen = [p for p in points if p.series == name]
        axes.plot([p.bits for p in chosen], [max(p.kl, least / 2) for p in chosen], "o", label=name or None)
    for p in points:
        axes.annotate(p.label, (p.bits, max(p.kl, least / 2)), xytext=(5, 4), textcoords="offset points", fontsize=8)
    axes.set(xlabel="bits a weight", ylabel="mean KL divergence, nats a token", yscale="log")
    if any(series):
        axes.legend()
    axes.grid(True, which="both", alpha=0.3)
    figure.savefig(target, dpi=120)
    plt.close(figure)
