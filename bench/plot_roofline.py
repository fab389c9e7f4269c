"""Draws build/roofline.png from the results that bench/report.py has written.

python bench/plot_roofline.py build/bench/results.json build/roofline.png
"""

from __future__ import annotations

import argparse
import json
import sys
from itertools import cycle
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from roofline import Point, Roofs, points_of, roofs_of

COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red")  # of tiers
MARKERS = "osD^vPX*"  # of formats


def draw(points: list[Point], roofs: Roofs, target: Path) -> None:
    """Both axes logarithmic: operations a byte, GOPS."""
    figure, axes = plt.subplots(figsize=(9, 6), layout="constrained")
    least, most = min(p.intensity for p in points) / 2, max(p.intensity for p in points) * 2
    intensities = np.geomspace(least, most, 256)
    colours = dict(zip(roofs.peaks, cycle(COLOURS), strict=False))
    markers = dict(zip(dict.fromkeys(p.work for p in points), cycle(MARKERS), strict=False))
    for isa, colour in colours.items():
        label = f"{isa}: {roofs.peaks[isa]:.0f} GOPS, {roofs.bandwidth:.1f} GB/s"
        axes.plot(intensities, [roofs.at(isa, x) for x in intensities], color=colour, label=label)
    for work, marker in markers.items():
        axes.scatter([], [], color="grey", marker=marker, label=work)
        for isa, colour in colours.items():
            chosen = [p for p in points if (p.isa, p.work) == (isa, work)]
            axes.scatter(
                [p.intensity for p in chosen], [p.gops for p in chosen], s=24, color=colour, marker=marker, alpha=0.7
            )
    axes.set(xscale="log", yscale="log", xlabel="operations a byte of weights", ylabel="GOPS")
    axes.grid(which="both", alpha=0.2)
    axes.legend(fontsize="small")
    figure.savefig(target, dpi=120, metadata={"Software": None})
    plt.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    results = json.loads(arguments.results.read_text())
    points, roofs = points_of(results), roofs_of(results)
    if roofs is None or not points:
        print(f"{arguments.results} has no kernel with operations and bytes", file=sys.stderr)
        return 1
    draw([p for p in points if p.isa in roofs.peaks], roofs, arguments.target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
