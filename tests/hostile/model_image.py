"""A small valid `.q3e` file in parts, every one of which a test can break; the checksums follow unless told not to."""

from __future__ import annotations

import copy
import struct
import zlib
from dataclasses import dataclass, field

import numpy as np

from qwen3edge import _core

U32, F32, BOOL, STRING, ARRAY, U64 = 4, 6, 7, 8, 9, 10
I8_TENSOR = 24

HIDDEN = VOCAB = FFN = HEAD = 32
SHAPES = {
    "token_embd.weight": ("q6z32", VOCAB, HIDDEN),
    "blk.0.attn_norm.weight": ("vector", 1, HIDDEN),
    "blk.0.attn_q.weight": ("q8", HEAD, HIDDEN),
    "blk.0.attn_k.weight": ("f32", HEAD, HIDDEN),
    "blk.0.attn_v.weight": ("bf16", HEAD, HIDDEN),
    "blk.0.attn_q_norm.weight": ("vector", 1, HEAD),
    "blk.0.attn_k_norm.weight": ("vector", 1, HEAD),
    "blk.0.attn_output.weight": ("q4g32", HIDDEN, HEAD),
    "blk.0.ffn_norm.weight": ("vector", 1, HIDDEN),
    "blk.0.ffn_gate.weight": ("q4a32", FFN, HIDDEN),
    "blk.0.ffn_up.weight": ("q8g32", FFN, HIDDEN),
    "blk.0.ffn_down.weight": ("q4z32", HIDDEN, FFN),
    "output_norm.weight": ("vector", 1, HIDDEN),
    "rope.inverse_frequencies": ("vector", 1, HEAD // 2),
}

EXPERTS, EXPERT_FFN = 3, 32
MOE_SHAPES = {
    **{name: shape for name, shape in SHAPES.items() if ".ffn_" not in name},
    "blk.0.ffn_norm.weight": ("vector", 1, HIDDEN),
    "blk.0.ffn_gate_inp.weight": ("f32", EXPERTS, HIDDEN),
    "blk.0.ffn_gate_up_exps.weight": ("q4z32", EXPERTS * 2 * EXPERT_FFN, HIDDEN),
    "blk.0.ffn_down_exps.weight": ("q8", EXPERTS * HIDDEN, EXPERT_FFN),
}


def u32(value: int) -> tuple[int, bytes]:
    """A metadata value as (type, bytes)."""
    return U32, struct.pack("<I", value)


def f32(value: float) -> tuple[int, bytes]:
    return F32, struct.pack("<f", value)


def boolean(value: int) -> tuple[int, bytes]:
    return BOOL, struct.pack("<B", value)


def text(value: bytes | str) -> bytes:
    """A string with its length, as GGUF has it."""
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def string(value: bytes | str) -> tuple[int, bytes]:
    return STRING, text(value)


def array(kind: int, items: list[bytes], count: int | None = None) -> tuple[int, bytes]:
    return ARRAY, struct.pack("<IQ", kind, len(items) if count is None else count) + b"".join(items)


@dataclass
class Tensor:
    """None: what is right."""

    name: bytes
    format: bytes
    rows: int
    columns: int
    data: bytes
    dimensions: list[int] | None = None
    kind: int = I8_TENSOR
    offset: int | None = None


@dataclass
class Image:
    """All parts of a file."""

    keys: list[tuple[bytes, tuple[int, bytes]]]
    tensors: list[Tensor]
    magic: bytes = b"GGUF"
    version: int = 3
    key_count: int | None = None
    tensor_count: int | None = None
    header_checksum: int | None = None
    checksums: list[int] | None = None
    gap: bytes = b"\0"
    tail: bytes = b""
    table: dict[str, tuple[int, bytes] | None] = field(default_factory=dict)  # replaces the arrays of the tensor table
    last_name: bytes = b"checksums"

    def copy(self) -> Image:
        return copy.deepcopy(self)

    def set(self, key: str, value: tuple[int, bytes] | None) -> Image:
        """The image with one key replaced, or without it."""
        name = key.encode()
        self.keys = [(k, v) for k, v in self.keys if k != name]
        if value is not None:
            self.keys.append((name, value))
        return self

    def tensor(self, name: str) -> Tensor:
        return next(t for t in self.tensors if t.name == name.encode())

    def header(self) -> bytes:
        """Everything before the data, without padding."""
        table: dict[str, tuple[int, bytes] | None] = {
            "formats": array(STRING, [text(t.format) for t in self.tensors]),
            "rows": array(U64, [struct.pack("<Q", t.rows) for t in self.tensors]),
            "columns": array(U64, [struct.pack("<Q", t.columns) for t in self.tensors]),
            **self.table,
        }
        keys = [*self.keys, *((f"qwen3edge.tensor.{k}".encode(), v) for k, v in table.items() if v is not None)]
        tensors = [*self.tensors, Tensor(self.last_name, b"", 1, 1, bytes(4 * len(self.tensors) + 4))]
        out = bytearray(self.magic + struct.pack("<I", self.version))
        out += struct.pack("<Q", len(tensors) if self.tensor_count is None else self.tensor_count)
        out += struct.pack("<Q", len(keys) if self.key_count is None else self.key_count)
        for key, (kind, value) in keys:
            out += text(key) + struct.pack("<I", kind) + value
        places = self.places(tensors, len(out) + sum(len(text(t.name)) + 24 for t in tensors))
        for tensor, at in zip(tensors, places, strict=True):
            dimensions = [len(tensor.data)] if tensor.dimensions is None else tensor.dimensions
            out += text(tensor.name) + struct.pack("<I", len(dimensions))
            out += b"".join(struct.pack("<Q", d) for d in dimensions) + struct.pack("<I", tensor.kind)
            out += struct.pack("<Q", at if tensor.offset is None else tensor.offset)
        return bytes(out)

    def places(self, tensors: list[Tensor], header: int) -> list[int]:
        """Where tensors lie after the start of the data: at multiples of 64, those of experts of 4096 in the file."""
        start = at = header + -header % 64
        places = []
        for tensor in tensors:
            at += -at % (4096 if tensor.name.endswith(b"_exps.weight") else 64)
            places.append(at - start)
            at += len(tensor.data)
        return places

    def build(self) -> bytes:
        """The whole file."""
        header = self.header()
        out = self.pad(header)
        start = len(out)
        sums = [zlib.crc32(t.data) for t in self.tensors] if self.checksums is None else self.checksums
        sums = [*sums, zlib.crc32(out) if self.header_checksum is None else self.header_checksum]
        places = self.places([*self.tensors, Tensor(self.last_name, b"", 1, 1, b"")], len(header))
        for tensor, at in zip(self.tensors, places, strict=False):
            out += self.gap * (start + at - len(out)) + tensor.data
        out += self.gap * (start + places[-1] - len(out))
        return out + struct.pack(f"<{len(sums)}I", *sums) + self.tail

    def pad(self, data: bytes) -> bytes:
        return data + self.gap * (-len(data) % 64)


def data_start(file: bytes) -> int:
    """Where the data of a built image begins."""
    return len(file) - 4 * (len(SHAPES) + 1) - sum(n + -n % 64 for n in (len(t.data) for t in good_image().tensors))


def good_image() -> Image:
    """A model that opens and verifies."""
    keys = {"qwen3edge.model_type": string("qwen3"), "qwen3edge.feed_forward_length": u32(FFN)}
    return _image(SHAPES, keys)


def moe_image() -> Image:
    """The same with experts."""
    keys = {
        "qwen3edge.model_type": string("qwen3_moe"),
        "qwen3edge.expert_count": u32(EXPERTS),
        "qwen3edge.expert_used_count": u32(2),
        "qwen3edge.expert_feed_forward_length": u32(EXPERT_FFN),
        "qwen3edge.norm_topk_prob": boolean(1),
    }
    return _image(MOE_SHAPES, keys)


def _image(shapes: dict[str, tuple[str, int, int]], keys_of_kind: dict[str, tuple[int, bytes]]) -> Image:
    rng = np.random.default_rng(7)
    tensors = []
    for name, (block_format, rows, columns) in shapes.items():
        if block_format == "vector":
            data = (0.5 ** np.arange(1, columns + 1, dtype=np.float32)).tobytes()
        else:
            data = _core.quantize(block_format, rng.standard_normal((rows, columns)).astype(np.float32)).tobytes()
        tensors.append(Tensor(name.encode(), block_format.encode(), rows, columns, data))
    keys = {
        "general.architecture": string("qwen3edge"),
        "general.alignment": u32(64),
        "general.name": string("hostile"),
        "qwen3edge.format_version": u32(1),
        "qwen3edge.vocab_size": u32(VOCAB),
        "qwen3edge.context_length": u32(64),
        "qwen3edge.embedding_length": u32(HIDDEN),
        "qwen3edge.block_count": u32(1),
        "qwen3edge.attention.head_count": u32(1),
        "qwen3edge.attention.head_count_kv": u32(1),
        "qwen3edge.attention.key_length": u32(HEAD),
        "qwen3edge.attention.layer_norm_rms_epsilon": f32(1e-6),
        "qwen3edge.attention.qk_norm": boolean(1),
        "qwen3edge.attention.qkv_bias": boolean(0),
        "qwen3edge.rope.freq_base": f32(1e6),
        "qwen3edge.tie_word_embeddings": boolean(1),
        **keys_of_kind,
        "tokenizer.ggml.tokens": array(STRING, [text("a"), text(""), text("é")]),
    }
    return Image([(k.encode(), v) for k, v in keys.items()], tensors)
