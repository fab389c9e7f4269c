"""The block formats: shapes, sizes, planes, and what the bytes mean."""

import numpy as np
import pytest

from qwen3edge import _core
from qwen3edge.errors import RequestError
from qwen3edge.formats import blocks
from tests.reference import blocks as reference

FORMATS = [name for name in blocks.BLOCK_FORMATS if name != "vector"]
QUANTIZED = [name for name in FORMATS if blocks.BLOCK_FORMATS[name].block]
COLUMNS = (32, 96, 128, 256, 288, 544, 640, 896)


def awkward_rows(seed: int, columns: int) -> np.ndarray:
    """[37, columns]: normal rows, and rows of zeros, tiny, huge, one-sided, constant and subnormal values, outliers."""
    rng = np.random.default_rng(seed)
    w = (rng.standard_normal((37, columns)) * 0.02).astype(np.float32)
    w[3] = 0
    w[5, : min(columns, 256)] = 0
    for row, scale in ((6, 1e-5), (7, 1e-7), (8, 1e4), (12, 1e-38), (14, -1e-40)):
        w[row] *= np.float32(scale)
    w[9, rng.integers(columns)] = 3
    w[10] = np.abs(w[10]) + 1
    w[11] = 0.5
    w[13] = -0.0
    w[15] = rng.standard_t(2, columns) * 0.02
    return w


def test_formats_are_those_of_the_documentation():
    """docs/format.md, "Block formats": of a file they are read by these names."""
    assert {f.name: (f.kind, f.block, f.group) for f in blocks.BLOCK_FORMATS.values()} == {
        **{name: (name, 0, 0) for name in ("vector", "f32", "bf16")},
        "q8": ("q8", 256, 256),
        "q8g32": ("q8", 32, 32),
        **{f"{kind}{group}": (kind, group, group) for kind in ("q4g", "q4a") for group in (32, 64, 128)},
        **{f"q4z{group}": ("q4z", 256, group) for group in (32, 64)},
        "q6z32": ("q6z", 256, 32),
    }


def test_sizes_are_those_of_the_documentation():
    bits = {f["name"]: f["bits"] for f in _core.block_formats()}
    expected = {"q8": 8.0625, "q8g32": 8.5, "q4g32": 4.5, "q4g64": 4.25, "q4g128": 4.125, "q4a32": 5, "q4a64": 4.5}
    assert expected.items() <= bits.items()
    assert bits["q4z32"] == 4.4375
    assert bits["q4z64"] == 4.25
    assert bits["q6z32"] == 6.3125


@pytest.mark.parametrize("name", FORMATS)
def test_slices_of_panels_make_the_whole(name, seed):
    w = awkward_rows(seed, 384)
    whole = _core.quantize(name, w)
    slices = [_core.quantize(name, w[start : start + 16]) for start in range(0, len(w), 16)]
    np.testing.assert_array_equal(np.concatenate(slices), whole)


@pytest.mark.parametrize("name", FORMATS)
def test_float16_and_bfloat16_sources(name, seed):
    w = np.random.default_rng(seed).standard_normal((17, 256)).astype(np.float32)
    half = w.astype(np.float16)
    np.testing.assert_array_equal(_core.quantize(name, half), _core.quantize(name, half.astype(np.float32)))
    brain = (w.view(np.uint32) >> 16).astype(np.uint16)
    widened = (brain.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(_core.quantize(name, brain), _core.quantize(name, widened))


def test_f32_and_bf16_are_exact(seed):
    w = awkward_rows(seed, 288)
    np.testing.assert_array_equal(_core.dequantize("f32", _core.quantize("f32", w), *w.shape), w)
    brain = (w.view(np.uint32) & 0xFFFF0000).view(np.float32)
    np.testing.assert_array_equal(_core.dequantize("bf16", _core.quantize("bf16", brain), *w.shape), brain)


def codes_of(name: str, packed: np.ndarray, columns: int) -> np.ndarray:
    fmt = blocks.block_format(name)
    size = blocks.panel_planes(fmt, columns)[1]
    return blocks.codes_of(fmt, blocks.read_planes(fmt, packed.reshape(-1, size), columns))


@pytest.mark.parametrize("name", ["q4z32", "q4z64", "q6z32"])
def test_codes_stay_in_int8(name, seed):
    codes = codes_of(name, _core.quantize(name, awkward_rows(seed, 576)), 576)
    assert codes.min() >= -128
    assert codes.max() <= 127


def test_any_bytes_are_codes_of_q6z(seed):
    """No byte of q6z is refused, so none may leave int8; the float scales are kept."""
    rng = np.random.default_rng(seed)
    packed = _core.quantize("q6z32", awkward_rows(seed, 576)).reshape(3, -1)
    scales = blocks.panel_planes(blocks.block_format("q6z32"), 576)[0][1].offset
    packed[:, scales:] = rng.integers(0, 256, packed[:, scales:].shape, np.uint8)
    packed[0, scales:] = 0  # the least code
    packed[1, scales:] = 255
    packed = packed.reshape(-1)
    codes = codes_of("q6z32", packed, 576)
    assert (codes[:, :16] == -128).all()
    assert codes.max() <= 124
    values = reference.dequantize("q6z32", packed, 37, 576)
    np.testing.assert_array_equal(_core.dequantize("q6z32", packed, 37, 576), values)
    x = rng.standard_normal((5, 576)).astype(np.float32)
    x[0] = rng.choice([-1, 1], 576 // 32).repeat(32)  # all 127 or -127: sums of 16 bits reach their ends
    for tokens in (1, 5):
        scalar = _core.kernels.matmul("scalar", "q6z32", packed, 37, 576, x[:tokens])
        for isa in _core.isa_tiers():
            np.testing.assert_array_equal(_core.kernels.matmul(isa, "q6z32", packed, 37, 576, x[:tokens]), scalar, isa)


@pytest.mark.parametrize("name", QUANTIZED)
def test_padding_is_zero(name):
    packed = _core.quantize(name, np.ones((1, 288 if blocks.BLOCK_FORMATS[name].group <= 32 else 256), np.float32))
    columns = 288 if blocks.BLOCK_FORMATS[name].group <= 32 else 256
    columns = columns if reference.holds_columns(blocks.block_format(name), columns) else 256
    assert not _core.dequantize(name, packed, 16, columns)[1:].any()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(name, value):
    w = np.zeros((20, 256), np.float32)
    w[18, 130] = value
    with pytest.raises(RequestError, match="row 18, column 130"):
        _core.quantize(name, w)


@pytest.mark.parametrize("name", QUANTIZED)
def test_weights_whose_scale_leaves_float16(name):
    w = np.zeros((1, 256), np.float32)
    w[0, 7] = 1e9
    with pytest.raises(RequestError, match="column 7"):
        _core.quantize(name, w)
    kind = blocks.BLOCK_FORMATS[name].kind
    w[0, 7] = {"q8": 127 * 65000, "q4g": 4 * 65000, "q4a": 32000}.get(kind, 100 * 65000)  # the most that fits
    values = _core.dequantize(name, _core.quantize(name, w), *w.shape)
    assert np.isfinite(values).all()
    assert abs(values[0, 7] / w[0, 7] - 1) < 0.05


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("q4g64", (16, 96)),
        ("q4z64", (16, 32)),
        ("q6z32", (16, 48)),
        ("q8", (16, 33)),
        ("q4z32", (16, 0)),
        ("nonsense", (16, 32)),
        ("q4a128", (1, 64)),
    ],
)
def test_shapes_that_a_format_cannot_hold(name, shape):
    with pytest.raises(RequestError):
        _core.quantize(name, np.zeros(shape, np.float32))
    with pytest.raises(RequestError):
        _core.packed_nbytes(name, *shape)
    with pytest.raises(RequestError):
        reference.packed_nbytes(name, *shape)


def test_arguments_are_checked():
    with pytest.raises(RequestError):
        _core.quantize("q8", np.zeros((4, 32), np.float64))
    with pytest.raises(RequestError):
        _core.quantize("q8", np.zeros(32, np.float32))
    with pytest.raises(RequestError):
        _core.quantize("q8", np.zeros((4, 32), np.float32), isa="pdp11")
    with pytest.raises(RequestError):
        _core.dequantize("q8", np.zeros(7, np.uint8), 16, 32)
    with pytest.raises(RequestError):
        _core.packed_nbytes("q8", 1 << 40, 1 << 40)


def test_the_weight_that_the_documentation_finds(seed):
    """docs/format.md, "Find a weight"."""
    weights = np.random.default_rng(seed).standard_normal((128, 1024)).astype(np.float32)
    packed = np.asarray(_core.quantize("q4z32", weights)).tobytes()
    assert len(packed) == 128 // 16 * 9088
    panel = packed[54528:]
    d = np.frombuffer(panel, "<f2", 1, 40)[0].astype(np.float32)
    s = (int.from_bytes(panel[208:212], "little") >> 4 & 15) + 1
    z = int.from_bytes(panel[529:530], "little", signed=True)
    q = panel[3280] >> 4
    expected = _core.dequantize("q4z32", np.frombuffer(packed, np.uint8), 128, 1024)[100, 300]
    assert d * np.float32(s * q + z) == expected
