"""How wide loads from global memory are: in PTX by the argument that they read, on AMD by the bytes that they bring."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

_REGISTER = re.compile(r"%[a-z]+\d+")
_PARAMETER = re.compile(r"ld\.param\.\w+\s+(%\w+), \[\w+_param_(\d+)\]")
_LOAD = re.compile(r"ld\.global[\w.:]*?(?:\.v(\d))?\.[bus](\d+)\s+(?:\{[^}]*\}|%\w+), \[\s*(%\w+)")
_STORE = re.compile(r"st\.global[\w.:]*?(?:\.v(\d))?\.[bus](\d+)\s+\[\s*(%\w+)")
_COPY = re.compile(r"cp\.async\.c\w\.shared\.global[\w.:]* \[[^]]*\], \[\s*(%\w+)[^]]*\], (\w+)")
_AMD_LOAD = re.compile(
    r"(?:global|buffer)_load_(?:.*_)?(dwordx4|dwordx2|dword|b128|b96|b64|b32|ushort|u16|b16|ubyte|u8)"
)
_AMD_BITS = {"dwordx4": 128, "b128": 128, "b96": 96, "dwordx2": 64, "b64": 64, "dword": 32, "b32": 32}
_AMD_BITS |= {"ushort": 16, "u16": 16, "b16": 16, "ubyte": 8, "u8": 8}


def ptx_loads(ptx: str) -> dict[int, Counter[int]]:
    """Loads from global memory by parameter of the kernel: {index: {bits: number}}; -1 where it could not be traced.

    An address is followed back through arithmetic to the parameters it is made of, but not through other loads: the
    page that a table names is an offset, not where the keys come from.
    """
    return _accesses(ptx)[0]


def ptx_stores(ptx: str) -> dict[int, Counter[int]]:
    """Stores to global memory, likewise."""
    return _accesses(ptx)[1]


def _accesses(ptx: str) -> tuple[dict[int, Counter[int]], dict[int, Counter[int]]]:
    made_of: dict[str, set[str]] = defaultdict(set)
    parameters: dict[str, int] = {}
    loaded: list[tuple[str, int]] = []
    stored: list[tuple[str, int]] = []
    for line in ptx.splitlines():
        code = line.partition("//")[0].strip().rstrip(";")
        code = re.sub(r"^@!?%\w+\s+", "", code)
        if parameter := _PARAMETER.match(code):
            parameters[parameter[1]] = int(parameter[2])
        elif load := _LOAD.match(code):
            loaded.append((load[3], int(load[1] or 1) * int(load[2])))
        elif store := _STORE.match(code):
            stored.append((store[3], int(store[1] or 1) * int(store[2])))
        elif copy := _COPY.match(code):
            loaded.append((copy[1], 8 * int(copy[2], 0)))
        elif code.startswith("ld."):
            continue
        elif "," in code and (registers := _REGISTER.findall(code)):
            targets = _REGISTER.findall(code.partition("}")[0]) if "{%" in code.split(",")[0] else registers[:1]
            for target in targets:
                made_of[target].update(registers)
    pointers = _pointers(ptx)

    def by_parameter(found: list[tuple[str, int]]) -> dict[int, Counter[int]]:
        return _by_parameter(found, made_of, parameters, pointers)

    return by_parameter(loaded), by_parameter(stored)


def _by_parameter(
    found: Sequence[tuple[str, int]], made_of: Mapping[str, set[str]], parameters: Mapping[str, int], pointers: set[int]
) -> dict[int, Counter[int]]:
    widths: dict[int, Counter[int]] = defaultdict(Counter)
    for address, bits in found:
        seen, open_ = {address}, [address]
        while open_:
            for register in made_of.get(open_.pop(), set()) - seen:
                seen.add(register)
                open_.append(register)
        bases = {parameters[register] for register in seen if register in parameters} & pointers
        widths[bases.pop() if len(bases) == 1 else -1][bits] += 1
    return dict(widths)


def _pointers(ptx: str) -> set[int]:
    return {int(index) for index in re.findall(r"\.param \.u64 \.ptr[^\n]*_param_(\d+)", ptx)}


def weight_bits(ptx: str, arguments: Sequence[str], weights: Sequence[str]) -> int:
    """The narrowest load of a weight. arguments: names of the kernel's parameters in order."""
    loads = ptx_loads(ptx)
    widths = [bits for name in weights for bits in loads.get(arguments.index(name), ())]
    if not widths or -1 in loads:
        raise ValueError(f"expected loads of {', '.join(weights)} that can be traced, found {loads}")
    return min(widths)


def widest_share(loads: Mapping[int, int]) -> int:
    """The width by which most bytes come, {bits: number} -> bits; 0 without loads."""
    return max(loads, key=lambda bits: (bits * loads[bits], bits), default=0)


def amd_loads(opcodes: Mapping[str, int]) -> Counter[int]:
    """{bits: number} of a kernel's vector loads."""
    loads: Counter[int] = Counter()
    for opcode, number in opcodes.items():
        if found := _AMD_LOAD.match(opcode):
            loads[_AMD_BITS[found[1]]] += number
    return loads
