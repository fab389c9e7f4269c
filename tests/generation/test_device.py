"""Which device runs a model, and that nobody pays for torch who does not ask for it."""

import subprocess
import sys

import pytest

import qwen3edge
from qwen3edge.errors import RequestError


def test_torch_and_triton_are_imported_for_a_device_only(tiny_int4):
    program = f"""
import sys, qwen3edge, qwen3edge.generation.model, qwen3edge.cli.main
with qwen3edge.load({str(tiny_int4)!r}, context=64) as model:
    model.logits([1, 2])
assert not {{"torch", "triton", "qwen3edge.kernels", "qwen3edge.runtime.torch_backend"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("device", ["tpu", "cuda:x", "cuda:-1", "", "CPU", None, 0])
def test_unknown_devices_are_refused_without_torch(tiny_int4, device):
    with pytest.raises(RequestError, match="expected device as 'cpu', 'cuda', 'cuda:N' or 'interpreter'"):
        qwen3edge.load(tiny_int4, device=device)


def test_the_interpreter_must_be_asked_for_in_the_environment(tiny_int4, monkeypatch):
    pytest.importorskip("triton")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(RequestError, match="expected TRITON_INTERPRET=1"):
        qwen3edge.load(tiny_int4, device="interpreter")


def test_without_torch_a_device_is_refused(tiny_int4):
    program = f"""
import sys
sys.modules["torch"] = None
import qwen3edge
try:
    qwen3edge.load({str(tiny_int4)!r}, device="cuda")
except qwen3edge.errors.RequestError as error:
    assert "qwen3edge[gpu]" in str(error), error
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", program], check=True)
