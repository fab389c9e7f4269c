"""The products' machine code: registers, spills, width of loads; without a device."""

import dataclasses
import re

import pytest
import torch

from qwen3edge.kernels import matmul_a8, matmul_a16
from qwen3edge.kernels.compiled import compile_for
from qwen3edge.kernels.matmul_a16 import matmul_a16_kernel, specializations
from qwen3edge.kernels.matmul_plan import MatrixShape, half_plan
from qwen3edge.kernels.panels import PACKED_FORMATS, packed_format
from qwen3edge.kernels.specialization import TARGETS, Specialization
from qwen3edge.runtime.aot_shapes import shape_of
from tests.kernels_compiled.releases import expect_spills

SHAPE = shape_of("0.6B")


def int4_gemm(name: str, dtype: str) -> Specialization:
    """The tile that the bars are set for: 64 x 128 x 128."""
    (special,) = matmul_a16.specialize(MatrixShape("any", 4096, 4096, name, (512,)), "sm_87")
    assert (special.constexprs["BLOCK_M"], special.constexprs["BLOCK_N"], special.num_warps) == (64, 128, 8)
    return dataclasses.replace(special, signature={**special.signature, "x": f"*{dtype}", "y": f"*{dtype}"})


INT4 = ("q4z32", "q4z64", "q4g32", "q4g64", "q4g128")


@pytest.mark.parametrize(
    ("name", "dtype"), [*((name, "bf16") for name in INT4), ("q4z32", "fp16"), ("q4g32", "fp16"), ("q4g128", "fp16")]
)
def test_int4_gemm_on_orin(name, dtype):
    code = compile_for(int4_gemm(name, dtype), "sm_87")
    print(f"{name} {dtype}: {code.instructions} instructions, {code.registers} registers, {code.shared_bytes} bytes")
    assert code.instructions <= 650
    assert code.registers <= 128
    assert code.spills == 0
    assert code.count("HMMA", loops=True) == 64
    assert code.count("I2F", loops=True) == code.count("STS", loops=True) == 0
    # Three stages of 8 KiB of words and 16 KiB of activations, by 256 threads of 16 bytes.
    assert code.count("LDGSTS.E.BYPASS.128") == 3 * 24 * 1024 // (256 * 16)
    # Two codes of 16 bits an instruction: one `and` and one multiply-add for each of 32 pairs, few more for steps.
    assert code.count("LOP3", loops=True) <= 48 and code.count("SHF", "PRMT", loops=True) <= 24
    # Subnormal numbers are kept, as the PTX manual says of these two; with .ftz every code would be 0.
    assert ".ftz" not in code.compiled.asm["ptx"]


def narrow_loads(ptx: str) -> int:
    """Bytes that a thread loads from global memory by less than 128 bits at once."""
    loads = re.findall(r"ld\.global(?:\.[a-z]\w*(?:::\w+)*)*(?:\.v(\d))?\.b(\d+)\s", ptx)
    asynchronous = re.findall(r"cp\.async\.c\w\.shared\.global \[[^]]*\], \[[^]]*\], (\w+)", ptx)
    sizes = [int(count or 1) * int(bits) // 8 for count, bits in loads] + [int(size, 0) for size in asynchronous]
    assert sizes
    return sum(size for size in sizes if size < 16)


def check(special: Specialization, target: str) -> None:
    code = compile_for(special, target)
    print(
        f"{target} {special.name}: {code.registers} registers, {code.spills} spilled, {code.instructions} instructions"
    )
    assert code.spills == 0, special.name
    if target.startswith("sm_"):
        assert code.count("I2F", loops=True) == 0, special.name
    if target.startswith("sm_") and special.kernel is matmul_a16_kernel:
        # Scale and step words: one of each a row and stage, some rows by several threads at once. (Slabs of int8
        # activations are loaded by 64 bits a thread, the words beside them as here.)
        narrow = narrow_loads(code.compiled.asm["ptx"])
        threads = 32 * special.num_warps
        words = special.constexprs["BLOCK_N"] * 64 * special.num_stages  # bytes, of the narrowest codes
        assert narrow * threads < words, f"{special.name}: {narrow} bytes a thread by narrow loads"


def products(target: str) -> list[Specialization]:
    return matmul_a16.specializations(SHAPE, target) + matmul_a8.specializations(SHAPE, target)


def distinct(target: str) -> list[Specialization]:
    """One of those that differ in nothing that the compiler sees."""
    found = products(target)
    return list({(s.kernel.__name__, str(s.signature), str(s.constexprs), s.num_warps): s for s in found}.values())


@pytest.mark.parametrize("target", TARGETS)
def test_the_usual_format_on_every_target(target, request):
    expect_spills(request, "matmul_a8", target)
    names = ("matmul_a16_gate_up_q4z64_bf16_1", "matmul_a16_gate_up_q4z64_bf16_512", "matmul_a8_gate_up_q8_bf16_512")
    specials = [special for special in products(target) if special.name in names]
    assert len(specials) == len(names)
    for special in specials:
        check(special, target)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_every_product_of_a_model(target, request):
    expect_spills(request, "matmul_a8", target)
    specials = distinct(target)
    assert {s.constexprs["BITS"] for s in specials} == {4, 6, 8}
    for special in specials:
        check(special, target)


def check_format(name: str, target: str) -> None:
    matrix = MatrixShape("any", 6144, 1024, name, (1, 512))
    for special in matmul_a16.specialize(matrix, target) + matmul_a8.specialize(matrix, target):
        check(special, target)


def test_an_offset_compiles():
    """What the interpreter runs need not compile."""
    check_format("q4a32", "sm_87")


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", [name for name, fmt in PACKED_FORMATS.items() if fmt.kind != "dense"])
def test_every_format_on_every_target(name, target):
    check_format(name, target)


def test_what_is_compiled_is_what_is_launched():
    special = next(s for s in specializations(SHAPE, "sm_87") if s.name == "matmul_a16_down_q4z32_bf16_1")
    plan = half_plan(packed_format("q4z32"), 1, SHAPE.hidden, SHAPE.feed_forward, torch.bfloat16, "sm_87")
    assert plan.constants.items() <= dict(special.constexprs).items()
    assert (plan.options["num_warps"], plan.options["num_stages"]) == (special.num_warps, special.num_stages)
