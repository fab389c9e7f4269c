"""One step of the check; started by `parent.py`, not by people. Exit status 1: something was wrong, or fell down."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from bench.device.context import Context


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the step, whose results are written by itself."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--module", required=True)
    parser.add_argument("--step", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    chosen = parser.parse_args(arguments)
    begin = time.monotonic()

    context = Context(
        step=chosen.step,
        interpreted=os.environ.get("TRITON_INTERPRET") == "1",
        data=chosen.data,
        out=chosen.out,
        models=tuple(chosen.models.split(",")),
        deadline=begin + chosen.seconds,
    )
    try:
        importlib.import_module(chosen.module).run(context)
    except Exception:
        context.result("fell down", ok=False, error=traceback.format_exc()[-2000:])
        traceback.print_exc()
    lines = [json.loads(line) for line in (chosen.out / "results.jsonl").read_text().splitlines()]
    own = [line for line in lines if line["step"] == chosen.step]
    return int(not own or any(line["ok"] is False for line in own))


if __name__ == "__main__":
    sys.exit(main())
