"""GGUF's blocks against the gguf package: repacked weights bit by bit, exports bit by bit."""

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

from qwen3edge import _core
from qwen3edge.errors import CheckpointError, RequestError
from qwen3edge.formats import blocks
from qwen3edge.formats.blocks import as_float32
from qwen3edge.formats.gguf_blocks import (
    INCOMING,
    OUTGOING,
    WRITABLE,
    export_blocks,
    holds_exactly,
    read_weights,
    repack,
    type_nbytes,
)
from tests.formats.random_blocks import ALL, QUANTIZED, random_raw, wide
from tests.reference import blocks as reference

REPACKED = [kind.name for kind, incoming in INCOMING.items() if incoming.planes is not None]
EXACT = [kind.name for kind, incoming in INCOMING.items() if incoming.exact]


def test_every_type_that_the_package_reads_is_mapped():
    assert set(ALL) == {kind.name for kind in INCOMING}


@pytest.mark.parametrize("name", ALL)
def test_weights_are_the_packages(name, seed):
    raw = random_raw(name, np.random.default_rng(seed), 5, 512, 0.05)
    ours = as_float32(read_weights(Type[name], raw))
    assert ours.shape == (5, 512)
    assert np.isfinite(ours).all()
    assert 0.02 < ours.std() < 0.1, "blocks that test nothing"
    np.testing.assert_array_equal(ours.view(np.uint32), wide(name, raw).view(np.uint32))


@pytest.mark.parametrize("rows", [1, 15, 16, 40])
@pytest.mark.parametrize("name", EXACT)
def test_exact_types_are_repacked_bit_by_bit(name, rows, seed):
    columns = gguf.GGML_QUANT_SIZES[Type[name]][0] * int(np.random.default_rng(seed).integers(1, 20))
    raw = random_raw(name, np.random.default_rng(seed), rows, columns, 0.05)
    raw[0, :2] = np.array([-0.5], np.float16).view(np.uint8)  # a negative scale, as llama.cpp's quantizer makes
    kept = INCOMING[Type[name]].format
    packed = repack(Type[name], raw, columns)
    expected = wide(name, raw)
    for weights in (reference.dequantize(kept, packed, rows, columns), _core.dequantize(kept, packed, rows, columns)):
        np.testing.assert_array_equal(weights.view(np.uint32), expected.view(np.uint32))
    if Type[name] not in WRITABLE:
        return
    # and back
    panels = packed.reshape(-1, _core.packed_nbytes(kept, 16, columns))
    np.testing.assert_array_equal(export_blocks(kept, Type[name], panels, columns)[:rows], raw)


@pytest.mark.parametrize("name", EXACT)
def test_rows_that_are_none_are_those_of_the_quantizer(name):
    """So that a file that was exported and imported is the same, byte for byte."""
    kept = INCOMING[Type[name]].format
    block, size = gguf.GGML_QUANT_SIZES[Type[name]]
    zeros = np.zeros((3, size * 2), np.uint8)
    if name == "Q1_0":
        pytest.skip("has no zero")
    if name == "Q4_0":
        zeros.reshape(3, 2, -1)[..., 2:] = 0x88
    expected = _core.quantize(kept, np.zeros((3, 2 * block), np.float32))
    np.testing.assert_array_equal(repack(Type[name], zeros, 2 * block), expected)


def test_q4_k_keeps_its_levels(seed):
    """Only products of scales are rounded, to float16."""
    raw = random_raw("Q4_K", np.random.default_rng(seed), 20, 768, 0.05)
    ours = reference.dequantize("q4a32", repack(Type.Q4_K, raw, 768), 20, 768)
    expected = wide("Q4_K", raw)
    largest = np.abs(expected).reshape(20, -1, 32).max(-1).repeat(32, axis=-1)
    # |d sc q| and |dmin m| are each below twice what they leave, or nearly cancel: bound both by the parts themselves
    assert np.abs(ours - expected).max() <= 2**-10 * 15 * largest.max()
    assert np.sqrt(np.mean((ours - expected) ** 2)) <= 1e-3 * expected.std()


@pytest.mark.parametrize("name", REPACKED)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scales_that_are_not_finite(name, value, seed):
    raw = random_raw(name, np.random.default_rng(seed), 4, 512, 0.05)
    size = gguf.GGML_QUANT_SIZES[Type[name]][1]
    raw[2, size : size + 2] = np.array([value], np.float16).view(np.uint8)
    with pytest.raises(CheckpointError, match="row 2"), np.errstate(invalid="ignore"):
        repack(Type[name], raw, 512)


def test_a_q4_k_scale_beyond_float16(seed):
    raw = random_raw("Q4_K", np.random.default_rng(seed), 1, 256, 0.05)
    raw[0, :2] = np.array([60000], np.float16).view(np.uint8)
    with pytest.raises(CheckpointError, match="finite scales"):
        repack(Type.Q4_K, raw, 256)


@pytest.mark.parametrize("isa", _core.isa_tiers())
def test_the_lowest_code_is_a_code(isa, seed):
    """-128, which no quantizer makes, gives the same product on every tier."""
    rng = np.random.default_rng(seed)
    raw = random_raw("Q8_0", rng, 16, 256, 0.05).reshape(16, 8, 34)
    raw[..., 2:][rng.random((16, 8, 32)) < 0.5] = 128
    packed = repack(Type.Q8_0, raw.reshape(16, -1), 256)
    x = rng.standard_normal((3, 256)).astype(np.float32)
    expected = _core.kernels.matmul("scalar", "q8g32", packed, 16, 256, x)
    np.testing.assert_array_equal(_core.kernels.matmul(isa, "q8g32", packed, 16, 256, x), expected)
    weights = wide("Q8_0", raw.reshape(16, -1)).astype(np.float64)
    assert np.abs(expected - x @ weights.T).max() <= 0.03 * np.abs(x).max() * np.abs(weights).max() * 16


@pytest.mark.parametrize("kind", WRITABLE, ids=lambda kind: kind.name)
@pytest.mark.parametrize("name", [name for name in blocks.BLOCK_FORMATS if name != "vector"])
def test_exports(name, kind, seed):
    """Exact where it is said to be, and as near as the type allows elsewhere."""
    columns, rows = 384, 32
    weights = (np.random.default_rng(seed).standard_normal((rows, columns)) * 0.05).astype(np.float32)
    packed = _core.quantize(name, weights)
    raw = export_blocks(name, kind, packed.reshape(-1, _core.packed_nbytes(name, 16, columns)), columns)
    assert raw.dtype == np.uint8
    assert raw.nbytes == type_nbytes(kind, (rows, columns))
    found, stored = wide(kind.name, raw), reference.dequantize(name, packed, rows, columns)
    if holds_exactly(kind, name):
        np.testing.assert_array_equal(found, stored)
    steps = {"F32": 0, "F16": 2**-11, "BF16": 2**-8, "Q8_0": 1 / 120, "Q5_1": 1 / 20, "Q5_0": 1 / 14}
    tolerance = steps.get(kind.name, 1 / 6) * np.abs(stored).max()
    if kind == OUTGOING[name].type:
        tolerance = 2**-9 * np.abs(stored).max()
    assert np.abs(found - stored).max() <= tolerance


def test_the_best_type_is_the_one_that_is_exact_but_for_q4z():
    assert {name for name, outgoing in OUTGOING.items() if not outgoing.exact} == {"q4z32", "q4z64"}
    assert set(OUTGOING) == set(blocks.BLOCK_FORMATS) - {"vector"}


def test_types_that_cannot_be_written():
    with pytest.raises(RequestError, match="Q6_K"):
        export_blocks("q8", Type.Q6_K, np.zeros((1, _core.packed_nbytes("q8", 16, 256)), np.uint8), 256)


def test_random_blocks_cover_what_a_recipe_may_meet():
    assert {"Q4_K", "Q6_K", "IQ4_XS", "MXFP4"} <= set(QUANTIZED)
