"""Steps of a device check that go well or badly, by their name; for test_device_parent.py."""

from __future__ import annotations

import subprocess
import time

from bench.device.context import Context


def run(context: Context) -> None:
    """good, wrong, falls, silent or hangs (with a process of its own)."""
    if context.step == "good":
        context.result("figure", value=2.0, unit="us")
        context.result("empty kernel in a graph", True, 1.5, "us")
    elif context.step == "wrong":
        context.result("sum", False, 3, "wrong")
    elif context.step == "falls":
        raise RuntimeError("no kernel image")
    elif context.step == "hangs":
        worker = subprocess.Popen(["sleep", "600"])
        context.result("worker", value=worker.pid)
        time.sleep(600)
