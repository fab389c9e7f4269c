"""Imports and includes point down one table, and nothing but its own tier leaves a per-ISA file."""

import ast
import graphlib
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Who may import whom, besides the standard library and the third parties named. "*" is everything of ours.
PYTHON = {
    "qwen3edge.errors": (set(), set()),
    "qwen3edge.architectures": ({"errors", "architectures"}, set()),
    "qwen3edge.config": ({"errors", "architectures"}, set()),
    "qwen3edge.checks": ({"errors"}, set()),
    "qwen3edge.closing": (set(), {"typing_extensions"}),
    "qwen3edge.sampling": (set(), set()),
    "qwen3edge.tokenization": (set(), set()),
    "qwen3edge.keywords": (set(), set()),
    "qwen3edge.settings": ({"errors", "checks", "keywords", "sampling"}, set()),
    "qwen3edge.extras": ({"errors"}, set()),
    "qwen3edge.templates": ({"errors", "checks", "templates"}, {"jinja2", "markupsafe"}),
    "qwen3edge.formats": ({"errors", "closing", "config", "_core", "formats"}, {"numpy", "gguf", "safetensors"}),
    "qwen3edge.convert": (
        {
            *("errors", "closing", "extras", "architectures", "config", "sampling", "tokenization", "templates"),
            *("_core", "formats", "convert"),
        },
        {"numpy"},
    ),
    "qwen3edge.runtime": ({"errors", "checks", "config", "settings", "_core", "runtime"}, {"numpy"}),
    "qwen3edge.runtime.aot": ({"errors", "extras", "runtime", "kernels"}, {"triton"}),
    "qwen3edge.runtime.aot_shapes": ({"config", "convert", "kernels"}, set()),
    "qwen3edge.runtime.torch_backend": (
        {"errors", "config", "settings", "_core", "runtime", "kernels"},
        {"numpy", "torch"},
    ),
    "qwen3edge.text": (
        {"errors", "checks", "tokenization", "templates", "_core", "text"},
        {"jinja2"},
    ),
    "qwen3edge.grammar": ({"errors", "checks", "extras", "sampling", "text", "grammar"}, {"numpy", "llguidance"}),
    "qwen3edge.generation": (
        {
            "errors",
            "closing",
            "checks",
            "config",
            "keywords",
            "sampling",
            "settings",
            "templates",
            "text",
            "grammar",
            "hub",
            "_core",
            "runtime",
            "generation",
        },
        {"numpy", "typing_extensions"},
    ),
    "qwen3edge.calibrate": (
        {
            *("errors", "architectures", "config", "_core", "formats", "convert", "runtime", "text", "generation"),
            *("evaluate", "calibrate"),
        },
        {"numpy"},
    ),
    "qwen3edge.evaluate": (
        {"errors", "config", "_core", "formats", "runtime", "text", "generation", "evaluate"},
        {"numpy", "matplotlib"},
    ),
    "qwen3edge.hub": ({"errors", "closing", "_core", "hub"}, set()),  # `load` and `plan` look into the cache
    "qwen3edge.hub.huggingface": ({"errors", "hub"}, {"huggingface_hub", "httpx2"}),
    "qwen3edge.hub.modelscope": ({"errors", "hub"}, {"modelscope_hub", "requests"}),
    "qwen3edge.hub.download": ({"errors", "formats", "hub"}, set()),
    "qwen3edge.hub.selection": ({"errors", "formats", "convert", "hub"}, set()),
    "qwen3edge.hub.space": ({"errors", "architectures", "config", "formats", "convert", "hub"}, set()),
    "qwen3edge.hub.pulling": ({"errors", "extras", "formats", "convert", "hub"}, set()),
    "qwen3edge.server": (
        {
            *("errors", "checks", "closing", "config", "keywords", "sampling", "settings", "_core", "__version__"),
            *("text", "runtime", "generation", "hub", "server"),
        },
        {"fastapi", "starlette", "pydantic", "pydantic_core", "uvicorn", "h11", "prometheus_client"},
    ),
    "qwen3edge.cli": ({"*"}, {"numpy", "rich"}),
    "qwen3edge": ({"*"}, set()),
    "kernels": ({"kernels"}, {"torch", "triton"}),
}
# The only places where a function imports, besides the verbs of the command: what it imports, and why so late.
LATE = {
    (
        "qwen3edge/generation/sequence.py",
        "numpy",
    ): "a model is loaded without; the core must not be the first",
    ("qwen3edge/generation/model.py", "numpy"): "a model is loaded without it",
    ("qwen3edge/generation/grammars.py", "qwen3edge.grammar"): "llguidance is for those who constrain answers",
    ("qwen3edge/text/template.py", "qwen3edge.templates.sandbox"): "prompts of token ids do without jinja2",
    ("qwen3edge/runtime/engine.py", "qwen3edge.runtime.pump"): "asyncio is for those who use it",
    ("qwen3edge/runtime/devices.py", "qwen3edge.runtime"): "torch and triton are for those who ask for a GPU",
}
VERBS = "qwen3edge/cli/verbs/"

# A folder of csrc/ includes itself and those before it.
CXX = [
    "base",
    "ukernels",
    "io",
    "text",
    "template",
    "prompt",
    "exec",
    "models",
    "runtime",
    "include",
    "capi",
    "probes",
    "bindings",
]


Function = ast.FunctionDef | ast.AsyncFunctionDef


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


def test_functions_import_in_few_places():
    found = set()
    for path in PACKAGE:
        name = str(path.relative_to(ROOT))
        functions = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, Function)]
        if not name.startswith(VERBS):
            found |= {(name, module) for function in functions for module, _ in imports(function)}
    assert found == set(LATE) and len(LATE) <= 6


def imported_files(path: Path) -> set[Path]:
    """Our own, whenever they are imported; not those that only type checkers see."""
    tree = ast.parse(path.read_text())
    unseen = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and id(node) not in unseen and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    names = {name.removeprefix("qwen3edge.") if name.startswith("qwen3edge.kernels") else name for name in names}
    files = {(ROOT / name.replace(".", "/")).with_suffix(".py") for name in names}
    return {file for file in files if file.is_file()}


def test_no_import_circle():
    graph = {path: imported_files(path) for path in PACKAGE}
    assert graph[ROOT / "qwen3edge/generation/model.py"] > {ROOT / "qwen3edge/settings.py"}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        raise AssertionError(" -> ".join(str(path.relative_to(ROOT)) for path in error.args[1])) from None


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


RUNTIME = [p for p in SOURCES if p.parts[-2] == "runtime"]
BLOCKS = {
    re.search(r"class (\w+) : public Block", p.read_text())[1]
    for p in (ROOT / "csrc/models").glob("*.h")
    if ": public Block" in p.read_text()
}


@pytest.mark.parametrize("path", RUNTIME, ids=lambda p: p.name)
def test_the_runtime_knows_no_block(path):
    """It goes through the list of a model: what a block is called, and what an architecture is, stays in models/."""
    text = path.read_text()
    models = set(re.findall(r'#include "models/([^"]+)"', text))
    assert models <= {"block.h", "tensors.h", "architectures.h"}
    if path.stem in {"engine", "plan", "weight_store"}:
        assert {"Attention", "Dense", "Experts"} <= BLOCKS
        assert not re.findall(r"\b(?:" + "|".join(sorted(BLOCKS)) + r")\b|qwen|Qwen|is_moe", text)


def test_tables_cover_the_tree():
    assert {p.name for p in (ROOT / "csrc").iterdir() if p.is_dir()} == {*CXX, "cmake"}
