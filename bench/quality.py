"""What quantization costs a trained model: weights, activations and KV cache, each alone and together.

python bench/quality.py tests/data/tiny-qwen3 --markdown docs/decisions/block-formats.md

The texts are held-out prompts, each with the greedy answer of the unquantized model. Divergences are in nats a token:
of all tokens, and of the answers alone. A model that has mastered its tasks is so sure of its answers that only the
rest tells formats apart. --format takes a recipe, a block format for all matrices, or LAYERS+HEAD such as q4z32+q6z32:
the first for the layers, the second for embedding and head. Repeating --format leaves out all others.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from block_speed import measure_speed
from chats import Answers, Chat, Texts, answer_greedily, read_records
from harness import Cell, describe_machine, markdown_table, table, write_between
from numpy.typing import NDArray
from quiet import add_busy_option, wait_for_quiet
from rounded_reference import (
    linear_blocks,
    linear_names,
    load_dequantized,
    load_reference,
    put_matrices,
    reference_logits,
    rounded_activations,
)
from transformers import PreTrainedModel

import qwen3edge
from qwen3edge import _core
from qwen3edge.convert import RECIPES, Recipe, Rule, convert
from qwen3edge.convert.names import EMBEDDING, HEAD
from qwen3edge.evaluate.divergence import kl_divergence

FOUR_BITS = ["q4z32", "q4z64", "q4g32", "q4g64", "q4g128", "q4a32", "q4a64", "q4a128"]
DEFAULT_FORMATS = ["q8g32", "int8", "q6z32", *FOUR_BITS, "int4", "q4z32+q8", *(f"{name}+q6z32" for name in FOUR_BITS)]
TEXT_STEP = 3  # one record of so many; odd, as records think in turn
BEGIN, END = "<!-- quality: begin -->", "<!-- quality: end -->"
KINDS = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]


def find_recipe(name: str) -> Recipe:
    layers, plus, head = name.partition("+")
    if not plus:
        return RECIPES[name]
    return Recipe(name, (Rule(EMBEDDING, head), Rule(HEAD, head), Rule("*", layers)))


@dataclass
class Divergence:
    """Of one variant from the unquantized model, chat by chat."""

    kl: list[NDArray[np.float64]] = field(default_factory=list)  # of each token's successor
    answers: list[NDArray[np.float64]] = field(default_factory=list)  # the same where an answer's token is predicted
    agreed: list[NDArray[np.bool_]] = field(default_factory=list)  # both think the same token most likely

    def add(self, chat: Chat, reference: NDArray[np.float32], other: NDArray[np.float32]) -> None:
        """Logits [tokens, vocabulary] of both."""
        kl = kl_divergence(reference, other)
        self.kl.append(kl)
        self.answers.append(kl[chat.prompt_size - 1 : -1])
        self.agreed.append(reference.argmax(-1) == other.argmax(-1))

    def to_dict(self) -> dict[str, float]:
        chats = np.array([kl.mean() for kl in self.kl])
        return {
            "kl": float(np.concatenate(self.kl).mean()),
            "kl_standard_error": float(chats.std() / len(chats) ** 0.5),  # chats are independent, tokens are not
            "kl_answers": float(np.concatenate(self.answers).mean()),
            "top1": float(np.concatenate(self.agreed).mean()),
        }


class Study:
    """A folder's checkpoint, the texts, and what the unquantized model says about them."""

    def __init__(self, folder: Path, texts: Path, work: Path) -> None:
        self.folder, self.work = folder, work
        self.records = read_records(texts)
        self.base = load_reference(folder)
        self.context = min(2048, self.base.config.max_position_embeddings)
        self.answers = {"bf16": self._answer("bf16")}
        tokens = Texts(self.file("bf16"))
        chosen = range(0, len(self.records), TEXT_STEP)
        self.chats = [self._chat(tokens.prompt(self.records[i]), self.answers["bf16"].tokens[i]) for i in chosen]
        self.reference = [self.torch_logits(self.base, chat) for chat in self.chats]

    @staticmethod
    def _chat(prompt: tuple[int, ...], answer: tuple[int, ...]) -> Chat:
        return Chat(prompt + answer, len(prompt))

    def path(self, name: str) -> Path:
        """The `.q3e` file of a recipe, converted when it is first asked for."""
        path = self.work / f"{name}.q3e"
        if not path.exists():
            convert(self.folder, path, find_recipe(name))
        return path

    def file(self, name: str) -> _core.ModelFile:
        return _core.ModelFile(str(self.path(name)))

    def load(self, name: str, kv: str) -> qwen3edge.Model:
        return qwen3edge.load(self.path(name), context=self.context, kv=kv, threads=1)

    def _answer(self, name: str) -> Answers:
        with self.load(name, "bf16" if name == "bf16" else "int8") as model:
            return answer_greedily(model, self.records)

    def accuracy(self, name: str) -> float:
        """Of all held-out records, in percent; the KV cache is int8, with bf16 weights bf16."""
        if name not in self.answers:
            self.answers[name] = self._answer(name)
        return 100 * self.answers[name].accuracy

    def torch_logits(self, model: PreTrainedModel, chat: Chat) -> NDArray[np.float32]:
        return reference_logits(model, np.array(chat.tokens))

    def compare(self, logits: Iterator[NDArray[np.float32]]) -> dict[str, float]:
        """logits: of each chat in turn."""
        result = Divergence()
        for chat, reference, other in zip(self.chats, self.reference, logits, strict=True):
            result.add(chat, reference, other)
        return result.to_dict()

    def of_torch(self, model: PreTrainedModel) -> dict[str, float]:
        return self.compare(self.torch_logits(model, chat) for chat in self.chats)

    def of_activations(self, blocks: Mapping[str, int]) -> dict[str, float]:
        """float32 weights, activations rounded."""
        with rounded_activations(self.base, blocks):
            return self.of_torch(self.base)

    def of_engine(self, name: str, kv: str) -> dict[str, float]:
        with self.load(name, kv) as model:
            return self.compare(model.logits(chat.tokens) for chat in self.chats)

    def error(self, name: str) -> tuple[float, float]:
        """Bits a weight, and rms(stored - original) / rms(original), of all matrices together."""
        original, stored = self.file("f32"), self.file(name)
        bits = squares = weights = total = 0.0
        for tensor in stored.tensors():
            if tensor["format"] == "vector":
                continue
            w = original.dequantize(tensor["name"]).astype(np.float64)
            difference = stored.dequantize(tensor["name"]) - w
            squares, total = squares + float((difference**2).sum()), total + float((w**2).sum())
            bits, weights = bits + 8 * tensor["nbytes"], weights + w.size
        return bits / weights, (squares / total) ** 0.5


def measure_format(study: Study, name: str) -> dict[str, Any]:
    bits, error = study.error(name)
    file = study.file(name)
    return {
        "format": name,
        "bits": bits,
        "weight_error": error,
        "weights": study.of_torch(load_dequantized(study.folder, file)),
        "activations": study.of_activations(linear_blocks(file)),
        "together": study.of_engine(name, "int8"),
        "accuracy": study.accuracy(name),
    }


def measure_kinds(study: Study, layer_format: str) -> list[dict[str, Any]]:
    """Weights alone: one kind of matrix in the format, all others in float32."""
    file, sizes = study.file(layer_format), {}
    for tensor in file.tensors():
        if tensor["format"] != "vector":
            sizes[tensor["name"]] = tensor["rows"] * tensor["columns"]
    rows = []
    for kind in ["embedding, head", *KINDS]:
        chosen = [name for name in sizes if (kind in name if kind in KINDS else name in (EMBEDDING, HEAD))]
        put_matrices(study.base, file, chosen)
        share = sum(sizes[name] for name in chosen) / sum(sizes.values())
        rows.append({"kind": kind, "format": layer_format, "share": share, **study.of_torch(study.base)})
        put_matrices(study.base, study.file("f32"), chosen)
    return rows


def measure(study: Study, formats: Sequence[str], kinds_format: str) -> dict[str, Any]:
    layers = list(linear_names(study.file("f32")))
    result: dict[str, Any] = {
        "records": len(study.records),
        "chats": len(study.chats),
        "tokens": sum(len(chat.tokens) for chat in study.chats),
        "answer_tokens": sum(len(chat.tokens) - chat.prompt_size for chat in study.chats),
        "bf16_accuracy": study.accuracy("bf16"),
        "kv": [{"kv": kv, **study.of_engine("f32", kv)} for kv in ("f32", "bf16", "int8", "int4")],
        "blocks": [
            {"block": block, **study.of_activations(dict.fromkeys(layers, block))} for block in (32, 64, 128, 256)
        ],
        "formats": [],
        "kinds": measure_kinds(study, kinds_format),
    }
    for name in formats:
        result["formats"].append(measure_format(study, name))
        print(f"{name}: {result['formats'][-1]}", file=sys.stderr, flush=True)
    return result


# ---- tables ----


def _small(value: float) -> str:
    return f"{value:.1e}" if value < 5e-5 else f"{value:.4f}" if value < 0.1 else f"{value:.3f}"


def format_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Cell]]:
    return [
        {
            "format": row["format"],
            "bits": f"{row['bits']:.2f}",
            "weight error": f"{100 * row['weight_error']:.2f} %",
            "KL weights": _small(row["weights"]["kl"]),
            "KL activations": _small(row["activations"]["kl"]),
            "KL together": _small(row["together"]["kl"]),
            "± s.e.": _small(row["together"]["kl_standard_error"]),
            "of answers": _small(row["together"]["kl_answers"]),
            "top-1": f"{100 * row['together']['top1']:.1f} %",
            "held-out": f"{row['accuracy']:.1f} %",
        }
        for row in rows
    ]


def part_rows(result: Mapping[str, Any]) -> list[dict[str, Cell]]:
    parts = [(f"activations in int8, a scale for {row['block']} values", row) for row in result["blocks"]]
    parts += [(f"KV cache in {row['kv']}", row) for row in result["kv"]]
    return [
        {
            "alone": name,
            "KL": _small(row["kl"]),
            "of answers": _small(row["kl_answers"]),
            "top-1": f"{100 * row['top1']:.1f} %",
        }
        for name, row in parts
    ]


def kind_rows(result: Mapping[str, Any]) -> list[dict[str, Cell]]:
    return [
        {
            f"in {row['format']}": row["kind"],
            "of the weights": f"{100 * row['share']:.0f} %",
            "KL": _small(row["kl"]),
            "of answers": _small(row["kl_answers"]),
        }
        for row in result["kinds"]
    ]


def sections(result: Mapping[str, Any]) -> list[tuple[str, list[dict[str, Cell]]]]:
    mixed = [row for row in result["formats"] if "+" in row["format"] or row["format"] == "int4"]
    found = [
        ("One format for all matrices", format_rows([row for row in result["formats"] if row not in mixed])),
        ("Layers in 4 bits, embedding and head in more", format_rows(mixed)),
        ("Activations and KV cache alone", part_rows(result)),
        ("Weights of one kind alone", kind_rows(result)),
        ("Speed of a matrix product, as a multiple of q4g32's", result["speed"]),
    ]
    return [(title, rows) for title, rows in found if rows]


def head(result: Mapping[str, Any]) -> str:
    return (
        f"KL over {result['tokens']} tokens of {result['chats']} chats, {result['answer_tokens']} of them in answers. "
        f"Of {result['records']} held-out records bf16 (weights and KV cache) answers {result['bf16_accuracy']:.1f} % "
        "right."
    )


def as_markdown(result: Mapping[str, Any]) -> str:
    lines = [head(result), ""]
    for title, rows in sections(result):
        lines += [f"### {title}", "", *markdown_table(rows), ""]
    return "\n".join(lines)


def write_markdown(path: Path, result: Mapping[str, Any]) -> None:
    """Replaces what stands between the marks. Raises ValueError for a file without them."""
    write_between(path, (BEGIN, END), as_markdown(result))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a Hugging Face folder")
    parser.add_argument("--texts", type=Path, help="held-out chats (default: heldout.jsonl in the folder)")
    parser.add_argument("--format", action="append", help=f"may be repeated (default: {' '.join(DEFAULT_FORMATS)})")
    parser.add_argument("--kinds", default="q4z32", help="format of the table of one kind alone (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of the timed products (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--markdown", type=Path, help="a file with marks to write the tables between")
    add_busy_option(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # chats are short: threads that wait for each other cost more than they bring
    with tempfile.TemporaryDirectory() as work:
        study = Study(arguments.model, arguments.texts or arguments.model / "heldout.jsonl", Path(work))
        result = measure(study, arguments.format or DEFAULT_FORMATS, arguments.kinds)
    if not arguments.busy_anyway:  # only what follows is timed
        wait_for_quiet()
    result["speed"] = measure_speed(["q8", "q8g32", "q6z32", *FOUR_BITS], arguments.threads)
    result["machine"] = vars(describe_machine())
    if arguments.markdown is not None:
        write_markdown(arguments.markdown, result)
    if arguments.json:
        print(json.dumps(result, indent=1))
        return
    print(head(result))
    for title, rows in sections(result):
        print("\n".join(["", title, *table(rows)]))


if __name__ == "__main__":
    main()
