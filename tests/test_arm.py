"""The core built for 64-bit Arm, run by QEMU on CPUs without dot products, with them, and with matrix products: the
kernels of every tier as their scalar twins have them, and the logits of this machine, bit by bit.

Needs a cross compiler and qemu-user (Debian: g++-12-aarch64-linux-gnu, qemu-user)."""

import pytest

from qwen3edge.convert import convert
from tests.cross import CHUNK, FORMATS, Machine, compared_tiers, expected_logits, same

pytestmark = pytest.mark.slow
ARM = Machine("aarch64-linux", "qemu-aarch64", "aarch64-linux-gnu")
CPUS = {"cortex-a72": ["neon"], "neoverse-n1": ["neon", "dotprod"], "max": ["neon", "dotprod", "i8mm"]}


@pytest.fixture(scope="module")
def arm():
    return ARM.build()


@pytest.mark.parametrize("cpu", CPUS)
def test_kernels(arm, cpu, seed):
    assert compared_tiers(ARM.run(cpu, arm / "compare_tiers", seed)) == CPUS[cpu]


@pytest.mark.parametrize(("cpu", "isa"), [(cpu, isa) for cpu, tiers in CPUS.items() for isa in ["scalar", tiers[-1]]])
@pytest.mark.parametrize("kv", ["int8", "int4", "bf16", "f32"])
def test_same_logits(arm, tiny_int4, cpu, isa, kv):
    expected = expected_logits(tiny_int4, kv)
    assert same(ARM.logits(arm, cpu, tiny_int4, kv, isa=isa), expected)
    if kv == "int8":  # left alone, the engine takes what the CPU has: a wrong tier would die of SIGILL
        assert same(ARM.logits(arm, cpu, tiny_int4, kv), expected)


def test_a_tier_that_is_not_there(arm, tiny_int4):
    result = ARM.logits(arm, "cortex-a72", tiny_int4, isa="dotprod")
    words = b"expected one of scalar, neon on this machine, found 'dotprod'"
    assert result.returncode == 1 and words in result.stderr


@pytest.mark.parametrize("quant", FORMATS)
def test_same_logits_of_formats(arm, tiny_q3e, quant):
    """In chunks and one token at a time."""
    model = tiny_q3e(quant)
    for chunk in (CHUNK, 1):
        assert same(ARM.logits(arm, "max", model, chunk=chunk, isa="i8mm"), expected_logits(model, chunk=chunk))


@pytest.mark.parametrize("architecture", ["moe", "qwen2", "hybrid"])
def test_same_logits_of_architectures(arm, request, tmp_path, architecture):
    model = tmp_path / "model.q3e"
    convert(request.getfixturevalue(f"tiny_{architecture}_path"), model, "int4")
    for cpu, tiers in CPUS.items():
        assert same(ARM.logits(arm, cpu, model, isa=tiers[-1]), expected_logits(model))
