"""The tensors of a `.q3e` file on a device, layer by layer, repacked for the GPU kernels."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from qwen3edge import _core
from qwen3edge.config import ModelConfig
from qwen3edge.errors import FileFormatError
from qwen3edge.kernels.packing import DeviceMatrix
from qwen3edge.runtime.torch_backend.device import Device


@dataclass(frozen=True)
class Attention:
    """qkv: matrices whose outputs lie side by side: neighbours of one format are one matrix."""

    qkv: tuple[DeviceMatrix, ...]  # [heads + 2 kv_heads] * head_size outputs of hidden_size
    bias: torch.Tensor | None  # [(heads + 2 kv_heads) * head_size] float32: Qwen2
    query_norm: torch.Tensor | None  # [head_size] float32: Qwen3
    key_norm: torch.Tensor | None  # likewise
    output: DeviceMatrix  # hidden_size outputs of heads * head_size


@dataclass(frozen=True)
class DenseFeedForward:
    """SwiGLU."""

    gate_up: tuple[DeviceMatrix, ...]  # 2 * ffn_size outputs: all of the gate's before all of up's
    down: DeviceMatrix  # hidden_size outputs of ffn_size


@dataclass(frozen=True)
class Experts:
    """SwiGLU of a few experts a token."""

    router: torch.Tensor  # [experts, hidden_size] float32
    gate_up: DeviceMatrix  # a batch: 2 * expert_ffn_size outputs, 16 of the gate and 16 of up in turn
    down: DeviceMatrix  # a batch: hidden_size outputs of expert_ffn_size
    top_k: int
    renormalize: bool


@dataclass(frozen=True)
class Layer:
    """One transformer block."""

    attention_norm: torch.Tensor  # [hidden_size] float32
    attention: Attention
    feed_forward_norm: torch.Tensor  # [hidden_size] float32
    feed_forward: DenseFeedForward | Experts


@dataclass(frozen=True)
class Weights:
    """All of a model."""

    embedding: DeviceMatrix  # [vocab_size, hidden_size]
    layers: tuple[Layer, ...]
    norm: torch.Tensor  # [hidden_size] float32
    head: DeviceMatrix  # [vocab_size, hidden_size]; the embedding itself if they are tied
    frequencies: torch.Tensor  # [head_size / 2] float32: RoPE's angle per position

    def matrices(self) -> Iterator[DeviceMatrix]:
        """Each once."""
        yield self.embedding
        if self.head is not self.embedding:
            yield self.head
        for layer in self.layers:
            yield from layer.attention.qkv
            yield layer.attention.output
            ffn = layer.feed_forward
            yield from ffn.gate_up if isinstance(ffn, DenseFeedForward) else (ffn.gate_up,)
            yield ffn.down

    def vectors(self) -> Iterator[torch.Tensor]:
        """All that is no quantized matrix."""
        yield self.norm
        yield self.frequencies
        for layer in self.layers:
            yield layer.attention_norm
            yield layer.feed_forward_norm
            attention = layer.attention
            yield from (x for x in (attention.bias, attention.query_norm, attention.key_norm) if x is not None)
            if isinstance(layer.feed_forward, Experts):
                yield layer.feed_forward.router


class WeightReader:
    """Reads and repacks one tensor after the other, so that never more than one lies in memory twice."""

    def __init__(self, file: _core.ModelFile, config: ModelConfig, device: Device) -> None:
        self._file = file
        self._config = config
        self._device = device
        self._tensors = {tensor["name"]: tensor for tensor in file.tensors()}

    def read(self) -> Weights:
        """Raises FileFormatError for a tensor that is missing."""
        embedding = self._matrix("token_embd.weight")
        return Weights(
            embedding=embedding,
            layers=tuple(self._layer(f"blk.{i}.") for i in range(self._config.layers)),
            norm=self._vector("output_norm.weight"),
            head=embedding if self._config.tied_embeddings else self._matrix("output.weight"),
            frequencies=self._vector("rope.inverse_frequencies"),
        )

    def _layer(self, prefix: str) -> Layer:
        return Layer(
            attention_norm=self._vector(prefix + "attn_norm.weight"),
            attention=self._attention(prefix),
            feed_forward_norm=self._vector(prefix + "ffn_norm.weight"),
            feed_forward=self._experts(prefix)
            if prefix + "ffn_gate_inp.weight" in self._tensors
            else self._dense(prefix),
        )

    def _attention(self, prefix: str) -> Attention:
        config = self._config
        return Attention(
            qkv=self._side_by_side([f"{prefix}attn_{part}.weight" for part in "qkv"]),
            bias=torch.cat([self._vector(f"{prefix}attn_{part}.bias") for part in "qkv"]) if config.qkv_bias else None,
            query_norm=self._vector(prefix + "attn_q_norm.weight") if config.qk_norm else None,
            key_norm=self._vector(prefix + "attn_k_norm.weight") if config.qk_norm else None,
            output=self._matrix(prefix + "attn_output.weight"),
        )

    def _dense(self, prefix: str) -> DenseFeedForward:
        return DenseFeedForward(
            gate_up=self._side_by_side([prefix + "ffn_gate.weight", prefix + "ffn_up.weight"]),
            down=self._matrix(prefix + "ffn_down.weight"),
        )

    def _experts(self, prefix: str) -> Experts:
        config = self._config
        return Experts(
            router=torch.from_numpy(self._file.dequantize(prefix + "ffn_gate_inp.weight")).to(self._device.place),
            gate_up=self._matrix(prefix + "ffn_gate_up_exps.weight").split_experts(config.experts),
            down=self._matrix(prefix + "ffn_down_exps.weight").split_experts(config.experts),
            top_k=config.experts_per_token,
            renormalize=config.norm_topk_prob,
        )

    def _side_by_side(self, names: Sequence[str]) -> tuple[DeviceMatrix, ...]:
        alike = [list(run) for _, run in itertools.groupby(names, key=lambda name: self._tensor(name)["format"])]
        return tuple(DeviceMatrix.stack([self._matrix(name) for name in run]) for run in alike)

    def _matrix(self, name: str) -> DeviceMatrix:
        tensor = self._tensor(name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the mapping is read-only, and nobody writes
            packed = torch.from_numpy(self._file.packed(name))
        return DeviceMatrix.from_packed(
            tensor["format"], packed, tensor["rows"], tensor["columns"], self._device.place, self._device.dtype
        )

    def _vector(self, name: str) -> torch.Tensor:
        self._tensor(name)
        return torch.from_numpy(self._file.dequantize(name)).flatten().to(self._device.place)

    def _tensor(self, name: str) -> _core.TensorInfo:
        try:
            return self._tensors[name]
        except KeyError:
            raise FileFormatError(f"the tensor {name!r} is missing") from None
