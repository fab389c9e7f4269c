"""One command for the microbenchmarks of the CPU's kernels.

python bench/kernel.py                                                  lists them
python bench/kernel.py matmul --shape 1024x4096 --format q4z32 --tokens 1    runs one
python bench/kernel.py matmul --help                                    its options, and what its columns mean
"""

from __future__ import annotations

import ast
import runpy
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
KERNELS = ("matmul", "attention", "norm", "rope", "silu", "sample", "barrier", "experts")
SMALL = HERE / "bench_small.py"  # a function for each kernel that has no file of its own
COLUMNS = """Columns that all share: spread is (slowest - fastest) / median of the samples; GB_s what is read and
written once; of_read its share of what this machine reads from memory, above 1 from cache; GOPS two operations a
multiply-add; of_peak their share of the int8 peak, both measured right before. A wrong result is not timed."""


def command(kernel: str) -> list[str]:
    """The bench of a kernel, and the word that it wants first if it has several."""
    own = HERE / f"bench_{kernel}.py"
    return [str(own)] if own.is_file() else [str(SMALL), kernel]


def description(kernel: str) -> str:
    """The first line that a bench says of itself; nothing is imported."""
    script, *function = command(kernel)
    tree = ast.parse(Path(script).read_text(encoding="utf-8"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    return (ast.get_docstring(functions[function[0]] if function else tree) or "").partition("\n")[0]


def listing() -> str:
    """A line a kernel."""
    return "\n".join([*(f"{name:<10} {description(name)}" for name in KERNELS), "", COLUMNS])


def main(arguments: list[str]) -> int:
    """Runs a bench with the arguments that follow its name."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"{__doc__ or ''}\n{listing()}")
        return 0
    kernel, *rest = arguments
    if kernel not in KERNELS:
        print(f"expected one of {', '.join(KERNELS)}, found {kernel!r}", file=sys.stderr)
        return 2
    sys.argv = [*command(kernel), *rest]
    runpy.run_path(sys.argv[0], run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
