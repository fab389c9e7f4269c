"""Do llama.cpp and transformers say the same about a model's exports, and we the same about llama.cpp's files?

python bench/gguf_agreement.py tests/data/tiny-qwen3 --markdown docs/gguf.md

Each row is one file in both programs: the mean KL divergence of ours from the other's, in nats a token, and the share
of tokens on whose successor both agree. Activations are rounded differently in both, in transformers not at all.
Exports: our formats as GGUF in llama.cpp, as compressed-tensors in transformers. Imports: files that llama-quantize
made of the model's bf16 GGUF. bench/peers.py says how the peers are found; those that are absent are named.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from chats import Texts, read_records
from harness import BenchError, Cell, markdown_table, table
from numpy.typing import NDArray
from peers import LLAMA_CPP_PYTHON, LLAMA_QUANTIZE, llama_quantize_command, run
from rounded_reference import reference_logits
from transformers import AutoModelForCausalLM

from qwen3edge import _core
from qwen3edge.config import ModelConfig
from qwen3edge.convert import convert, export_compressed, export_gguf
from qwen3edge.evaluate.divergence import kl_divergence

BENCH = Path(__file__).resolve().parent
BEGIN, END = "<!-- agreement: begin -->", "<!-- agreement: end -->"
EXPORTS = ["f32", "bf16", "q8g32", "int8", "q4g32", "q4a32", "int4"]
FOLDERS = ["q4g32", "q4a32", "int8", "int4"]
IMPORTS = ["Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q3_K_M", "Q2_K", "IQ3_S"]
TOKENS = 400
BOUND = 5e-3


@dataclass(frozen=True)
class Agreement:
    """One file in both programs."""

    what: str
    peer: str
    bits: float  # a weight in the `.q3e` file
    kl: float
    top1: float  # share

    def row(self) -> dict[str, Cell]:
        return {
            "file": self.what,
            "other program": self.peer,
            "our bits": f"{self.bits:.2f}",
            "mean KL": f"{self.kl:.1e}",
            "top-1": f"{100 * self.top1:.1f} %",
        }


class Agreements:
    """Of one checkpoint, in a folder for the files that are made."""

    def __init__(self, model: Path, work: Path, tokens: int = TOKENS) -> None:
        """The tokens are of the folder's heldout.jsonl, or random where it has none."""
        self.model, self.work = model, work
        self.texts = model / "heldout.jsonl"
        self.path("bf16")
        self.tokens = self._tokens(tokens)
        np.save(work / "tokens.npy", self.tokens)

    def _tokens(self, count: int) -> NDArray[np.int32]:
        file = _core.ModelFile(str(self.path("bf16")))
        if not self.texts.exists():
            vocabulary = file.get("qwen3edge.vocab_size")
            assert isinstance(vocabulary, int)
            return np.random.default_rng(0).integers(0, vocabulary, count).astype(np.int32)
        records = [record for record in read_records(self.texts) if not record["enable_thinking"]]
        maker = Texts(file)
        found = [token for record in records[::21] for token in maker.expected(record).tokens]
        return np.array(found[:count], np.int32)

    @property
    def is_moe(self) -> bool:
        """A mixture of experts."""
        return ModelConfig.from_metadata(_core.ModelFile(str(self.path("bf16")))).is_moe

    def path(self, quant: str) -> Path:
        """Our file, converted when it is first asked for."""
        path = self.work / f"{quant}.q3e"
        if not path.exists():
            convert(self.model, path, quant, allow_missing_tokenizer=True)
        return path

    def base(self) -> Path:
        """The checkpoint as a bf16 GGUF file, by our export, as llama.cpp's script wants a tokenizer that it knows."""
        path = self.work / "base.gguf"
        if not path.exists():
            export_gguf(self.path("bf16"), path)
        return path

    def ours(self, path: Path) -> NDArray[np.float32]:
        n = len(self.tokens)
        engine = _core.Engine(_core.ModelFile(str(path)), context=n, threads=1, kv="f32")
        return engine.forward(self.tokens, np.arange(n), np.zeros(n, np.int32), np.ones(n, bool))

    def llama(self, path: Path) -> NDArray[np.float32]:
        python = LLAMA_CPP_PYTHON.find()
        if python is None:
            raise BenchError(LLAMA_CPP_PYTHON.absent())
        found = self.work / "logits.npy"
        run([python, BENCH / "llama_logits.py", path, self.work / "tokens.npy", found], environment={"PYTHONPATH": ""})
        logits: NDArray[np.float32] = np.load(found)
        return logits

    def compare(self, what: str, peer: str, path: Path, theirs: NDArray[np.float32]) -> Agreement:
        ours = self.ours(path)
        matrices = [t for t in _core.ModelFile(str(path)).tensors() if t["format"] != "vector"]
        bits = 8 * sum(t["nbytes"] for t in matrices) / sum(t["rows"] * t["columns"] for t in matrices)
        kl = float(kl_divergence(theirs, ours).mean())
        return Agreement(what, peer, bits, kl, float((theirs.argmax(-1) == ours.argmax(-1)).mean()))

    def export_to_llama(self, quant: str) -> Agreement:
        target = self.work / f"{quant}.gguf"
        export_gguf(self.path(quant), target)
        return self.compare(f"our {quant} as GGUF", "llama.cpp", self.path(quant), self.llama(target))

    def export_to_transformers(self, quant: str) -> Agreement:
        if self.is_moe:
            raise BenchError("transformers keeps experts in one parameter and does not load packed ones")
        target = self.work / f"{quant}-folder"
        export_compressed(self.path(quant), target)
        model = AutoModelForCausalLM.from_pretrained(target, dtype=torch.float32, attn_implementation="eager").eval()
        theirs = reference_logits(model, self.tokens)
        return self.compare(f"our {quant} as compressed-tensors", "transformers", self.path(quant), theirs)

    def import_from_llama(self, kind: str) -> Agreement:
        source, target = self.work / f"{kind}.gguf", self.work / f"from-{kind}.q3e"
        run(llama_quantize_command(self.base(), source, kind, len(os.sched_getaffinity(0))))
        convert(source, target, allow_missing_tokenizer=True)
        return self.compare(f"llama.cpp's {kind}", "llama.cpp", target, self.llama(source))

    def all(self) -> Iterator[Agreement]:
        """What the peers that are here allow."""
        llama = LLAMA_CPP_PYTHON.find() is not None
        for quant in EXPORTS if llama else []:
            yield self.export_to_llama(quant)
        for kind in IMPORTS if llama and LLAMA_QUANTIZE.find() is not None else []:
            yield self.import_from_llama(kind)
        for quant in [] if self.is_moe else FOLDERS:
            yield self.export_to_transformers(quant)


def write_markdown(path: Path, rows: Sequence[Agreement]) -> None:
    """Replaces what stands between the marks. Raises ValueError for a file without them."""
    before, mark, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise ValueError(f"{path}: expected the marks {BEGIN} and {END}")
    lines = "\n".join(markdown_table([row.row() for row in rows]))
    path.write_text(f"{before}{BEGIN}\n\n{lines}\n\n{END}{after}", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a Hugging Face folder; K-quants want rows of whole 256")
    parser.add_argument("--tokens", type=int, default=TOKENS)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--markdown", type=Path, help="a file with marks to write the table between")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for tool in (LLAMA_CPP_PYTHON, LLAMA_QUANTIZE):
        if tool.find() is None:
            print(tool.absent(), file=sys.stderr)
    rows = []
    with tempfile.TemporaryDirectory() as work:
        for row in Agreements(arguments.model, Path(work), arguments.tokens).all():
            rows.append(row)
            print(row, file=sys.stderr, flush=True)
    if arguments.markdown is not None:
        write_markdown(arguments.markdown, rows)
    if arguments.json:
        print(json.dumps({"rows": [vars(row) for row in rows]}, indent=1))
    else:
        print("\n".join(table([row.row() for row in rows])))
    return 0 if all(row.kl <= BOUND for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
