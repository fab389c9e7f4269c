"""Do llama.cpp and transformers say the same about a model's exports, and we the same about llama.cpp's files?

An `Agreement` is one file in both programs: the mean KL divergence of ours from the other's, in nats a token, and the
share of tokens on whose successor both agree. Activations are rounded differently in both, in transformers not at all;
so beside it stands how far the other program is from float32 arithmetic on the same file.

In a mixture of experts a token near a tie of its router takes other experts in the other program, for whichever of the
two rounds how. So llama.cpp runs such a file twice, by its own routers and with the experts that ours chose: what
differs then is not the choice.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM

from bench.peers import llama_quantize_command, run
from bench.quality.study import llama_logits
from qwen3edge import _core
from qwen3edge.config import ModelConfig
from qwen3edge.convert import convert, export_compressed, export_gguf
from qwen3edge.evaluate.divergence import kl_divergence
from tests.reference.chats import Texts, read_records
from tests.reference.rounded_model import reference_logits

TOKENS = 400


@dataclass(frozen=True)
class Agreement:
    """One file in both programs."""

    what: str
    peer: str
    bits: float  # a weight in the `.q3e` file
    kl: float
    median: float  # of the tokens' KL
    top1: float  # share
    peer_kl: float  # the other program's from float32 arithmetic on the same file
    experts: Experts | None  # of a mixture


@dataclass(frozen=True)
class Experts:
    """What the routers have to do with it."""

    kl: float  # mean, where the other program takes the experts that ours chose
    differing: float  # share of the choices, of a token in a layer, that are not the same without


@dataclass(frozen=True)
class Run:
    """One program's."""

    logits: NDArray[np.float32]  # [tokens, vocabulary]
    routers: NDArray[np.float32] | None = None  # [layers, tokens, experts]: what a mixture's choices are made by


class Agreements:
    """Of one checkpoint, in a folder for the files that are made."""

    def __init__(self, model: Path, work: Path, tokens: int = TOKENS) -> None:
        """The tokens are of the folder's heldout.jsonl, or random where it has none."""
        self.model, self.work = model, work
        self.texts = model / "heldout.jsonl"
        self.path("bf16")
        self.tokens = self._tokens(tokens)

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
    def config(self) -> ModelConfig:
        """The checkpoint's."""
        return ModelConfig.from_metadata(_core.ModelFile(str(self.path("bf16"))))

    @property
    def is_moe(self) -> bool:
        """A mixture of experts."""
        return self.config.is_moe

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

    def ours(self, path: Path) -> Run:
        n, file = len(self.tokens), _core.ModelFile(str(path))
        engine = _core.Engine(file, context=n, threads=1, kv="f32")
        routers: dict[int, NDArray[np.float32]] = {}

        def see(tensor: str, layer: int, _: int, values: NDArray[np.float32]) -> None:
            if tensor == "ffn_gate_inp":
                routers[layer] = values @ file.dequantize(f"blk.{layer}.ffn_gate_inp.weight").T

        engine.observe(see if self.is_moe else None)
        logits = engine.forward(self.tokens, np.arange(n), np.zeros(n, np.int32), np.ones(n, bool))
        return Run(logits, np.stack([routers[layer] for layer in sorted(routers)]) if routers else None)

    def llama(self, path: Path, order: NDArray[np.integer] | None = None) -> Run:
        """order: the experts of each token, best first [layers, tokens, experts]; by default as its routers say."""
        routers, experts, options = self.work / "routers.npy", self.work / "experts.npy", []
        if self.is_moe:
            options += ["--probabilities", routers]
        if order is not None:
            np.save(experts, order.astype(np.int32))
            options += ["--experts", experts]
        logits = llama_logits(path, self.tokens, self.work, *options)
        return Run(logits, np.load(routers) if self.is_moe else None)

    def experts(self, path: Path, ours: Run, theirs: Run) -> Experts | None:
        """path: of the GGUF file."""
        if ours.routers is None or theirs.routers is None:
            return None
        top = self.config.experts_per_token
        order = np.argsort(-ours.routers, -1, kind="stable")
        others = np.argsort(-theirs.routers, -1, kind="stable")
        differing = (np.sort(order[..., :top], -1) != np.sort(others[..., :top], -1)).any(-1).mean()
        same = self.llama(path, order)
        return Experts(float(kl_divergence(same.logits, ours.logits).mean()), float(differing))

    def compare_with_llama(self, what: str, path: Path, gguf: Path) -> Agreement:
        """path: our file. gguf: what llama.cpp reads."""
        wide = self.work / f"{gguf.stem}-f32.q3e"
        convert(gguf, wide, "f32", allow_missing_tokenizer=True)
        ours, theirs = self.ours(path), self.llama(gguf)
        exact = self.ours(wide).logits
        wide.unlink()
        return self.compare(what, "llama.cpp", path, ours, theirs, exact, self.experts(gguf, ours, theirs))

    def compare(
        self,
        what: str,
        peer: str,
        path: Path,
        ours: Run,
        theirs: Run,
        exact: NDArray[np.float32],
        experts: Experts | None,
    ) -> Agreement:
        """exact: the file's logits in float32."""
        matrices = [t for t in _core.ModelFile(str(path)).tensors() if t["format"] != "vector"]
        bits = 8 * sum(t["nbytes"] for t in matrices) / sum(t["rows"] * t["columns"] for t in matrices)
        kl = kl_divergence(theirs.logits, ours.logits)
        top1 = float((theirs.logits.argmax(-1) == ours.logits.argmax(-1)).mean())
        peer_kl = float(kl_divergence(exact, theirs.logits).mean())
        return Agreement(what, peer, bits, float(kl.mean()), float(np.median(kl)), top1, peer_kl, experts)

    def export_to_llama(self, quant: str) -> Agreement:
        target = self.work / f"{quant}.gguf"
        export_gguf(self.path(quant), target)
        return self.compare_with_llama(f"our {quant} as GGUF", self.path(quant), target)

    def export_to_transformers(self, quant: str) -> Agreement:
        target = self.work / f"{quant}-folder"
        export_compressed(self.path(quant), target)
        model = AutoModelForCausalLM.from_pretrained(target, dtype=torch.float32, attn_implementation="eager").eval()
        theirs = reference_logits(model, self.tokens)
        ours = self.ours(self.path(quant))
        return self.compare(
            f"our {quant} as compressed-tensors", "transformers", self.path(quant), ours, Run(theirs), theirs, None
        )

    def import_from_llama(self, kind: str) -> Agreement:
        source, target = self.work / f"{kind}.gguf", self.work / f"from-{kind}.q3e"
        run(llama_quantize_command(self.base(), source, kind, len(os.sched_getaffinity(0))))
        convert(source, target, allow_missing_tokenizer=True)
        return self.compare_with_llama(f"llama.cpp's {kind}", target, source)
