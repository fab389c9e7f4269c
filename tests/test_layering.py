"""Imports and includes point down one table, and nothing but its own tier leaves a per-ISA file."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Who may import whom, besides the standard library and the third parties named. "*" is everything of ours.
PYTHON = {
    "qwen3edge.errors": (set(), set()),
    "qwen3edge.config": ({"errors", "_core"}, set()),
    "qwen3edge.checks": ({"errors"}, set()),
    "qwen3edge.sampling": (set(), set()),
    "qwen3edge.tokenization": (set(), set()),
    "qwen3edge.extras": ({"errors"}, set()),
    "qwen3edge.templates": ({"errors", "templates"}, {"jinja2", "markupsafe"}),
    "qwen3edge.formats": ({"errors", "config", "_core", "formats"}, {"numpy", "gguf", "safetensors"}),
    "qwen3edge.convert": (
        {"errors", "extras", "config", "sampling", "tokenization", "templates", "_core", "formats", "convert"},
        {"numpy"},
    ),
    "qwen3edge.runtime": ({"errors", "checks", "config", "_core", "runtime"}, {"numpy"}),
    "qwen3edge.runtime.aot": ({"errors", "extras", "runtime", "kernels"}, {"triton"}),
    "qwen3edge.runtime.torch_backend": ({"errors", "config", "_core", "runtime", "kernels"}, {"numpy", "torch"}),
    "qwen3edge.generation": (
        {"errors", "checks", "config", "sampling", "tokenization", "templates", "_core", "runtime", "generation"},
        {"numpy", "tokenizers", "jinja2", "markupsafe"},
    ),
    "qwen3edge.calibrate": (
        {"errors", "config", "_core", "convert", "runtime", "generation", "evaluate", "calibrate"},
        {"numpy"},
    ),
    "qwen3edge.evaluate": (
        {"errors", "config", "_core", "formats", "runtime", "generation", "evaluate"},
        {"numpy", "matplotlib"},
    ),
    "qwen3edge.cli": ({"*"}, {"numpy", "rich"}),
    "qwen3edge": ({"*"}, set()),
    "kernels": ({"kernels"}, {"torch", "triton"}),
}
# The only places where a function may import.
LAZY = ("qwen3edge/cli/verbs/", "qwen3edge/generation/late.py")

# A folder of csrc/ includes itself and those before it.
CXX = ["base", "ukernels", "io", "text", "core", "include", "capi", "bindings"]


def table_entry(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    for length in range(len(parts), 0, -1):
        if (name := ".".join(parts[:length])) in PYTHON:
            return name
    raise AssertionError(f"{path}: no row in the table")


def imports(tree: ast.AST) -> list[tuple[str, ast.AST]]:
    found: list[tuple[str, ast.AST]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            module = node.module or ""
            found += [(f"{module}.{alias.name}" if module == "qwen3edge" else module, node) for alias in node.names]
    return found


PACKAGE = sorted([*(ROOT / "qwen3edge").rglob("*.py"), *(ROOT / "kernels").rglob("*.py")])


@pytest.mark.parametrize("path", PACKAGE, ids=lambda p: str(p.relative_to(ROOT)))
def test_python_imports(path):
    ours, third_parties = PYTHON[table_entry(path)]
    tree = ast.parse(path.read_text())
    for module, _ in imports(tree):
        top, _, rest = module.partition(".")
        assert top != "kernels", "import it as qwen3edge.kernels"
        if top == "qwen3edge":
            name = rest.partition(".")[0]
            assert "*" in ours or name in ours, f"{module} does not point down the table"
        else:
            assert top in sys.stdlib_module_names or top in third_parties, f"{module} is not allowed here"
    if not str(path.relative_to(ROOT)).startswith(LAZY):
        functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
        assert not [m for f in functions for m, _ in imports(f)], "import inside a function"


SOURCES = sorted(p for p in (ROOT / "csrc").rglob("*") if p.suffix in {".h", ".cpp"})


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_cxx_includes(path):
    folder = path.relative_to(ROOT / "csrc").parts[0]
    allowed = CXX[: CXX.index(folder) + 1]
    for include in re.findall(r'#include "([^"]+)"', path.read_text()):
        target = include.partition("/")[0] if "/" in include else "include"
        assert target in allowed, f"{include} does not point down the table"
    if "pybind11" in path.read_text():
        assert folder == "bindings"


def test_tables_cover_the_tree():
    assert {p.name for p in (ROOT / "csrc").iterdir() if p.is_dir()} == set(CXX)
