"""Our quantizers against llama.cpp's at equal bits a weight: KL divergence of the weights alone, and as run.

    python bench/quality_by_size.py tests/data/tiny-qwen3 tests/data/tiny-qwen3-moe \\
        --markdown docs/decisions/equal-bits.md --plot docs/quality.png

Every file, ours and theirs, is dequantized into one float32 graph (the engine with weights and KV cache in f32) and
compared with the unquantized model there; "as run" is the engine as shipped. Bits are those of the quantized matrices.
llama.cpp's files come from llama-quantize (QWEN3EDGE_LLAMA_QUANTIZE), which gets the same importance matrix as we do.
With several models their tables follow each other; the plot is of the first, and who has no held-out chats gets those.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dequantized import UNQUANTIZED, write_dequantized
from gguf import GGUFReader
from harness import Cell, markdown_table, table, write_between
from peers import LLAMA_QUANTIZE, run

import qwen3edge
from qwen3edge import _core
from qwen3edge.calibrate.calibration import Wanted, calibrate
from qwen3edge.convert import convert, export_gguf
from qwen3edge.evaluate.measure import measure
from qwen3edge.evaluate.plot import Point, draw
from qwen3edge.evaluate.scores import Scores
from qwen3edge.evaluate.texts import Window, read_documents, windows

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "data" / "tiny-qwen3" / "training"))

from tiny_mix import LATER_MIX, training_items

WINDOW = 512
TEXT_STEP = 3  # one held-out record of so many
CALIBRATION_ITEMS, CALIBRATION_SEED = 400, 12345  # of the generator that made the training text; never held-out ones
THEIRS = ("Q4_0", "Q4_K_S", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0")
THEIRS_WITH_MATRIX = ("Q4_0", "IQ4_XS", "Q4_K_S", "Q4_K_M", "Q5_K_M")
BEGIN, END = "<!-- by size: begin -->", "<!-- by size: end -->"


@dataclass(frozen=True)
class Row:
    """One file."""

    series: str
    name: str
    bits: float
    weights: Scores  # float32 graph
    as_run: Scores | None  # theirs: not measured


class Comparison:
    """A checkpoint, its unquantized `.q3e` file, texts and statistics."""

    def __init__(self, folder: Path, texts: Path, work: Path) -> None:
        """texts: the folder that has tokenizer and held-out chats where the first has none."""
        self.folder, self.work = work / "checkpoint", work
        for path in (*texts.iterdir(), *folder.iterdir()):  # the second has the last word
            if path.is_file() and (path.parent == folder or path.suffix != ".safetensors"):
                self.folder.mkdir(exist_ok=True)
                shutil.copyfile(path, self.folder / path.name)
        self.exact = work / "f32.q3e"
        convert(self.folder, self.exact, "f32")
        with self._load(self.exact) as model:
            documents = read_documents(self.folder / "heldout.jsonl", model.prompt_builder)[::TEXT_STEP]
        self.parts: list[Window] = list(windows(documents, WINDOW))
        text = work / "calibration.jsonl"
        text.write_text("\n".join(json.dumps(record) for record in calibration_records()), encoding="utf-8")
        self.theirs = work / "imatrix.dat"
        everything = Wanted(text, WINDOW, grams=True, expert_grams=True, sensitivities=True, imatrix=self.theirs)
        calibrate(self.exact, work / "text.npz", everything, threads=1)
        calibrate(self.exact, work / "own.npz", Wanted(None, WINDOW, sensitivities=True), threads=1)
        export_gguf(self.exact, work / "f32.gguf")

    def _load(self, path: Path, kv: str = "f32") -> qwen3edge.Model:
        return qwen3edge.load(path, context=WINDOW, threads=1, kv=kv)

    def scores(self, path: Path, kv: str = "f32") -> Scores:
        with self._load(path, kv) as model, self._load(self.exact) as reference:
            return measure(model, self.parts, reference)

    def ours(self, series: str, name: str, **how: Any) -> Row:
        path = self.work / "ours.q3e"
        convert(self.folder, path, how.pop("quant", "int4"), **how)
        file = _core.ModelFile(str(path))
        matrices = [t for t in file.tensors() if t["format"] not in UNQUANTIZED]
        bits = 8 * sum(t["nbytes"] for t in matrices) / sum(t["rows"] * t["columns"] for t in matrices)
        wide = self.work / "wide.q3e"
        write_dequantized(file, self.exact, wide)
        return Row(series, name, bits, self.scores(wide), self.scores(path, "int8"))

    def llama(self, quantize: Path, kind: str, *, matrix: bool) -> Row:
        path, wide = self.work / "theirs.gguf", self.work / "wide.q3e"
        options = ["--imatrix", self.theirs] if matrix else []
        run([quantize, *options, self.work / "f32.gguf", path, kind])
        tensors = [t for t in GGUFReader(path).tensors if t.tensor_type.name != "F32"]
        bits = 8 * sum(int(t.n_bytes) for t in tensors) / sum(int(t.n_elements) for t in tensors)
        convert(path, wide, "f32")
        return Row("llama.cpp, matrix" if matrix else "llama.cpp", kind, bits, self.scores(wide), None)


def calibration_records() -> Iterator[dict[str, Any]]:
    for item in itertools.islice(training_items(CALIBRATION_SEED, LATER_MIX), CALIBRATION_ITEMS):
        last: dict[str, Any] = {"role": "assistant", "content": item.answer, "reasoning_content": item.reasoning or ""}
        if item.tool_calls:
            last["tool_calls"] = list(item.tool_calls)
        yield {"messages": [*item.messages, last], "tools": list(item.tools) or None}


def compare(study: Comparison, quantize: Path) -> list[Row]:
    """Theirs first; ours at the bits of each that is asked about."""
    rows = [study.llama(quantize, kind, matrix=False) for kind in THEIRS]
    rows += [study.llama(quantize, kind, matrix=True) for kind in THEIRS_WITH_MATRIX]
    bits = {row.name: row.bits for row in rows}
    own, text = study.work / "own.npz", study.work / "text.npz"
    plain, by_own, weighed, gptq = "no data", "no data, own bits", "matrix", "gptq"
    rows += [study.ours(plain, name, quant=name) for name in ("int4", "int8", "q8g32")]
    targets = ("Q4_0", "Q4_K_M", "Q5_K_M", "Q6_K")
    rows += [study.ours(by_own, f"as {t}", imatrix=own, quantizer="search", target_bits=bits[t]) for t in targets]
    rows += [study.ours(weighed, "int4", imatrix=text)]
    rows += [study.ours(weighed, f"as {t}", imatrix=text, target_bits=bits[t]) for t in targets]
    rows += [study.ours(gptq, "int4", imatrix=text, quantizer="gptq")]
    rows += [study.ours(gptq, f"as {t}", imatrix=text, quantizer="gptq", target_bits=bits[t]) for t in targets[:3]]
    return rows


def shown(row: Row) -> dict[str, Cell]:
    found = row.weights.summary()
    run_kl = "" if row.as_run is None else f"{row.as_run.summary()['kl']:.5f}"
    return {
        "by": row.series,
        "file": row.name,
        "bits": f"{row.bits:.2f}",
        "KL weights": f"{found['kl']:.5f}",
        "± s.e.": f"{found['kl_standard_error']:.5f}",
        "99 %": f"{found['kl_99']:.4f}",
        "top-1": f"{100 * found['top1']:.1f} %",
        "KL as run": run_kl,
    }


def ratios(rows: Sequence[Row]) -> list[dict[str, Cell]]:
    """What was asked for, and what was found. Ours has no more bits than theirs."""
    kl = {(row.series, row.name): row.weights.summary()["kl"] for row in rows}
    asked = [
        ("int4, default recipe", ("no data", "int4"), ("llama.cpp", "Q4_0"), 0.6),
        ("int4, default recipe (fewer bits)", ("no data", "int4"), ("llama.cpp", "Q4_K_M"), 1.0),
        (
            "int4 without data, bits by its own text",
            ("no data, own bits", "as Q4_K_M"),
            ("llama.cpp", "Q4_K_M"),
            1.0,
        ),
        ("int4, matrix", ("matrix", "as Q4_K_M"), ("llama.cpp, matrix", "Q4_K_M"), 0.8),
        ("int4, gptq", ("gptq", "as Q4_K_M"), ("llama.cpp, matrix", "Q4_K_M"), 0.8),
        ("8 bits, q8g32", ("no data", "q8g32"), ("llama.cpp", "Q8_0"), 1.0),
        ("int8 (fewer bits)", ("no data", "int8"), ("llama.cpp", "Q8_0"), 1.0),
    ]
    return [
        {
            "ours": what,
            "against": f"{' '.join(theirs)}",
            "KL, ours / theirs": f"{kl[ours] / kl[theirs]:.2f}",
            "wanted": most,
        }
        for what, ours, theirs, most in asked
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="+", help="a Hugging Face folder; the first with heldout.jsonl")
    parser.add_argument("--markdown", type=Path, help="a file with marks to write the tables between")
    parser.add_argument("--plot", type=Path, help="draw bits against divergence")
    arguments = parser.parse_args()
    quantize = LLAMA_QUANTIZE.find()
    if quantize is None:
        sys.exit(LLAMA_QUANTIZE.absent())
    pages = []
    for folder in arguments.model:
        with tempfile.TemporaryDirectory() as work:
            study = Comparison(folder, arguments.model[0], Path(work))
            rows = compare(study, quantize)
        tokens = sum(len(part.tokens) - part.first for part in study.parts)
        tables: list[Sequence[Mapping[str, Cell]]] = [ratios(rows), [shown(row) for row in rows]]
        head = f"{folder.name}: {tokens} tokens of held-out chats."
        print(head, *("\n".join(["", *table(t)]) for t in tables), sep="\n", flush=True)
        pages.append("\n\n".join([f"### {head[:-1]}", *("\n".join(markdown_table(t)) for t in tables)]))
        if arguments.plot is not None and folder == arguments.model[0]:
            draw([Point(r.name, r.bits, r.weights.summary()["kl"], r.series) for r in rows], arguments.plot)
    if arguments.markdown is not None:
        write_between(arguments.markdown, (BEGIN, END), "\n\n".join(pages) + "\n")


if __name__ == "__main__":
    main()
