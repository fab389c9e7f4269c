"""Where the bits of a model belong: what each kind of matrix alone costs in each block format, and recipes beside each
other.

    python -m bench.quality.kinds --every 5                      # of the tiny hybrid
    python -m bench.quality.kinds --part kinds --by-layer --format q4z32
    python -m bench.quality.kinds --part recipes --outliers norms    # with outliers (tests/outliers.py) put in

prints Markdown tables. A kind is quantized in all layers, all other matrices are bf16, and the engine runs as shipped
but for an f32 KV cache; KL is in nats a token, from the same model in bf16. The head is a matrix of its own, tied or
not. What stays in float32 (projections of a delta net's decay and step) is rounded in place, with exact activations.
"gain" is what q6z32 saves against q4z32 for each bit a weight that the whole model gets larger, padding included.

Recipes are the shipped ones and CANDIDATES, as converted from the checkpoint as it is; their sizes on real shapes stand
beside that of the model, as other kinds of matrices are large there. "answers" are right ones of the items of the text,
greedily with an int8 cache.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from bench.peers import ROOT
from bench.quality.candidates import CANDIDATES
from bench.quality.study import Study
from bench.quiet import BenchError
from bench.shapes import HYBRIDS
from bench.tables import Cell, markdown_table
from qwen3edge import _core
from qwen3edge.architectures.architecture import ModelTensor
from qwen3edge.config import ModelConfig
from qwen3edge.convert import RECIPES, Recipe, Rule
from qwen3edge.convert.names import model_tensors
from qwen3edge.errors import Qwen3EdgeError
from qwen3edge.evaluate.private_copy import private_copy
from tests.outliers import KINDS, Checkpoint, put_outliers
from tests.reference.chats import AT_ONCE, answer_greedily, read_records

MODEL = ROOT / "tests" / "data" / "tiny-qwen3-5"
TEXT = ROOT / "tests" / "data" / "tiny-qwen3" / "heldout.jsonl"
FORMATS = ("q4z64", "q4z32", "q6z32", "q8", "q8g32")
GAIN = ("q4z32", "q6z32")  # what the gain is between
SHAPES = ("3.5-0.8B", "3.5-9B")
SHIPPED = ("int4", "int6", "int8")
ANSWER_TOKENS = 512
MEAN_TOKENS = 1000  # whose mean an axis is put through
PARTS = ("kinds", "recipes")
PLAIN = "none"


def kinds_of(config: ModelConfig, by_layer: bool = False) -> dict[str, list[ModelTensor]]:
    """The matrices by their names without `.weight` and, unless by layer, `blk.N.`, in the file's order."""
    found: dict[str, list[ModelTensor]] = {}
    for tensor in model_tensors(config):
        if not tensor.is_vector:
            name = tensor.name.removesuffix(".weight")
            found.setdefault(name if by_layer else name.split(".")[-1], []).append(tensor)
    return found


def kinds_table(study: Study, formats: Sequence[str], by_layer: bool = False) -> Iterator[dict[str, Cell]]:
    """A line for each kind, or each matrix, as it is done. study: of a model whose head is no embedding."""
    kinds = kinds_of(study.config, by_layer)
    weights = {kind: sum(t.rows * t.columns for t in tensors) for kind, tensors in kinds.items()}
    for kind, tensors in kinds.items():
        share = weights[kind] / sum(weights.values())
        kl = {name: _alone(study, tensors, name) for name in formats}
        line: dict[str, Cell] = {"alone": kind, "of the weights": f"{100 * share:.1f} %"}
        line |= {name: f"{value:.5f}" for name, value in kl.items()}
        if set(GAIN) <= set(kl):
            sizes = [sum(_bits(t, name) for t in tensors) / sum(weights.values()) for name in GAIN]
            line["gain"] = f"{(kl[GAIN[0]] - kl[GAIN[1]]) / (sizes[1] - sizes[0]):.4f}"
        yield line


def _alone(study: Study, tensors: Sequence[ModelTensor], block_format: str) -> float:
    """The divergence with these matrices in the format."""
    names = [tensor.name for tensor in tensors]
    if tensors[0].required_format is not None:
        with private_copy(study.exact, study.work) as copy:
            file = _core.ModelFile(str(study.exact))
            copy.matrices |= {each["name"]: each for each in file.tensors() if each["name"] in names}
            for name in names:
                copy.put_quantized(name, block_format)
            return float(study.scores(study.engine(Path(copy.path))).kl.mean(dtype=np.float64))
    recipe = Recipe(f"one-kind-{block_format}", (*(Rule(name, block_format) for name in names), Rule("*", "bf16")))
    path = study.ours(recipe)
    try:
        return float(study.scores(study.engine(path)).kl.mean(dtype=np.float64))
    finally:
        path.unlink()


def _bits(tensor: ModelTensor, block_format: str) -> int:
    return 8 * _core.packed_nbytes(block_format, tensor.rows, tensor.columns)


def bits_a_weight(recipe: Recipe, config: ModelConfig) -> float:
    """Of all matrices together, padding included."""
    matrices = [tensor for tensor in model_tensors(config) if not tensor.is_vector]
    bits = sum(_bits(tensor, recipe.format_of(tensor, config.layers)) for tensor in matrices)
    return bits / sum(tensor.rows * tensor.columns for tensor in matrices)


def recipes_table(
    study: Study, recipes: Sequence[Recipe], items: Path | None, shapes: Sequence[str]
) -> Iterator[dict[str, Cell]]:
    """A line for each recipe, as it is done; items: to be answered."""
    for recipe in recipes:
        path = study.ours(recipe)
        found = study.scores(study.engine(path)).summary()
        line: dict[str, Cell] = {"recipe": recipe.name, "bits": f"{bits_a_weight(recipe, study.config):.2f}"}
        line |= {shape.removeprefix("3.5-"): f"{bits_a_weight(recipe, HYBRIDS[shape]):.2f}" for shape in shapes}
        line |= {
            "KL": f"{found['kl']:.5f}",
            "± s.e.": f"{found['kl_standard_error']:.5f}",
            "99 %": f"{found['kl_99']:.3f}",
            "top-1": f"{100 * found['top1']:.1f} %",
        }
        if items is not None:
            line["answers"] = f"{100 * answers(study, path, items):.1f} %"
        yield line


def answers(study: Study, path: Path, items: Path) -> float:
    """The share that is right."""
    with study.load(path, "int8", more=ANSWER_TOKENS, sequences=AT_ONCE) as model:
        return answer_greedily(model, read_records(items)).accuracy


def untied(model: Path, folder: Path) -> Path:
    """The same with a head of its own."""
    checkpoint = Checkpoint.read(model)
    checkpoint.untie()
    return checkpoint.save(folder / "untied", model)


def tables(arguments: argparse.Namespace, work: Path) -> Iterator[tuple[str, list[dict[str, Cell]]]]:
    """Each table with what it is of."""
    recipes = [recipe for recipe in (*(RECIPES[name] for name in SHIPPED), *CANDIDATES)
               if not arguments.recipe or recipe.name in arguments.recipe]  # fmt: skip
    items = None if arguments.no_answers else arguments.text

    def study(model: Path, name: str) -> Study:
        place = work / name
        place.mkdir()
        return Study(model, arguments.text, place, threads=arguments.threads, every=arguments.every)

    plain = study(arguments.model, PLAIN)
    for outliers in arguments.outliers or [PLAIN]:
        model, what = arguments.model, arguments.model.name
        if outliers != PLAIN:
            tokens = np.concatenate(plain.texts)[:MEAN_TOKENS]
            model = put_outliers(model, outliers, work / f"with {outliers}", tokens=tokens, seed=arguments.seed)
            what += f", outliers: {outliers}"
        for part in arguments.part or PARTS:
            if part == "kinds":
                source = untied(model, work / f"{outliers} {part}")
                lines = kinds_table(
                    study(source, f"{outliers} studied"), arguments.format or FORMATS, arguments.by_layer
                )
            else:
                of_model = plain if outliers == PLAIN else study(model, outliers)
                lines = recipes_table(of_model, recipes, items, SHAPES)
            rows = []
            for line in lines:
                rows.append(line)
                print(line, file=sys.stderr, flush=True)
            yield f"{what}: {part}, {sum(map(len, plain.texts))} tokens", rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODEL, help="a folder (%(default)s)")
    parser.add_argument("--text", type=Path, default=TEXT, help=".jsonl of items (%(default)s)")
    parser.add_argument("--every", type=int, default=1, help="one item of so many (%(default)s)")
    parser.add_argument("--part", action="append", choices=PARTS, help="default: both")
    parser.add_argument("--format", action="append", choices=FORMATS, help="default: all")
    parser.add_argument("--by-layer", action="store_true", help="each matrix on its own")
    parser.add_argument("--recipe", action="append", help="by name (default: all)")
    parser.add_argument("--outliers", action="append", choices=(PLAIN, *KINDS), help=f"default: {PLAIN}")
    parser.add_argument("--seed", type=int, default=1, help="where outliers are (%(default)s)")
    parser.add_argument("--no-answers", action="store_true", help="divergence alone")
    parser.add_argument("--threads", type=int, help="default: all")
    arguments = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as work:
            for head, rows in tables(arguments, Path(work)):
                print("\n".join([f"### {head}", "", *markdown_table(rows), ""]), flush=True)
    except (BenchError, Qwen3EdgeError, OSError) as error:
        print(f"kinds.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
