"""Outliers put into a trained checkpoint without changing what it computes: what formats and caches must not notice.

Trained models of Qwen's size have channels that are many times larger than their neighbours: in the keys, in what norms
and feed-forward networks give, in the residual stream. The tiny models have none. Scaling a channel by a power of two
where it is made, and by the inverse where it is used, puts one in: in floating point the model stays the same to the
last bit, in bf16 as well, and only what rounds to a common scale sees a difference. The residual stream cannot be
scaled so, as each norm divides by all of it; `rotate_residual` turns it, which is equal up to rounding.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

EXPONENTS = (4, 5, 6, 7)
"""Of two: one outlier each. Real keys reach 125 times their median, activations more."""


@dataclass
class Checkpoint:
    """A Hugging Face folder of a Qwen3, Qwen2, Qwen3-MoE or dense Qwen3.5 in memory."""

    config: dict[str, Any]
    weights: dict[str, Tensor]  # by name; changed in place

    @classmethod
    def read(cls, folder: Path) -> Checkpoint:
        return cls(json.loads((folder / "config.json").read_text("utf-8")), load_file(folder / "model.safetensors"))

    def save(self, folder: Path, source: Path) -> Path:
        """Writes `folder`, with the tokenizer, the sampling defaults and the texts of `source`."""
        folder.mkdir(parents=True, exist_ok=True)
        for path in source.iterdir():
            if path.suffix in (".json", ".jsonl"):
                shutil.copyfile(path, folder / path.name)
        (folder / "config.json").write_text(json.dumps(self.config, indent=2), "utf-8")
        weights = {name: weight.contiguous() for name, weight in self.weights.items()}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return folder

    @property
    def text(self) -> dict[str, Any]:
        """The keys of the text model."""
        return dict(self.config.get("text_config", self.config))

    @property
    def head_size(self) -> int:
        return int(self.text.get("head_dim") or self.text["hidden_size"] // self.text["num_attention_heads"])

    @property
    def part(self) -> str:
        """The beginning of the text model's names."""
        return "model.language_model." if "text_config" in self.config else "model."

    @property
    def layers(self) -> list[str]:
        """The beginning of each layer's names."""
        return [f"{self.part}layers.{n}." for n in range(self.text["num_hidden_layers"])]

    def set_key(self, key: str, value: Any) -> None:
        """In config.json, for the text model and for the whole."""
        for keys in (self.config, self.config.get("text_config", {})):
            keys[key] = value

    def feed_forwards(self, layer: str) -> list[str]:
        """The beginning of the names of a layer's feed-forward network, or of each expert's."""
        if "num_experts" not in self.config:
            return [f"{layer}mlp."]
        return [f"{layer}mlp.experts.{e}." for e in range(self.config["num_experts"])]

    def has_attention(self, layer: str) -> bool:
        """Whether it is no gated delta net."""
        return f"{layer}self_attn.k_proj.weight" in self.weights

    def norms(self) -> Iterator[tuple[str, list[str]]]:
        """Each norm of the residual stream in a layer with the matrices that read what it gives."""
        for layer in self.layers:
            mixer = [f"{layer}self_attn.{letter}_proj.weight" for letter in "qkv"]
            if not self.has_attention(layer):
                mixer = [f"{layer}linear_attn.in_proj_{part}.weight" for part in ("qkv", "z", "a", "b")]
            yield f"{layer}input_layernorm.weight", mixer
            experts = self.feed_forwards(layer)
            readers = [f"{expert}{matrix}_proj.weight" for expert in experts for matrix in ("gate", "up")]
            router = [f"{layer}mlp.gate.weight"] if "num_experts" in self.config else []
            yield f"{layer}post_attention_layernorm.weight", readers + router

    def head_norms(self) -> Iterator[tuple[str, list[str]]]:
        """Each gated norm of a delta net, whose weights all heads share, with the matrix that reads all heads."""
        for layer in self.layers:
            if not self.has_attention(layer):
                yield f"{layer}linear_attn.norm.weight", [f"{layer}linear_attn.out_proj.weight"]

    def offset(self, name: str) -> float:
        """What is added to a tensor's values where they are used: 1 to a Qwen3.5's norms but the gated ones."""
        return float("text_config" in self.config and "norm" in name and "linear_attn" not in name)

    def scale(self, name: str, index: Any, factor: float) -> None:
        """Multiplies what the part `index` of a tensor multiplies by; by powers of two this is exact. Where there is an
        offset the tensor becomes float32, as bfloat16 cannot hold a large value and its last bits.
        """
        offset = self.offset(name)
        if offset:
            self.weights[name] = self.weights[name].float()
        self.weights[name][index] = (self.weights[name][index] + offset) * factor - offset

    def untie(self) -> None:
        """The head becomes a matrix of its own."""
        if self.text["tie_word_embeddings"]:
            self.set_key("tie_word_embeddings", False)
            self.weights["lm_head.weight"] = self.weights[f"{self.part}embed_tokens.weight"].clone()


# ---- exact ones ----


def scale_keys(checkpoint: Checkpoint, exponents: Sequence[int], rng: np.random.Generator) -> None:
    """In each layer a pair of channels of the keys for each exponent: keys times 2^e, queries divided by it.

    RoPE turns the channels i and i + head_size / 2 together, so that a factor of both passes through it; of Qwen3.5 it
    turns the first quarter so, and the channels behind are alone. Qwen3 has it in the weights of its norms, the same
    for all heads; Qwen2, in the rows and biases of the matrices, has other pairs in each KV head.
    """
    config, size = checkpoint.text, checkpoint.head_size
    group = config["num_attention_heads"] // config["num_key_value_heads"]
    turning = int(size * (config.get("rope_parameters") or {}).get("partial_rotary_factor", 1)) // 2  # pairs
    for layer in filter(checkpoint.has_attention, checkpoint.layers):
        attention = f"{layer}self_attn."
        if f"{attention}k_norm.weight" in checkpoint.weights:
            for unit, factor in _choose(exponents, size - turning, rng):
                channels = [unit, unit + turning] if unit < turning else [unit + turning]
                checkpoint.scale(f"{attention}k_norm.weight", channels, factor)
                checkpoint.scale(f"{attention}q_norm.weight", channels, 1 / factor)
            continue
        for head in range(config["num_key_value_heads"]):
            for pair, factor in _choose(exponents, size // 2, rng):
                channels = np.array([pair, pair + size // 2])
                rows = np.concatenate([(head * group + n) * size + channels for n in range(group)])
                for part in ("weight", "bias"):
                    checkpoint.scale(f"{attention}k_proj.{part}", head * size + channels, factor)
                    checkpoint.scale(f"{attention}q_proj.{part}", rows, 1 / factor)


def scale_norms(checkpoint: Checkpoint, exponents: Sequence[int], rng: np.random.Generator) -> None:
    """In what each norm of a layer gives, a channel for each exponent: times 2^e, the columns behind it divided. Of a
    norm that heads share, the channel of each head."""
    for norm, readers in (*checkpoint.norms(), *checkpoint.head_norms()):
        size = len(checkpoint.weights[norm])
        for channel, factor in _choose(exponents, size, rng):
            checkpoint.scale(norm, channel, factor)
            for reader in readers:
                checkpoint.scale(reader, (slice(None), slice(channel, None, size)), 1 / factor)


def scale_feed_forwards(checkpoint: Checkpoint, exponents: Sequence[int], rng: np.random.Generator) -> None:
    """In each feed-forward network, each expert's too, a hidden unit for each exponent: rows of `up` times 2^e, columns
    of `down` divided by it."""
    for layer in checkpoint.layers:
        for network in checkpoint.feed_forwards(layer):
            units = len(checkpoint.weights[f"{network}up_proj.weight"])
            for unit, factor in _choose(exponents, units, rng):
                checkpoint.scale(f"{network}up_proj.weight", unit, factor)
                checkpoint.scale(f"{network}down_proj.weight", (slice(None), unit), 1 / factor)


def _choose(exponents: Sequence[int], count: int, rng: np.random.Generator) -> Iterator[tuple[int, float]]:
    """A place below `count` of its own for each exponent, with its power of two."""
    places = rng.choice(count, len(exponents), replace=False)
    yield from ((int(place), 2.0**exponent) for place, exponent in zip(places, exponents, strict=True))


# ---- equal up to rounding ----


def rotate_residual(checkpoint: Checkpoint, direction: Tensor, axis: int) -> None:
    """Turns the residual stream so that `direction` [hidden] lies on one axis; the weights become float32.

    The weights of the norms go into the matrices that read them, the head becomes a matrix of its own, and all that
    reads or writes the stream is multiplied by one orthogonal matrix: RMSNorm without weights commutes with it. It is
    a reflection, I - 2 v v^T with v along direction - axis, computed in float64.
    """
    checkpoint.untie()
    checkpoint.weights = {name: weight.double() for name, weight in checkpoint.weights.items()}
    weights = checkpoint.weights
    v = direction.double() / direction.double().norm()
    v[axis] -= 1
    v /= v.norm()

    def reflect(matrix: Tensor) -> Tensor:
        """[..., hidden] -> the same: the stream as columns."""
        return matrix - 2 * torch.outer(matrix @ v, v)

    embedding = f"{checkpoint.part}embed_tokens.weight"
    weights[embedding] = reflect(weights[embedding])
    for norm, readers in ((f"{checkpoint.part}norm.weight", ["lm_head.weight"]), *checkpoint.norms()):
        for reader in readers:
            weights[reader] = reflect(weights[reader] * (weights[norm] + checkpoint.offset(norm)))
        weights[norm] = torch.full_like(weights[norm], 1 - checkpoint.offset(norm))
    for layer in checkpoint.layers:
        mixer = "self_attn.o_proj." if checkpoint.has_attention(layer) else "linear_attn.out_proj."
        for writer in (f"{layer}{mixer}", *(f"{n}down_proj." for n in checkpoint.feed_forwards(layer))):
            weights[f"{writer}weight"] = reflect(weights[f"{writer}weight"].T).T
    checkpoint.weights = {name: weight.float() for name, weight in weights.items()}
    checkpoint.set_key("torch_dtype" if "torch_dtype" in checkpoint.config else "dtype", "float32")


def mean_direction(folder: Path, tokens: np.ndarray) -> Tensor:
    """The mean of the residual stream before each layer over tokens [n]: float32 [hidden]."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        states = model.model(torch.from_numpy(tokens.astype(np.int64))[None], output_hidden_states=True).hidden_states
    return torch.cat([state[0] for state in states[:-1]]).mean(0)  # the last one has gone through the last norm


# ---- by name ----

Scaling = Callable[[Checkpoint, Sequence[int], np.random.Generator], None]
EXACT: dict[str, Scaling] = {"keys": scale_keys, "norms": scale_norms, "feed-forward": scale_feed_forwards}
ROTATED = "residual"
KINDS = (*EXACT, ROTATED)


def put_outliers(source: Path, kind: str, folder: Path, *, tokens: np.ndarray, seed: int) -> Path:
    """Writes `folder`: the checkpoint in `source` with outliers of a kind of KINDS.

    tokens [n]: of a text, whose mean the kind "residual" needs; the others need none.
    """
    rng = np.random.default_rng(seed)
    checkpoint = Checkpoint.read(source)
    if kind == ROTATED:
        axis = int(rng.integers(checkpoint.text["hidden_size"]))
        rotate_residual(checkpoint, mean_direction(source, tokens), axis)
    else:
        EXACT[kind](checkpoint, EXPONENTS, rng)
    return checkpoint.save(folder, source)
