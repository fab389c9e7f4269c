"""Compiles a specialization without a device and reads its machine code. Static counts are evidence, not speed."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton

from qwen3edge.kernels.specialization import Specialization, gpu_target

NVIDIA_TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"

_SASS = re.compile(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)")
_LABEL = re.compile(r"^\s*(\.L_\w+):")
_BRANCH = re.compile(r"BRA(?:\.\w+)*\s+(?:!?U?P\w+,\s*)?`\((\.L_\w+)\)")
_AMD = re.compile(r"^\s+([a-z]\w+)(?:\s|$)")
_AMD_LABEL = re.compile(r"^(\.?LBB\w+):")
_AMD_BRANCH = re.compile(r"s_c?branch\w*\s+(\.?LBB\w+)")


@dataclass(frozen=True)
class MachineCode:
    """What the compiled code says of itself."""

    registers: int
    spills: int  # bytes of stack (NVIDIA), registers (AMD); 0 is what the gate asks for
    shared_bytes: int
    opcodes: Counter[str]  # of the whole kernel, with modifiers: "LDGSTS.E.BYPASS.128"
    loop_opcodes: Counter[str]  # between a label and a branch back to it
    compiled: Any  # triton's CompiledKernel: .asm, .metadata

    @property
    def instructions(self) -> int:
        """Of the whole kernel."""
        return sum(self.opcodes.values())

    def count(self, *prefixes: str, loops: bool = False) -> int:
        """Instructions whose name starts with one of these: count("HMMA", "IMMA")."""
        opcodes = self.loop_opcodes if loops else self.opcodes
        return sum(number for opcode, number in opcodes.items() if opcode.startswith(prefixes))


def compile_for(specialization: Specialization, target: str) -> MachineCode:
    """Compiles for "sm_87", "gfx942", ..; raises KernelConfigurationError for an unknown target."""
    compiled = triton.compile(
        specialization.source(), target=gpu_target(target), options=specialization.compile_options()
    )
    return _read_amd(compiled) if target.startswith("gfx") else _read_nvidia(compiled)


def _read_nvidia(compiled: Any) -> MachineCode:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        usage = _tool("cuobjdump", "-res-usage", file.name)
        sass = _tool("nvdisasm", "-c", file.name)
    found = re.search(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", usage)
    if found is None:
        raise RuntimeError(f"cuobjdump: expected a line of resources, found {usage!r}")
    opcodes, loops = _count(sass, _SASS, _LABEL, _BRANCH)
    return MachineCode(
        registers=int(found[1]),
        spills=int(found[2]) + int(found[4]),
        shared_bytes=compiled.metadata.shared,
        opcodes=opcodes,
        loop_opcodes=loops,
        compiled=compiled,
    )


def _read_amd(compiled: Any) -> MachineCode:
    text = compiled.asm["amdgcn"]

    def field(key: str) -> int:
        found = re.search(rf"\.{key}:\s+(\d+)", text)
        return int(found[1]) if found else 0

    opcodes, loops = _count(text, _AMD, _AMD_LABEL, _AMD_BRANCH)
    return MachineCode(
        registers=field("vgpr_count"),
        spills=field("vgpr_spill_count") + field("sgpr_spill_count"),
        shared_bytes=compiled.metadata.shared,
        opcodes=opcodes,
        loop_opcodes=loops,
        compiled=compiled,
    )


def _count(
    text: str, opcode: re.Pattern[str], label: re.Pattern[str], branch: re.Pattern[str]
) -> tuple[Counter[str], Counter[str]]:
    """Opcodes of the whole, and of all that lies between a label and a branch back to it."""
    names: list[str] = []
    labels: dict[str, int] = {}
    inside: set[int] = set()
    for line in text.splitlines():
        if found := label.match(line):
            labels[found[1]] = len(names)
        elif found := opcode.match(line):
            names.append(found[1])
            if (jump := branch.search(line)) and jump[1] in labels:
                inside.update(range(labels[jump[1]], len(names)))
    # NVIDIA's code ends in a branch to itself, which is no loop.
    loops = Counter(names[index] for index in inside)
    return Counter(names), loops if set(loops) != {"BRA"} else Counter()


def _tool(name: str, *arguments: str) -> str:
    done = subprocess.run([NVIDIA_TOOLS / name, *arguments], capture_output=True, text=True, check=True)
    return done.stdout + done.stderr
