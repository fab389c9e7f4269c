"""This process compiles: a small kernel becomes a cubin without a device."""

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


@triton.jit
def copy(x, out, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(out + i, tl.load(x + i))


def test_a_kernel_compiles_without_a_device():
    aligned = {(i,): [["tt.divisibility", 16]] for i in (0, 1)}
    source = ASTSource(copy, {"x": "*fp16", "out": "*fp16", "N": "constexpr"}, {"N": 1024}, aligned)
    compiled = triton.compile(source, target=GPUTarget("cuda", 87, 32), options={"num_warps": 4})
    assert compiled.asm["cubin"][:4] == b"\x7fELF"
    assert "ld.global.v4.b32" in compiled.asm["ptx"]
