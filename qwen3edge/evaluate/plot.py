"""Draws bits a weight against KL divergence, and divergence layer by layer. Needs matplotlib."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from qwen3edge.evaluate.by_layer import LayerLoss


@dataclass(frozen=True)
class Point:
    """One file."""

    label: str
    bits: float  # a weight
    kl: float  # mean, nats
    series: str = ""  # points of one series share a colour


def draw(
    points: Sequence[Point],
    target: str | os.PathLike[str],
    layers: Mapping[str, Sequence[LayerLoss]] | None = None,
) -> None:
    """layers: by model, in a second picture beside the first."""
    figure, axes = plt.subplots(
        1, 2 if layers else 1, figsize=(14 if layers else 8, 5), layout="constrained", squeeze=False
    )
    _draw_sizes(axes[0, 0], points)
    if layers:
        _draw_layers(axes[0, 1], layers)
    figure.savefig(target, dpi=120)
    plt.close(figure)


def _draw_sizes(axes: Axes, points: Sequence[Point]) -> None:
    """The KL axis is logarithmic; a point without divergence lies at its lower end."""
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


def _draw_layers(axes: Axes, layers: Mapping[str, Sequence[LayerLoss]]) -> None:
    """Bars: each part alone; lines: all up to it."""
    width = 0.8 / len(layers)
    for number, (model, losses) in enumerate(layers.items()):
        at = [i + (number - (len(layers) - 1) / 2) * width for i in range(len(losses))]
        bars = axes.bar(at, [loss.kl_alone for loss in losses], width, alpha=0.5, label=f"{model}, alone")
        colour = bars.patches[0].get_facecolor()[:3]
        axes.plot(at, [loss.kl_up_to for loss in losses], "o-", color=colour, label=f"{model}, and all before")
    names = [loss.part.removeprefix("layer ") for loss in max(layers.values(), key=len)]
    axes.set_xticks(range(len(names)), names, rotation=90 if len(names) > 12 else 0)
    axes.set(xlabel="quantized", ylabel="mean KL divergence of the weights, nats a token")
    axes.legend()
    axes.grid(True, axis="y", alpha=0.3)
