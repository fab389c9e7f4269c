"""Which block format each tensor gets: data, stored in the file that it made."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from qwen3edge import _core
from qwen3edge.architectures.architecture import ModelTensor
from qwen3edge.convert.names import EMBEDDING, HEAD
from qwen3edge.errors import RequestError
from qwen3edge.formats import blocks
from qwen3edge.formats.blocks import PANEL_ROWS, block_format

VECTOR = "vector"
BLOCK_FORMATS = tuple(name for name in blocks.BLOCK_FORMATS if name != VECTOR)
LAYERS = ("", "first", "last")
HOLDS_ANY = "q8"
"""For an unquantized matrix of a checkpoint whose others are quantized, as someone wanted it better than those; and for
what no format of ours holds as it is."""
PADDING_BITS = 0.5  # a weight


@dataclass(frozen=True)
class Rule:
    """The tensors whose name matches get the format."""

    pattern: str  # as in a shell: * and ?
    format: str
    layers: str = ""  # only these: "first", the first eighth (at least one), or "last", the last eighth
    narrow: str = ""  # the format instead for rows so short that padding would cost PADDING_BITS more

    def __post_init__(self) -> None:
        """Raises RequestError."""
        for name in (self.format, self.narrow or self.format):
            if name not in BLOCK_FORMATS:
                raise RequestError(f"block format: expected one of {', '.join(BLOCK_FORMATS)}, found {name!r}")
        if self.layers not in LAYERS:
            raise RequestError(f"layers of a rule: expected first, last or none, found {self.layers!r:.60}")

    def covers(self, name: str, layers: int) -> bool:
        """Whether it decides about a tensor of a model of so many layers."""
        if not fnmatchcase(name, self.pattern):
            return False
        if not self.layers:
            return True
        kind, _, rest = name.partition(".")
        if kind != "blk":
            return False
        layer = int(rest.partition(".")[0])
        return 8 * layer < layers if self.layers == "first" else 8 * layer >= 7 * layers


@dataclass(frozen=True)
class Recipe:
    """The first rule that covers a matrix decides its format. Norms, biases and routers stay float32."""

    name: str
    rules: tuple[Rule, ...]

    def format_of(self, tensor: ModelTensor, layers: int) -> str:
        """The block format of a tensor; a smaller group of the same kind where the rule's does not divide the rows.

        layers: of the model. Raises RequestError when no rule covers it.
        """
        if tensor.is_vector:
            return VECTOR
        fitting = self.wanted(tensor, layers)
        while not holds(fitting, tensor.columns):
            fitting = f"{fitting.rstrip('0123456789')}{block_format(fitting).group // 2}"
        return fitting

    def wanted(self, tensor: ModelTensor, layers: int) -> str:
        """What the rules say, whether the rows fit or not; the tensor's own format where it has one. Rules of the head
        cover a tied embedding as well.
        """
        if tensor.required_format is not None:
            return tensor.required_format
        for rule in self.rules:
            if rule.covers(tensor.name, layers) or (tensor.is_head_too and rule.covers(HEAD, layers)):
                return rule.narrow if rule.narrow and _is_padded(rule, tensor.columns) else rule.format
        raise RequestError(f"recipe {self.name!r}: expected a rule for every matrix, found none for {tensor.name!r}")

    def to_json(self) -> str:
        """For `qwen3edge.recipe`."""
        rules = [{key: value for key, value in asdict(rule).items() if value} for rule in self.rules]
        return json.dumps({"name": self.name, "rules": rules})

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


# Where bits matter most (docs/decisions/recipes.md; of hybrids docs/decisions/hybrid-recipes.md): embedding and head;
# values, which are small and add to the stream what attention picks; what the first layers add to it; `down` more than
# the rest. Rows of less than a block, as of small experts, would be padded in q4z.
_INT4 = (
    Rule("token_embd.weight", "q6z32"),
    Rule("output.weight", "q6z32"),
    Rule("*.attn_v.weight", "q6z32"),
    Rule("*.attn_k.weight", "q6z32", "first"),
    Rule("*.attn_output.weight", "q6z32", "first"),
    *(Rule(f"*.{kind}.weight", "q6z32", "first") for kind in ("attn_qkv", "attn_gate", "ssm_out")),
    Rule("*.attn_q.weight", "q4z32", "first"),
    *(
        Rule(f"*.{kind}.weight", "q4z64", narrow="q4g32")
        for kind in ("attn_q", "attn_k", "attn_output", "ffn_gate", "ffn_up", "ffn_gate_up_exps")
    ),
    Rule("*", "q4z32", narrow="q4g32"),
)

# With 8 bits most of what is lost is lost by activations that share one scale in 256: at the head, which is nothing of
# a prefill; at values; and at `down` and a delta net's output of the first layers, which meet the largest outliers.
_VALUES = Rule("*.attn_v.weight", "q8g32")
_FIRST_DOWN = Rule("*.ffn_down*.weight", "q8g32", "first")
_FIRST_OUT = Rule("*.ssm_out.weight", "q8g32", "first")
_INT8 = (
    Rule("output.weight", "q8g32"),
    Rule("token_embd.weight", "q6z32"),
    _VALUES,
    _FIRST_DOWN,
    _FIRST_OUT,
    Rule("*", "q8"),
)
_INT6 = (Rule("output.weight", "q8"), Rule("token_embd.weight", "q6z32"), _VALUES, _FIRST_OUT, Rule("*", "q6z32"))

RECIPES = {
    "int4": Recipe("int4", _INT4),
    "int6": Recipe("int6", _INT6),
    "int8": Recipe("int8", _INT8),
    **{name: Recipe(name, (Rule("*", name),)) for name in BLOCK_FORMATS},
}


def recipe_of(name: str, formats: Mapping[str, str]) -> Recipe:
    """The recipe that gives each matrix its format. formats: by tensor; a head that is not among them: as embedding."""
    rest = Counter(formats.values()).most_common(1)[0][0]
    exceptions = {HEAD: formats[EMBEDDING], **formats}
    return Recipe(name, (*(Rule(key, kept) for key, kept in exceptions.items() if kept != rest), Rule("*", rest)))


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


def holds(name: str, columns: int) -> bool:
    """Whether rows of that many weights fit: whole groups, and of q8 any, as its last block may be short."""
    fmt = block_format(name)
    return fmt.kind == "q8" or not fmt.group or columns % fmt.group == 0


def _is_padded(rule: Rule, columns: int) -> bool:
    """Whether rows are so short that rule.narrow takes PADDING_BITS less."""
    if not holds(rule.format, columns) or not holds(rule.narrow, columns):
        return False
    bits = [
        8 * _core.packed_nbytes(name, PANEL_ROWS, columns) / (PANEL_ROWS * columns)
        for name in (rule.format, rule.narrow)
    ]
    return bits[0] >= bits[1] + PADDING_BITS
