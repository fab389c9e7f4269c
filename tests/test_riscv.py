"""The core built for 64-bit RISC-V, run by QEMU without vectors and with registers of 128, 256 and 512 bits: kernels
as their scalar twins have them, and the logits of this machine, bit by bit.

Needs clang 17 or later, the libraries of a cross compiler and qemu-user (Debian: clang-19, g++-12-riscv64-linux-gnu,
qemu-user)."""

import pytest

from qwen3edge.convert import convert
from tests.cross import FORMATS, Machine, compared_tiers, expected_logits, same

pytestmark = pytest.mark.slow
RISCV = Machine("riscv64-linux", "qemu-riscv64", "riscv64-linux-gnu")
CPUS = {"rv64,v=false": []} | {f"rv64,v=true,vext_spec=v1.0,vlen={bits}": ["rvv"] for bits in (128, 256, 512)}
WITH_VECTORS = [cpu for cpu, tiers in CPUS.items() if tiers]


@pytest.fixture(scope="module")
def riscv():
    return RISCV.build()


@pytest.mark.parametrize("cpu", CPUS)
def test_kernels(riscv, cpu, seed):
    assert compared_tiers(RISCV.run(cpu, riscv / "compare_tiers", seed)) == CPUS[cpu]


@pytest.mark.parametrize("cpu", CPUS)
@pytest.mark.parametrize("kv", ["int8", "int4", "bf16", "f32"])
def test_same_logits(riscv, tiny_int4, cpu, kv):
    expected = expected_logits(tiny_int4, kv)
    assert same(RISCV.logits(riscv, cpu, tiny_int4, kv), expected)
    if kv == "int8":
        assert same(RISCV.logits(riscv, cpu, tiny_int4, kv, isa="scalar"), expected)


@pytest.mark.parametrize("quant", FORMATS)
def test_same_logits_of_formats(riscv, tiny_q3e, quant):
    model = tiny_q3e(quant)
    assert same(RISCV.logits(riscv, WITH_VECTORS[1], model, isa="rvv"), expected_logits(model))


@pytest.mark.parametrize("architecture", ["moe", "qwen2", "hybrid"])
def test_same_logits_of_architectures(riscv, request, tmp_path, architecture):
    model = tmp_path / "model.q3e"
    convert(request.getfixturevalue(f"tiny_{architecture}_path"), model, "int4")
    for cpu in CPUS:
        assert same(RISCV.logits(riscv, cpu, model), expected_logits(model))
