"""Which block format each tensor gets: data, stored in the file that it made."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from qwen3edge import _core
from qwen3edge.convert.names import ModelTensor
from qwen3edge.errors import RequestError

VECTOR = "vector"
BLOCK_FORMATS = tuple(f["name"] for f in _core.block_formats() if f["name"] != VECTOR)
_GROUPS = {f["name"]: f["group"] for f in _core.block_formats()}


@dataclass(frozen=True)
class Rule:
    """The tensors whose name matches get the format."""

    pattern: str  # as in a shell: * and ?
    format: str

    def __post_init__(self) -> None:
        """Raises RequestError."""
        if self.format not in BLOCK_FORMATS:
            raise RequestError(f"block format: expected one of {', '.join(BLOCK_FORMATS)}, found {self.format!r}")


@dataclass(frozen=True)
class Recipe:
    """The first rule that matches a matrix decides its format. Norms, biases and routers stay float32."""

    name: str
    rules: tuple[Rule, ...]

    def format_of(self, tensor: ModelTensor) -> str:
        """The block format of a tensor; a smaller group of the same kind where the rule's does not divide the rows.

        Raises RequestError when no rule matches.
        """
        if tensor.is_vector:
            return VECTOR
        wanted = self.wanted(tensor)
        fitting = wanted
        while _GROUPS[fitting] and not holds(fitting, tensor.columns):
            fitting = f"{fitting.rstrip('0123456789')}{_GROUPS[fitting] // 2}"
        return fitting

    def wanted(self, tensor: ModelTensor) -> str:
        """What the rules say, whether the rows fit or not; the tensor's own format where it has one."""
        if tensor.required_format is not None:
            return tensor.required_format
        for rule in self.rules:
            if fnmatchcase(tensor.name, rule.pattern):
                return rule.format
        raise RequestError(f"recipe {self.name!r}: expected a rule for every matrix, found none for {tensor.name!r}")

    def to_json(self) -> str:
        """For `qwen3edge.recipe`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Raises RequestError."""
        try:
            value = json.loads(text)
            return cls(value["name"], tuple(Rule(**rule) for rule in value["rules"]))
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, RequestError):
                raise
            raise RequestError(f"recipe: expected JSON with a name and rules: {error!r}") from None


def _uniform(name: str, block_format: str) -> Recipe:
    return Recipe(name, (Rule("*", block_format),))


# Embedding and head keep 6 bits: they are most sensitive, and small models lose most (docs/quality.md).
RECIPES = {
    "int4": Recipe("int4", (Rule("token_embd.weight", "q6z32"), Rule("output.weight", "q6z32"), Rule("*", "q4z32"))),
    "int8": _uniform("int8", "q8"),
    **{name: _uniform(name, name) for name in BLOCK_FORMATS},
}


def read_recipe(path: str | os.PathLike[str]) -> Recipe:
    """From a JSON file, {"name": .., "rules": [{"pattern": .., "format": ..}, ..]}, or the one that made a `.q3e` file.

    Raises RequestError, FileFormatError, OSError.
    """
    if Path(path).suffix == ".q3e":
        file = _core.ModelFile(os.fspath(path))
        text = file.get("qwen3edge.recipe") if "qwen3edge.recipe" in file else ""
    else:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    return Recipe.from_json(str(text))


def find_recipe(quant: str | Recipe) -> Recipe:
    """A recipe by its name, or a block format for every matrix. Raises RequestError for an unknown name."""
    if isinstance(quant, Recipe):
        return quant
    try:
        return RECIPES[quant]
    except (KeyError, TypeError):
        raise RequestError(f"quant: expected one of {', '.join(RECIPES)}, found {quant!r}") from None


def holds(block_format: str, columns: int) -> bool:
    """Whether rows of that many weights fit: whole groups, and of q8 any, as its last block may be short."""
    group = _GROUPS[block_format]
    return block_format.startswith("q8") or not group or columns % group == 0
