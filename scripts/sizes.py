"""What the stripped C library weighs, by part: python -m scripts.sizes, with the core that `make` left in build/."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIBRARY, MAP = "libqwen3edge.so", "libqwen3edge.map"
TABLES = "tables of exceptions"
REST = "linking, headers, what of the compiler is in it"

# Of GNU ld's map: " .text.name  0xaddress  0xsize  file", where a long name has a line of its own.
_PIECE = re.compile(r"^ (\.[\w.$]+)\s+0x[0-9a-f]+\s+0x([0-9a-f]+) (\S[^\n]*)$", re.MULTILINE)
_TIER = re.compile(r"_(scalar|avx2|avxvnni|avx512|amx|neon|dotprod|i8mm|rvv)$")


def build(core: Path, folder: Path) -> Path:
    """The folder, with the library and its map in it: of the core in a static library, by CMake and GNU ld."""
    configure = [f"-DQWEN3EDGE_CORE={core}", f"-DCMAKE_SHARED_LINKER_FLAGS=-Wl,-Map={folder / MAP}"]
    for command in (["-S", ROOT / "csrc", "-B", folder, *configure], ["--build", folder, "--parallel", "2"]):
        subprocess.run([_program("cmake"), *command], check=True, stdout=subprocess.DEVNULL)
    return folder


def stripped(library: Path) -> int:
    """Bytes of the library without symbols that nobody links by."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / library.name
        subprocess.run([_program("strip"), "--strip-all", "-o", copy, library], check=True)
        return copy.stat().st_size


def parts(folder: Path) -> Counter[str]:
    """Bytes of the stripped library, by folder of csrc/, and of kernels by tier; they add up to the whole."""
    folders = {
        path.stem: path.parent.name for path in (ROOT / "csrc").glob("*/*.cpp") if path.parent.name != "bindings"
    }
    text = (folder / MAP).read_text(encoding="utf-8", errors="replace")
    _, found, memory = text.partition("\nMemory Configuration\n")
    if not found:
        raise SystemExit(f"sizes: expected {folder / MAP} as GNU ld writes it, found another form")
    sizes: Counter[str] = Counter()
    for section, size, file in _PIECE.findall(memory):
        source = re.search(r"([\w-]+)\.cpp\.o\)?$", file)
        if section.startswith((".eh_frame", ".gcc_except_table")):
            sizes[TABLES] += int(size, 16)
        elif source and section.startswith((".text", ".rodata", ".data", ".init_array", ".tdata")):
            sizes[_part(folders[source[1]], source[1])] += int(size, 16)
    sizes[REST] = stripped(folder / LIBRARY) - sum(sizes.values())
    return sizes


def _part(folder: str, stem: str) -> str:
    tier = _TIER.search(stem) if folder == "ukernels" else None
    return f"{folder} {tier[1]}" if tier else folder


def _program(name: str) -> str:
    found = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if found is None:
        raise SystemExit(f"sizes: expected {name} on PATH, found none; install it")
    return found


def main() -> None:
    """Prints the largest part first."""
    core = next((ROOT / "build").glob("cmake-*/libqwen3edge_core.a"), None)
    if core is None:
        raise SystemExit("sizes: expected build/cmake-*/libqwen3edge_core.a, found none; run `make`")
    sizes = parts(build(core, ROOT / "build" / "sizes"))
    for part, size in sizes.most_common():
        print(f"{size:>10,}  {part}")
    print(f"{sum(sizes.values()):>10,}  {LIBRARY}, stripped")


if __name__ == "__main__":
    main()
