"""Valid blocks of every GGUF type that the gguf package can dequantize, filled at random."""

from __future__ import annotations

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

# Where the float16 scales of a block lie, as multiples of the first: minimums that centre the weights.
_HALVES: dict[str, dict[int, float]] = {
    "Q4_0": {0: 1},
    "Q4_1": {0: 1, 2: -7.5},
    "Q5_0": {0: 1},
    "Q5_1": {0: 1, 2: -15.5},
    "Q8_0": {0: 1},
    "Q2_K": {80: 1, 82: 1.5},
    "Q3_K": {108: 1},
    "Q4_K": {0: 1, 2: 7.5},
    "Q5_K": {0: 1, 2: 15.5},
    "Q6_K": {208: 1},
    "IQ2_XXS": {0: 1},
    "IQ2_XS": {0: 1},
    "IQ2_S": {0: 1},
    "IQ3_XXS": {0: 1},
    "IQ3_S": {0: 1},
    "IQ1_S": {0: 1},
    "IQ4_NL": {0: 1},
    "IQ4_XS": {0: 1},
    "TQ1_0": {52: 1},
    "TQ2_0": {64: 1},
    "Q1_0": {0: 1},
}
_EXPONENTS = {"MXFP4": ((0,), 1, 120), "NVFP4": ((0, 1, 2, 3), 8, 0x28)}  # bytes, step of a factor of two, middle
QUANTIZED = [name for name in (*_HALVES, "IQ1_M", *_EXPONENTS) if name in Type.__members__]
UNQUANTIZED = ["F32", "F16", "BF16"]
ALL = [*UNQUANTIZED, *QUANTIZED]


def wide(name: str, raw: np.ndarray) -> np.ndarray:
    """Weights by the gguf package, but for Q1_0, which it only names: a bit chooses between d and -d."""
    if name != "Q1_0":
        return gguf.dequantize(raw, Type[name]).astype(np.float32)
    blocks = raw.reshape(len(raw), -1, 18)
    bits = [[[byte >> i & 1 for byte in block for i in range(8)] for block in row] for row in blocks[..., 2:].tolist()]
    scale = np.ascontiguousarray(blocks[..., :2]).view("<f2").astype(np.float32)
    return np.where(np.array(bits, bool), scale, -scale).reshape(len(raw), -1)


def random_raw(name: str, rng: np.random.Generator, rows: int, columns: int, deviation: float) -> np.ndarray:
    """uint8 [rows, bytes]; the weights' standard deviation is near `deviation`, their mean near 0."""
    kind = Type[name]
    block, size = gguf.GGML_QUANT_SIZES[kind]
    if name in UNQUANTIZED:
        weights = (rng.standard_normal((rows, columns)) * deviation).astype(np.float32)
        return np.ascontiguousarray(gguf.quantize(weights, kind)).view(np.uint8).reshape(rows, -1)
    raw = rng.integers(0, 256, (rows, columns // block, size), np.uint8)
    if name == "TQ1_0":  # five digits a byte: the package's reading of others differs from none
        raw[..., :52] = rng.integers(0, 243, raw[..., :52].shape)
    if name in _EXPONENTS:
        places, step, middle = _EXPONENTS[name]
        raw[..., places] = middle
        found = gguf.dequantize(raw.reshape(rows, -1), kind).std()
        raw[..., places] = middle + step * round(np.log2(deviation / found))
        return raw.reshape(rows, -1)
    _set_scale(name, raw, 1.0)
    with np.errstate(over="ignore"):
        found = wide(name, raw.reshape(rows, -1)).std()
    varied = rng.uniform(0.7, 1.4, raw.shape[:2]) * deviation / found
    _set_scale(name, raw, varied)
    return raw.reshape(rows, -1)


def _set_scale(name: str, raw: np.ndarray, scale: float | np.ndarray) -> None:
    scale = np.broadcast_to(scale, raw.shape[:2])
    if name == "IQ1_M":  # its float16 is spread over the highest nibbles of four words
        bits = scale.astype(np.float16).view(np.uint16)
        for word in range(4):
            raw[..., 49 + 2 * word] = raw[..., 49 + 2 * word] & 15 | (bits >> 4 * word & 15).astype(np.uint8) << 4
        return
    for at, factor in _HALVES[name].items():
        raw[..., at : at + 2] = (scale * factor).astype("<f2")[..., None].view(np.uint8)
