"""The static gate with several releases of Triton, each in a process of its own.

python bench/gate_releases.py                                    all models and targets: an hour on two cores
python bench/gate_releases.py --triton 3.6.0 --target sm_90 --model 0.6B

A release that is not there is fetched by pip into build/triton/RELEASE, some 200 MB, and stands before the one that is
installed: nothing but the compiler changes. A line for each release and target: how much was compiled, and each fault.
Exit status 1: a fault that `bench_static.py` does not let pass.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# What users have: images with torch 2.11; CUDA builds of torch 2.13, to which constraints.txt pins us; those of 2.15.
RELEASES = ("3.6.0", "3.7.1", "3.9.0")


def main(arguments: Sequence[str] | None = None) -> int:
    """The worst exit status of the gates; what is not named here goes to them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--triton", action="append", metavar="RELEASE", help=f"default: {', '.join(RELEASES)}")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "triton", help="where releases lie")
    chosen, others = parser.parse_known_args(arguments)
    return max(gate(release, chosen.folder, others) for release in chosen.triton or RELEASES)


def gate(release: str, folder: Path, arguments: Sequence[str]) -> int:
    """Prints the summary of one release; its exit status."""
    place = folder / release
    if not (place / "triton").is_dir():
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(place)]
        subprocess.run([*install, f"triton=={release}"], check=True)
    path = os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, str(ROOT / "bench" / "bench_static.py"), "--summary", *arguments]
    return subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
