"""How quantized checkpoints store a matrix: FP8, compressed-tensors, GPTQ, AWQ, MLX. All others are refused by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from threading import Lock
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qwen3edge.config import ModelConfig
from qwen3edge.convert.experts import checkpoint_shapes
from qwen3edge.errors import CheckpointError, UnsupportedModelError
from qwen3edge.formats.blocks import as_float32
from qwen3edge.formats.grouped_integers import AWQ_NIBBLES, GroupedMatrix, Scales, unpack
from qwen3edge.formats.safetensors import PLAIN, SafetensorsFolder

_WAY_OUT = "convert the checkpoint that it was made of (bf16), or a GGUF file of it"
_CACHED = 3  # whole tensors whose rows lie across, some ten megabytes each
_DROPPED = ("input_scale", "k_scale", "v_scale", "input_global_scale")  # of activations, which are not quantized here


@dataclass(frozen=True)
class FloatMatrix:
    """A matrix in 8-bit floats with scales."""

    shape: tuple[int, ...]
    read_rows: Callable[[int, int], NDArray[np.float32]]


Matrix: TypeAlias = "GroupedMatrix | FloatMatrix"


@dataclass
class Stored:
    """The quantized matrices, by the name that they have unquantized; the stored tensors that this accounts for."""

    method: str
    matrices: dict[str, Matrix] = field(default_factory=dict)
    consumed: set[str] = field(default_factory=set)


def is_quantized(files: SafetensorsFolder) -> bool:
    """Whether a tensor says so; config.json may have a quantization_config left over from another checkpoint."""
    return any(files.element(name) not in PLAIN for name in files.names())


def read_stored(files: SafetensorsFolder, config: ModelConfig, keys: Mapping[str, Any]) -> Stored:
    """Raises UnsupportedModelError for a method that cannot be read, CheckpointError."""
    settings = keys.get("quantization_config") or keys.get("quantization") or {}
    if not isinstance(settings, Mapping):
        raise CheckpointError(f"quantization_config: expected an object, found {settings!r:.60}")
    reader = _Reader(files, settings)
    modules: dict[str, set[str]] = {}
    for name in files.names():
        module, _, kind = name.rpartition(".")
        modules.setdefault(module, set()).add(kind)
    for module, kinds in modules.items():
        if "weight_packed" in kinds and "weight_scale" in kinds and "weight_global_scale" not in kinds:
            reader.add_words(module, kinds)
        elif kinds >= {"qweight", "qzeros", "scales"}:
            reader.add_across(module, kinds)
        elif "weight" in kinds and files.element(f"{module}.weight") in ("F8_E4M3", "I8"):
            reader.add_scaled(module, kinds)
        elif kinds >= {"weight", "scales", "biases"} and files.element(f"{module}.weight") == "U32":
            reader.add_mlx(module)
    stored = reader.stored
    left = [name for name in files.names() if name not in stored.consumed and files.element(name) not in PLAIN]
    if left:
        raise reader.refusal(f"found {left[0]!r} in {files.element(left[0])}")
    # GPTQ's writers give every layer a bias, of zeros where the model has none.
    expected, found = checkpoint_shapes(config).keys(), set(files.names())
    for name in {f"{matrix.removesuffix('.weight')}.bias" for matrix in stored.matrices} & found - expected:
        if not as_float32(files.read_whole(name)).any():
            stored.consumed.add(name)
    return stored


class _Reader:
    """Adds module after module."""

    def __init__(self, files: SafetensorsFolder, settings: Mapping[str, Any]):
        self._files, self._settings = files, settings
        method = settings.get("quant_method") or ("mlx" if "group_size" in settings else "quantized")
        self.stored = Stored(str(method))
        self._lock = Lock()
        self._cached = lru_cache(_CACHED)(files.read_whole)
        for key in ("transform_config", "sparsity_config"):
            if settings.get(key):
                raise self.refusal(f"found a {key}")

    def refusal(self, what: str) -> UnsupportedModelError:
        """what: was found."""
        return UnsupportedModelError(
            f"{self._files.folder}: quantization {self.stored.method!r}: expected FP8, integers of compressed-tensors, "
            f"GPTQ without act-order, AWQ (gemm) or MLX in 4 or 8 bits, {what}; {_WAY_OUT}"
        )

    def add_scaled(self, module: str, kinds: set[str]) -> None:
        """Float8 or int8 times a scale of the tensor, the row or a block: FP8, compressed-tensors, ModelOpt."""
        files, name = self._files, f"{module}.weight"
        shape, element = files.shape(name), files.element(name)
        kind = next((kind for kind in ("weight_scale_inv", "weight_scale") if kind in kinds), None)
        if kind is None or len(shape) != 2 or "weight_zero_point" in kinds:
            raise self.refusal(f"found {name!r} in {element} with {sorted(kinds - {'weight'})}")
        scale = self._floats(f"{module}.{kind}")
        rows, columns = shape
        block = self._block(name, shape, scale.shape)
        grid = scale.reshape(-(-rows // block[0]), -(-columns // block[1]))
        self._consume(module, "weight", kind, *(kinds & {*_DROPPED}))
        if element == "I8":
            if block[1] != columns:
                raise self.refusal(f"found {name!r} in I8 with scales {list(scale.shape)}")
            per_row = grid.repeat(block[0], axis=0)[:rows]
            zero = np.full_like(per_row, 128)

            def read_codes(start: int, stop: int) -> NDArray[np.uint8]:
                codes: NDArray[np.uint8] = files.read_rows(name, start, stop).view(np.uint8) ^ np.uint8(0x80)
                return codes

            self._add(name, GroupedMatrix(shape, 8, read_codes, lambda: Scales(per_row, zero)))
            return

        def read_rows(start: int, stop: int) -> NDArray[np.float32]:
            values = _FLOAT8[files.read_rows(name, start, stop)]
            scales = grid[np.arange(start, stop) // block[0]].repeat(block[1], axis=1)[:, :columns]
            product: NDArray[np.float32] = values * scales
            return product

        self._add(name, FloatMatrix(shape, read_rows))

    def _block(self, name: str, shape: tuple[int, ...], scales: tuple[int, ...]) -> tuple[int, int]:
        """Rows and columns under one scale. Raises CheckpointError."""
        size = self._settings.get("weight_block_size")
        choices = [shape, (1, shape[1])] if all(shape) else []
        if isinstance(size, list) and len(size) == 2 and all(type(n) is int and n > 0 for n in size):
            choices.insert(0, (size[0], size[1]))
        for rows, columns in choices:
            grid = (-(-shape[0] // rows), -(-shape[1] // columns))
            if scales == grid or (grid == (1, 1) and scales in ((), (1,))) or (grid[1] == 1 and scales == grid[:1]):
                return rows, columns
        raise CheckpointError(
            f"{self._files.folder}: {name!r} {list(shape)}: expected a scale for the tensor, each row or each block "
            f"of weight_block_size ({size!r:.40}), found scales {list(scales)}"
        )

    def add_words(self, module: str, kinds: set[str]) -> None:
        """compressed-tensors' pack-quantized integers: int32 words along the rows."""
        files, packed = self._files, f"{module}.weight_packed"
        sized = "weight_shape" in kinds and files.shape(f"{module}.weight_shape") == (2,)
        if not sized or files.element(packed) != "I32" or len(files.shape(packed)) != 2:
            raise self.refusal(f"found {packed!r} in {files.element(packed)} {list(files.shape(packed))}")
        rows, columns = (int(n) for n in files.read_rows(f"{module}.weight_shape", 0, 2))
        grid = files.shape(f"{module}.weight_scale")
        bits = self._bits(packed, files.shape(packed), (rows, columns))
        if len(grid) != 2 or grid[0] != rows or not grid[1] or columns % grid[1]:
            raise self.refusal(f"found scales {list(grid)} of {packed!r}")
        if "weight_g_idx" in kinds:
            self._check_order(f"{module}.weight_g_idx", columns // grid[1])
        points = f"{module}.weight_zero_point" if "weight_zero_point" in kinds else None

        def read_scales() -> Scales:
            scale = self._floats(f"{module}.weight_scale")
            if points is None:
                return Scales(scale, np.full_like(scale, 1 << bits - 1))
            zero = unpack(np.ascontiguousarray(files.read_whole(points).T), bits).T[:rows]
            return Scales(scale, zero.astype(np.float32))

        if points is not None:
            self._require_words(points, (-(-rows * bits // 32), grid[1]))
        self._consume(module, "weight_packed", "weight_scale", "weight_shape", *(kinds & {*_DROPPED}))
        self._consume(module, *(kinds & {"weight_g_idx", "weight_zero_point"}))
        self._add(
            f"{module}.weight",
            GroupedMatrix((rows, columns), bits, lambda i, j: unpack(files.read_rows(packed, i, j), bits), read_scales),
        )

    def add_across(self, module: str, kinds: set[str]) -> None:
        """GPTQ and AWQ: [inputs, outputs], our rows lie across; scales and zero points [groups, outputs]."""
        files, settings = self._files, self._settings
        names = {kind: f"{module}.{kind}" for kind in ("qweight", "qzeros", "scales")}
        words = files.shape(names["qweight"])
        self._require_words(names["qweight"], words)
        if len(words) != 2 or len(files.shape(names["scales"])) != 2 or files.element(names["scales"]) not in PLAIN:
            raise self.refusal(f"found {names['scales']!r} in {files.element(names['scales'])}, {list(words)} words")
        groups, rows = files.shape(names["scales"])
        method, packing = str(settings.get("quant_method")), str(settings.get("packing_format", ""))
        awq = method == "awq" or "awq" in packing
        if not awq and method != "gptq" and "gptq" not in packing:
            raise self.refusal(f"found {names['qweight']!r}")
        if awq:
            if str(settings.get("version", "gemm")).lower() != "gemm" or words[1] * 8 != rows:
                raise self.refusal(f"found version {settings.get('version')!r:.20}, {names['qweight']!r} {list(words)}")
            bits, columns, added = 4, words[0], 0
        else:
            wanted = settings.get("bits")
            columns = (
                (files.shape(f"{module}.g_idx") or (0,))[0]
                if "g_idx" in kinds
                else words[0] * 32 // (wanted if wanted in (4, 8) else 4)
            )
            bits = self._bits(names["qweight"], words[::-1], (rows, columns))
            if "g_idx" in kinds:
                self._check_order(f"{module}.g_idx", -(-columns // max(groups, 1)))
            elif settings.get("desc_act"):
                raise self.refusal("found act-order (desc_act)")
            added = 0 if settings.get("checkpoint_format") == "gptq_v2" else 1  # the first version stores zero - 1
        if groups == 0 or columns % groups:
            raise self.refusal(f"found {groups} groups of {columns} columns of {module!r}")
        self._require_words(names["qzeros"], (groups, -(-rows * bits // 32)))
        order = AWQ_NIBBLES if awq else None

        def read_scales() -> Scales:
            zero = unpack(self._whole(names["qzeros"]), bits, order)[:, :rows].T.astype(np.float32) + added
            if zero.max() == 1 << bits:
                raise self.refusal(f"found a zero point in {module!r} that readers take for {1 << bits} or for 0")
            return Scales(np.ascontiguousarray(as_float32(self._whole(names["scales"])).T), np.ascontiguousarray(zero))

        def read_codes(start: int, stop: int) -> NDArray[np.uint8]:
            whole = self._whole(names["qweight"])
            if awq:
                first = start // 8
                codes = unpack(whole[:, first : -(-stop // 8)], bits, order)[:, start - 8 * first : stop - 8 * first]
                return np.ascontiguousarray(codes.T)
            return unpack(np.ascontiguousarray(whole[:, start:stop].T), bits)

        self._consume(module, *names, *(kinds & {"g_idx"}))
        self._add(f"{module}.weight", GroupedMatrix((rows, columns), bits, read_codes, read_scales))

    def add_mlx(self, module: str) -> None:
        """mlx's affine integers: uint32 words along the rows, scale * q + bias; experts in one tensor."""
        files, name = self._files, f"{module}.weight"
        words, grid = files.shape(name), files.shape(f"{module}.scales")
        plain = all(files.element(f"{module}.{kind}") in PLAIN for kind in ("scales", "biases"))
        affine = plain and str(self._settings.get("mode", "affine")) == "affine"
        if not affine or len(grid) not in (2, 3) or len(words) != len(grid):
            raise self.refusal(f"found {name!r} {list(words)} in mode {self._settings.get('mode')!r:.20}")
        override = self._settings.get(module)
        settings = override if isinstance(override, Mapping) else self._settings
        size, bits = settings.get("group_size"), settings.get("bits")
        columns = grid[-1] * size if type(size) is int else 0
        if bits not in (4, 8) or words != (*grid[:-1], columns * bits // 32) or files.shape(f"{module}.biases") != grid:
            raise self.refusal(f"found {name!r} {list(words)} of {bits!r:.20} bits in groups of {size!r:.20}")

        def read_scales() -> Scales:
            scale, bias = (as_float32(files.read_whole(f"{module}.{kind}")) for kind in ("scales", "biases"))
            return Scales(scale, None, bias)

        self._consume(module, "weight", "scales", "biases")
        self._add(
            name,
            GroupedMatrix(
                (*grid[:-1], columns), bits, lambda i, j: unpack(files.read_rows(name, i, j), bits), read_scales
            ),
        )

    def _add(self, name: str, matrix: Matrix) -> None:
        if min(matrix.shape) < 1:
            raise self.refusal(f"found {name!r} {list(matrix.shape)}")
        self.stored.matrices[name] = matrix

    def _require_words(self, name: str, shape: tuple[int, ...]) -> None:
        """Raises UnsupportedModelError for another shape or type."""
        found = self._files.shape(name)
        if found != shape or self._files.element(name) != "I32":
            raise self.refusal(f"found {name!r} in {self._files.element(name)} {list(found)} for I32 {list(shape)}")

    def _bits(self, name: str, words: tuple[int, ...], shape: tuple[int, int]) -> int:
        """By the words of a row. Raises UnsupportedModelError."""
        for bits in (4, 8):
            if words == (shape[0], -(-shape[1] * bits // 32)):
                return bits
        raise self.refusal(f"found {name!r} {list(words)} for {list(shape)} weights")

    def _check_order(self, name: str, group: int) -> None:
        """Raises UnsupportedModelError unless groups are runs of columns."""
        shape = self._files.shape(name)
        if len(shape) != 1 or self._files.element(name) not in ("I32", "I64"):
            raise self.refusal(f"found {name!r} in {self._files.element(name)} {list(shape)}")
        index = self._files.read_whole(name)
        if (index != np.arange(len(index)) // max(group, 1)).any() and (index != -1).any():
            raise self.refusal(f"found act-order (desc_act): the groups of {name!r} are no runs of columns")

    def _floats(self, name: str) -> NDArray[np.float32]:
        shape = self._files.shape(name)
        if self._files.element(name) not in PLAIN or len(shape) > 2:
            raise self.refusal(f"found {name!r} in {self._files.element(name)} {list(shape)}")
        return as_float32(self._files.read_whole(name)).reshape(shape)

    def _consume(self, module: str, *kinds: str) -> None:
        self.stored.consumed.update(f"{module}.{kind}" for kind in kinds)

    def _whole(self, name: str) -> NDArray[Any]:
        with self._lock:  # or every thread would read it
            return self._cached(name)


def _float8_table() -> NDArray[np.float32]:
    """E4M3 (fn) by code: sign, 4 bits of exponent with bias 7, 3 of mantissa; no infinities."""
    code = np.arange(256)
    exponent, mantissa = code >> 3 & 15, code & 7
    value = np.where(exponent == 0, mantissa / 8 * 2.0**-6, (1 + mantissa / 8) * 2.0 ** (exponent - 7.0))
    value = np.where(code & 127 == 127, np.nan, value)
    return np.where(code > 127, -value, value).astype(np.float32)


_FLOAT8 = _float8_table()
