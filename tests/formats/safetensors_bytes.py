"""Safetensors files byte by byte: small ones for tests, good and bad."""

import json
import struct
from pathlib import Path

import numpy as np

_NAMES = {
    np.dtype(np.float32): "F32",
    np.dtype(np.float16): "F16",
    np.dtype(np.uint16): "BF16",
    np.dtype(np.int8): "I8",
    np.dtype(np.uint8): "F8_E4M3",
    np.dtype(np.int32): "I32",
    np.dtype(np.uint32): "U32",
    np.dtype(np.int64): "I64",
}


def encode(tensors: dict[str, np.ndarray], types: dict[np.dtype, str] | None = None) -> bytes:
    """uint16 stands for bfloat16, uint8 for float8, unless types says otherwise."""
    names = _NAMES | (types or {})
    header, data = {}, b""
    for name, array in tensors.items():
        header[name] = {
            "dtype": names[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + array.nbytes],
        }
        data += array.tobytes()
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def write_shards(
    folder: Path, shards: dict[str, dict[str, np.ndarray]], weight_map: dict[str, str] | None = None
) -> None:
    """The shards, and the index that fits them, unless another is given."""
    for shard, tensors in shards.items():
        (folder / shard).write_bytes(encode(tensors))
    index = weight_map or {name: shard for shard, tensors in shards.items() for name in tensors}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
