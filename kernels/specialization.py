"""How a kernel is compiled without a device; shared by the static bench, the ahead-of-time compiler and the tests.

Each file of a kernel has `specializations(shape: ModelShape, target: str) -> list[Specialization]`, which lists what a
model of that shape launches on that target, with the configuration that the launcher would take.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from qwen3edge.kernels.errors import KernelConfigurationError

# All that we compile for: architecture as Triton names it, threads in a warp.
TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_87": GPUTarget("cuda", 87, 32),
    "sm_89": GPUTarget("cuda", 89, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
    "gfx1100": GPUTarget("hip", "gfx1100", 32),
}


@dataclass(frozen=True)
class ModelShape:
    """The sizes of one model of the family."""

    name: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    feed_forward: int  # 0 without dense layers
    head_dim: int = 128
    vocabulary: int = 151936
    experts: int = 0
    experts_per_token: int = 0
    expert_feed_forward: int = 0
    tied: bool = True  # the head is the embedding
    # Of each kind of layer the format of every matrix, by the end of its name in a file; of embedding and head too.
    formats: tuple[Mapping[str, str], ...] = ()


MODEL_SHAPES = {
    shape.name: shape
    for shape in (
        ModelShape("0.6B", hidden=1024, layers=28, heads=16, kv_heads=8, feed_forward=3072),
        ModelShape("1.7B", hidden=2048, layers=28, heads=16, kv_heads=8, feed_forward=6144),
        ModelShape("4B", hidden=2560, layers=36, heads=32, kv_heads=8, feed_forward=9728),
        ModelShape("8B", hidden=4096, layers=36, heads=32, kv_heads=8, feed_forward=12288, tied=False),
        ModelShape(
            "30B-A3B",
            hidden=2048,
            layers=48,
            heads=32,
            kv_heads=4,
            feed_forward=0,
            experts=128,
            experts_per_token=8,
            expert_feed_forward=768,
            tied=False,
        ),
    )
}


@dataclass(frozen=True)
class Specialization:
    """One kernel with every constant that is fixed when it is compiled."""

    name: str  # unique, a C identifier: op, types and tile
    kernel: Any  # the @triton.jit function
    signature: Mapping[str, str]  # argument -> Triton type ("*fp16", "i32", "fp32"), constants left out
    constexprs: Mapping[str, Any]  # argument -> value; None for a pointer that is not given
    divisible_by_16: tuple[str, ...]  # integer arguments that the launcher promises; pointers always are
    num_warps: int
    num_stages: int
    grid: tuple[str, str, str]  # C expressions in the integer arguments: ("(N + 15) / 16", "1", "1")
    shape: str  # for people: "gate_up 6144x1024, 1 row"
    bytes_moved: int  # what must be read and written at least
    operations: int  # 2 for a multiply-add
    weight_arguments: tuple[str, ...] = ()  # must be read by 128-bit loads
    options: Mapping[str, Any] = field(default_factory=dict)  # further compiler options

    def source(self) -> ASTSource:
        """What `triton.compile` takes."""
        names = self.kernel.arg_names
        missing = [name for name in names if name not in self.signature and name not in self.constexprs]
        if missing:
            raise KernelConfigurationError(f"{self.name}: expected a type or a value for every argument, not {missing}")
        aligned = [
            (index,)
            for index, name in enumerate(names)
            if name not in self.constexprs and (self.signature[name].startswith("*") or name in self.divisible_by_16)
        ]
        return ASTSource(
            fn=self.kernel,
            signature={name: "constexpr" if name in self.constexprs else self.signature[name] for name in names},
            constexprs=dict(self.constexprs),
            # Without it 128-bit loads become 16-bit ones.
            attrs={index: [["tt.divisibility", 16]] for index in aligned},
        )

    def compile_options(self) -> dict[str, Any]:
        """Also for a launch. Fusion is named because its default differs between versions of Triton."""
        return {
            "num_warps": self.num_warps,
            "num_stages": self.num_stages,
            "enable_fp_fusion": True,
            **self.options,
        }


def gpu_target(name: str) -> GPUTarget:
    """Raises KernelConfigurationError for a target that we do not compile for."""
    try:
        return TARGETS[name]
    except KeyError:
        raise KernelConfigurationError(f"target: expected one of {', '.join(TARGETS)}, found {name!r}") from None
