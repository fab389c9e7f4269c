"""Every step of bench/device_check.py on tiny shapes: on a device the script must not be what fails."""

import importlib
import json
import time

import pytest
import torch

from bench.device.context import Context
from bench.device.parent import STEPS
from bench.device.render import page, read
from bench.device.tiny_models import prepare
from tests.kernels import random_model
from tests.kernels.large_tiles import large_tiles


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    random_model.write(folder, "qwen2", "int4", seed=1)
    prepare(folder, [[3, 4, 5]], answer=2)
    return folder


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_a_step(step, data, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda mode: None)  # it would stay for other tests
    context = Context(
        step=step.name,
        interpreted=True,
        data=data,
        out=tmp_path,
        models=("0.6B",),
        deadline=time.monotonic() + 60,
    )
    with large_tiles():
        importlib.import_module(step.module).run(context)
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert lines and all(line["step"] == step.name for line in lines)
    assert not [line for line in lines if line["ok"] is False]
    assert all(line["ok"] is not None or line["value"] is not None or "note" in line for line in lines)
    shown = page(read(tmp_path / "results.jsonl"))
    assert f"## {step.name}" in shown and all(line["name"] in shown for line in lines)
