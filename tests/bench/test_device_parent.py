"""The check of a device outlives its steps: one that is wrong, falls down or hangs costs that step alone."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from bench import device_check
from bench.device.parent import STEPS, Step, run_steps
from bench.device.render import page, read


def test_every_step_runs_whatever_became_of_the_others(tmp_path, capfd):
    names = ("hangs", "falls", "wrong", "silent", "good")
    seconds = {"hangs": 8}
    steps = [Step(name, "tests.bench.device_steps", seconds.get(name, 60), "") for name in names]
    begin = time.monotonic()
    ended = run_steps(steps, tmp_path, 248.0, ["--data", str(tmp_path), "--models", "0.6B"], {"TRITON_INTERPRET": "1"})
    assert ended == {"hangs": "hung", "falls": "failed", "wrong": "failed", "silent": "failed", "good": "ok"}
    assert time.monotonic() - begin < 240
    lines = read(tmp_path / "results.jsonl")
    assert [(line["step"], line["ended"]) for line in lines if line["name"] == "step"] == list(ended.items())
    (fell,) = [line for line in lines if line["name"] == "fell down"]
    assert fell["step"] == "falls" and "no kernel image" in fell["error"]
    (worker,) = [line["value"] for line in lines if line["name"] == "worker"]
    for _ in range(100):
        stat = Path(f"/proc/{worker}/stat")
        if not stat.exists() or stat.read_text().rpartition(") ")[2].startswith("Z"):
            break
        time.sleep(0.05)
    else:
        pytest.fail("the worker of a step that hung outlived it")
    assert "empty kernel in a graph 1.5 us (expected 1.2 to 1.6 us) ok" in capfd.readouterr().out
    shown = page(lines)
    assert "## hangs: hung" in shown and "| empty kernel in a graph | 1.50 us | 1.2 to 1.6 us | yes |" in shown


def test_a_budget_that_is_spent(tmp_path):
    steps = [Step("good", "tests.bench.device_steps", 60, "")]
    assert run_steps(steps, tmp_path, 1.0, ["--data", str(tmp_path), "--models", "0.6B"], {}) == {"good": "no time"}


def test_the_budget_is_what_the_steps_take():
    assert sum(step.seconds for step in STEPS) <= device_check.BUDGET
    assert len({step.name for step in STEPS}) == len(STEPS)


def test_wrong_arguments(capsys, tmp_path):
    for arguments, message in (
        (["--only", "speed", "--data", str(tmp_path), "--out", str(tmp_path)], "--only: expected some of compile"),
        (["--out", str(tmp_path)], "expected --data and --out"),
    ):
        with pytest.raises(SystemExit):
            device_check.main(arguments)
        assert message in capsys.readouterr().err


def test_render_prints_the_page(tmp_path, capsys):
    lines = [
        {"step": "constants", "name": "device", "ok": None, "value": 132, "unit": "multiprocessors", "device": "H200"},
        {"step": "codes", "name": "codes of q8", "ok": False, "value": 7, "unit": "wrong"},
    ]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert device_check.main(["--render", str(tmp_path / "r.jsonl")]) == 0
    out = capsys.readouterr().out
    assert "\nH200, torch ?" in out and "0 checks passed, 1 did not." in out and "| codes of q8 | 7.00 wrong |" in out
