"""Every tier of every kernel against its scalar twin by `==`, and the scalar twin against NumPy in float64."""

import numpy as np
import pytest

from qwen3edge import _core

TIERS = [t for t in _core.isa_tiers() if t != "scalar"]
# The tiles of AMX in plain C++: what the amx tier does is tested wherever AVX-512 is.
TILE_TIERS = [*TIERS, "amx_emulated"] if "avx512" in TIERS else TIERS  # of matmul and attention
MATRIX_FORMATS = [f for f in _core.block_formats() if f["name"] != "vector"]
K = _core.kernels


def outliers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Normal values with a few large ones, as activations have. float32."""
    x = rng.standard_normal(shape).astype(np.float32)
    return x * np.where(rng.random(shape) < 0.01, 50, 1).astype(np.float32)


def packed_matrix(rng: np.random.Generator, name: str, rows: int, columns: int) -> np.ndarray:
    return _core.quantize(name, (outliers(rng, rows, columns) * 0.02).astype(np.float32))


def fits(format: dict, columns: int) -> bool:
    return format["name"].startswith("q8") or format["group"] == 0 or columns % format["group"] == 0


MATMULS = [
    pytest.param(format, rows, columns, id=f"{format['name']}-{rows}x{columns}")
    for format in MATRIX_FORMATS
    for rows, columns in [(16, 32), (33, 128), (100, 896), (64, 1024), (130, 384), (32, 288)]
    if fits(format, columns)
]


@pytest.mark.parametrize(("format", "rows", "columns"), MATMULS)
def test_matmul(format, rows, columns, seed):
    rng = np.random.default_rng(seed)
    name = format["name"]
    packed = packed_matrix(rng, name, rows, columns)
    weights = _core.dequantize(name, packed, rows, columns).astype(np.float64)
    for tokens in (1, 2, 3, 4, 5, 7, 12, 129):
        x = outliers(rng, tokens, columns)
        scalar = K.matmul("scalar", name, packed, rows, columns, x)
        rounded = x.astype(np.float64)
        if format["block"]:
            quants, scales, _ = K.quantize_activations("scalar", x, format["block"])
            rounded = quants.astype(np.float64) * np.repeat(scales, format["block"], axis=1)[:, :columns]
        expected = rounded @ weights.T
        assert np.abs(scalar - expected).max() <= 2e-5 * np.abs(rounded).sum(axis=1).max() * np.abs(weights).max()
        for tier in TILE_TIERS:
            assert (K.matmul(tier, name, packed, rows, columns, x) == scalar).all(), (tier, tokens)


@pytest.mark.parametrize("name", ["q8", "q4z32", "q4z64", "q8g32", "q4g32", "q4g64", "q4a32"])
def test_matmul_tiles(name, seed):
    """Every count of tokens that fills a tier's tiles differently, with one to four panels and a short last block."""
    rng = np.random.default_rng(seed)
    # A last block of two and a half tiles, where the format can.
    for rows, columns in [(16, 64), (32, 320 if name.endswith("64") else 352), (48, 256), (64, 576)]:
        packed = packed_matrix(rng, name, rows, columns)
        x = outliers(rng, 128, columns)
        scalar = K.matmul("scalar", name, packed, rows, columns, x)
        for tokens in [*range(1, 36), 47, 48, 49, 63, 64, 65, 127, 128]:
            for tier in TILE_TIERS:
                ours = K.matmul(tier, name, packed, rows, columns, x[:tokens])
                assert (ours == scalar[:tokens]).all(), (tier, rows, columns, tokens)


@pytest.mark.parametrize("name", [f["name"] for f in MATRIX_FORMATS if f["name"].startswith(("q4", "q8"))])
def test_matmul_extremes(name):
    """The largest weights and activations there are, so that a sum that does not hold them shows."""
    rows, columns, panels, blocks = 48, 1024, 3, 4
    packed = _core.quantize(name, np.ones((rows, columns), np.float32))
    panel = packed.reshape(panels, -1)
    weights = columns * 16 if name.startswith("q8") else columns * 8  # bytes; the last plane of a panel
    panel[:, -weights:] = 0x80 if name.startswith("q8") else 0xFF
    if name.startswith("q4z"):  # s = 16 and z = -128: w8 = 16 * 15 - 128
        group = int(name[3:])
        z, s = blocks * 16 * (256 // group), blocks * 16 * (128 // group)
        panel[:, -weights - z : -weights] = 0x80
        panel[:, -weights - z - s : -weights - z] = 0xFF
    x = np.ones((19, columns), np.float32)
    x[1] = -1
    x[2, ::2] = -1
    x[3, 512:] = 0
    scalar = K.matmul("scalar", name, packed, rows, columns, x)
    assert np.isfinite(scalar).all() and (scalar[0] != 0).all()
    for tier in TILE_TIERS:
        for tokens in (1, 2, 4, 9, 19):
            ours = K.matmul(tier, name, packed, rows, columns, x[:tokens])
            assert (ours == scalar[:tokens]).all(), (tier, tokens)


@pytest.mark.parametrize("block", [32, 64, 128, 256])
@pytest.mark.parametrize("columns", [32, 96, 896, 1024])
def test_quantize_activations(block, columns, seed):
    x = outliers(np.random.default_rng(seed), 5, columns)
    x[1] = 0
    quants, scales, sums = K.quantize_activations("scalar", x, block)
    for b in range(scales.shape[1]):
        part = slice(b * block, min((b + 1) * block, columns))
        amax = np.abs(x[:, part]).max(axis=1)
        assert (scales[:, b] == amax / np.float32(127)).all()
        inverse = np.divide(np.float32(127), amax, out=np.zeros_like(amax), where=amax > 0)
        assert (quants[:, part] == np.rint(x[:, part] * inverse[:, None])).all()
        assert (sums[:, b] == quants[:, part].astype(np.int32).sum(axis=1)).all()
    for tier in TIERS:
        for ours, theirs in zip(K.quantize_activations(tier, x, block), (quants, scales, sums), strict=True):
            assert (ours == theirs).all(), tier


@pytest.mark.parametrize("columns", [32, 128, 896, 4096])
def test_rmsnorm(columns, seed):
    rng = np.random.default_rng(seed)
    x, weight = outliers(rng, 4, columns), outliers(rng, columns)
    x[2] = 0
    scalar = K.rmsnorm("scalar", x, weight, 1e-6)
    wide = x.astype(np.float64)
    expected = wide / np.sqrt((wide**2).mean(axis=1, keepdims=True) + 1e-6) * weight
    np.testing.assert_allclose(scalar, expected, rtol=2e-6, atol=1e-30)
    fused = K.rmsnorm_quantize("scalar", x, weight, 1e-6, 256)
    for a, b in zip(fused, K.quantize_activations("scalar", scalar, 256), strict=True):
        assert (a == b).all()
    for tier in TIERS:
        assert (K.rmsnorm(tier, x, weight, 1e-6) == scalar).all(), tier
        for a, b in zip(K.rmsnorm_quantize(tier, x, weight, 1e-6, 256), fused, strict=True):
            assert (a == b).all(), tier


def test_silu_panels(seed):
    """The same as silu_mul, with panels of gate and up in turns."""
    rng = np.random.default_rng(seed)
    gate, up = outliers(rng, 6, 16), outliers(rng, 6, 16)
    interleaved = np.stack([gate, up], axis=1).reshape(-1)
    for tier in ["scalar", *TIERS]:
        assert (K.silu_panels(tier, interleaved) == K.silu_mul(tier, gate.reshape(-1), up.reshape(-1))).all(), tier


@pytest.mark.parametrize(("experts", "top"), [(1, 1), (8, 2), (16, 4), (17, 17), (60, 4), (128, 8), (512, 10)])
@pytest.mark.parametrize("normalize", [False, True])
def test_route(experts, top, normalize, seed):
    rng = np.random.default_rng(seed)
    logits = outliers(rng, 40, experts) * 3
    logits[0] = 0  # ties: the lowest index is first
    logits[1, ::3] = logits[1, 0]
    logits[2] *= 100  # shares that vanish
    chosen, weights = K.route("scalar", logits, top, normalize)
    wide = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    shares = wide / wide.sum(axis=1, keepdims=True)
    taken = np.take_along_axis(shares, chosen.astype(np.int64), axis=1)
    expected = taken / taken.sum(axis=1, keepdims=True) if normalize else taken
    np.testing.assert_allclose(weights, expected, rtol=3e-6, atol=1e-30)
    assert (np.diff(weights, axis=1) <= 0).all()
    assert (np.sort(shares, axis=1)[:, ::-1][:, :top] <= taken * (1 + 1e-5) + 1e-37).all()
    assert all(len(set(row)) == top for row in chosen.tolist())
    assert (chosen[0] == np.arange(top)).all()
    equal = weights[:, 1:] == weights[:, :-1]
    assert (chosen[:, 1:][equal] > chosen[:, :-1][equal]).all()
    for tier in TIERS:
        for ours, theirs in zip(K.route(tier, logits, top, normalize), (chosen, weights), strict=True):
            assert (ours == theirs).all(), tier


def test_route_of_what_is_no_number():
    """Experts are still of those that there are, and different ones."""
    logits = np.full((4, 20), np.nan, np.float32)
    logits[1, 5:] = 0
    logits[2] = np.inf
    logits[3] = -np.inf
    for tier in ["scalar", *TIERS]:
        chosen, _ = K.route(tier, logits, 3, True)
        assert (chosen < 20).all()
        assert all(len(set(row)) == 3 for row in chosen.tolist())


@pytest.mark.parametrize("count", [1, 2, 8])
def test_add_weighted(count, seed):
    rng = np.random.default_rng(seed)
    rows, weights, x = outliers(rng, count, 96), rng.random(count).astype(np.float32), outliers(rng, 96)
    scalar = K.add_weighted("scalar", rows, weights, x)
    np.testing.assert_allclose(scalar, x + weights.astype(np.float64) @ rows, rtol=1e-5, atol=1e-5)
    for tier in TIERS:
        assert (K.add_weighted(tier, rows, weights, x) == scalar).all(), tier


def test_silu_mul(seed):
    rng = np.random.default_rng(seed)
    gate = np.concatenate([outliers(rng, 4096), np.linspace(-200, 200, 1024, dtype=np.float32)])
    up = outliers(rng, gate.size)
    scalar = K.silu_mul("scalar", gate, up)
    wide = gate.astype(np.float64)
    np.testing.assert_allclose(scalar, wide / (1 + np.exp(-wide)) * up, rtol=3e-6, atol=1e-30)
    for tier in TIERS:
        assert (K.silu_mul(tier, gate, up) == scalar).all(), tier


def reference_attention(qkv, heads, kv_heads, frequencies, q_weight, k_weight, bias, eps):
    """float64 QK-norm, RoPE and causal attention; qkv [tokens, heads + 2 kv_heads, d] -> [tokens, heads, d]."""
    x = qkv.astype(np.float64) + (0 if bias is None else bias.reshape(qkv.shape[1:]))
    tokens, _, d = x.shape

    def rotate(part, weight):
        if weight is not None:
            part = part / np.sqrt((part**2).mean(axis=-1, keepdims=True) + eps) * weight
        angle = (np.arange(tokens, dtype=np.float32)[:, None] * frequencies).astype(np.float64)
        cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
        half = len(frequencies)
        a, b = part[..., :half], part[..., half : 2 * half]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin, part[..., 2 * half :]], axis=-1)

    q, k = rotate(x[:, :heads], q_weight), rotate(x[:, heads : heads + kv_heads], k_weight)
    v = x[:, heads + kv_heads :]
    group = heads // kv_heads
    scores = np.einsum("thd,shd->hts", q, np.repeat(k, group, axis=1)) / np.sqrt(d)
    scores = np.where(np.tril(np.ones((tokens, tokens), bool)), scores, -np.inf)
    p = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.einsum("hts,shd->thd", p / p.sum(axis=-1, keepdims=True), np.repeat(v, group, axis=1))


@pytest.mark.parametrize(("kv", "tolerance"), [("f32", 1e-5), ("bf16", 2e-2), ("int8", 5e-2), ("int4", 0.4)])
@pytest.mark.parametrize(
    ("heads", "kv_heads", "d", "normed"),
    [(2, 2, 32, True), (4, 2, 128, True), (8, 1, 64, False), (14, 2, 64, False), (3, 3, 96, True), (8, 2, 256, True)],
)
def test_attention(kv, tolerance, heads, kv_heads, d, normed, seed):
    rng = np.random.default_rng(seed)
    frequencies = (1 / 1e4 ** (np.arange(0, d, 2) / d)).astype(np.float32)
    weights = [1 + 0.1 * rng.standard_normal(d).astype(np.float32) for _ in range(2)] if normed else [None, None]
    bias = None if normed else rng.standard_normal((heads + 2 * kv_heads) * d).astype(np.float32)
    for tokens in (1, 17, 63, 64, 65, 200):
        qkv = rng.standard_normal((tokens, heads + 2 * kv_heads, d)).astype(np.float32)
        arguments = (kv, qkv, heads, kv_heads, frequencies, *weights, bias, 1e-6)
        scalar = K.attention("scalar", *arguments, 1)
        expected = reference_attention(qkv, heads, kv_heads, frequencies, *weights, bias, 1e-6)
        assert np.abs(scalar - expected).max() <= tolerance * np.abs(expected).max()
        for tile in {1, 3, 48 // (heads // kv_heads)}:
            for tier in TILE_TIERS:
                assert (K.attention(tier, *arguments, tile) == scalar).all(), (tier, tokens, tile)


@pytest.mark.parametrize("group", [1, 2, 4, 8])
@pytest.mark.parametrize("d", [64, 96, 128])
def test_attention_tiles(group, d, seed):
    """Tasks that fill the tiles of AMX differently: prompts, drafts to verify, KV heads together."""
    rng = np.random.default_rng(seed)
    kv_heads, tokens = 3, int(rng.integers(130, 260))
    qkv = outliers(rng, tokens, (group + 2) * kv_heads, d)
    frequencies = (1 / 1e4 ** (np.arange(0, d, 2) / d)).astype(np.float32)
    arguments = ("int8", qkv, group * kv_heads, kv_heads, frequencies, None, None, None, 1e-6)
    scalar = K.attention("scalar", *arguments, 1)
    for rows in (9, 12, 16, 17, 31, 33, 48):  # of a task and KV head, at most
        tile = max(1, rows // group)
        together = max(1, min(kv_heads, 64 // (tile * group)))
        for tier in TILE_TIERS:
            ours = K.attention(tier, *arguments, tile, together)
            assert (ours == scalar).all(), (tier, tokens, tile, together)


def as_bf16(x):
    """float32 rounded to the nearest bfloat16, ties to even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32).astype(np.uint64)
    return (((bits + 0x7FFF + (bits >> 16 & 1)) >> 16) << 16).astype(np.uint32).view(np.float32).astype(np.float64)


def code_of_4_bits(x, inverse):
    """The nearest of 0 to 15 to x * inverse + 7.5 as one float32 fma: keys in bfloat16 lie at the middle between two
    codes often, and an outlier on the other side moves many weights."""
    x, inverse = (np.asarray(a, np.float32).astype(np.float64) for a in (x, inverse))
    return np.clip(np.rint((x * inverse + 7.5).astype(np.float32)), 0, 15).astype(np.float64)


@pytest.mark.parametrize("outlier", [1, 100])
@pytest.mark.parametrize("d", [32, 96, 128])
def test_attention_rounds_int4_as_documented(d, outlier, seed):
    """A query reads its own page's keys in bfloat16, of pages before it (2 c - 15) * scale + middle by channel and
    page, with its own product with the scales in int8; values are (2 c - 15) * largest / 15 everywhere."""
    rng = np.random.default_rng(seed)
    tokens, heads, kv_heads, page = 200, 4, 2, 64
    qkv = rng.standard_normal((tokens, heads + 2 * kv_heads, d)).astype(np.float32)
    qkv[:, heads : heads + kv_heads, 3] = outlier * (1 + 0.1 * qkv[:, heads : heads + kv_heads, 3])
    q, k, v = np.split(qkv.astype(np.float64), [heads, heads + kv_heads], axis=1)
    top = np.abs(v).max(axis=-1, keepdims=True)
    v = (2 * code_of_4_bits(v, np.float32(7.5) / top.astype(np.float32)) - 15) * top / 15
    k, v, q = as_bf16(k).repeat(2, axis=1), v.repeat(2, axis=1), q / np.sqrt(d)
    scores = np.full((heads, tokens, tokens), -np.inf)
    for start in range(0, tokens, page):
        keys = k[start : start + page].transpose(1, 0, 2)
        own, later = q[start : start + page].transpose(1, 0, 2), q[start + page :].transpose(1, 0, 2)
        scores[:, start : start + page, start : start + page] = own @ keys.transpose(0, 2, 1)
        if later.shape[1] == 0:
            break
        most, least = keys.max(axis=1, keepdims=True), keys.min(axis=1, keepdims=True)
        scale, middle = (most - least) / 30, (most + least) / 2
        inverse = np.float32(15) / (most - least).astype(np.float32)
        codes = 2 * code_of_4_bits(keys.astype(np.float32) - middle.astype(np.float32), inverse) - 15
        unit = np.abs(later * scale).max(axis=-1, keepdims=True) / 127
        scores[:, start + page :, start : start + page] = unit * np.rint(later * scale / unit) @ codes.transpose(
            0, 2, 1
        ) + later @ middle.transpose(0, 2, 1)
    scores = np.where(np.tril(np.ones((tokens, tokens), bool)), scores, -np.inf)
    p = np.exp(scores - scores.max(axis=-1, keepdims=True))
    expected = np.einsum("hts,shd->thd", p / p.sum(axis=-1, keepdims=True), v)
    zero = np.zeros(d // 2, np.float32)
    scalar = K.attention("scalar", "int4", qkv, heads, kv_heads, zero, None, None, None, 1e-6, 1)
    wrong = np.abs(scalar - expected) / np.abs(expected).max()
    assert wrong.max() <= 5e-3  # a query at the edge of a rounding goes to the other side
    assert wrong.mean() <= 5e-5
    for tier in TILE_TIERS:
        assert (K.attention(tier, "int4", qkv, heads, kv_heads, zero, None, None, None, 1e-6, 24) == scalar).all(), tier


@pytest.mark.parametrize("sharpness", [0.1, 1.0, 30.0])
def test_attention_weights_have_14_bits(sharpness, seed):
    """Queries, keys and values that int8 holds exactly leave the rounding of the weights: half a unit each."""
    rng = np.random.default_rng(seed)
    tokens, d, block, largest = 200, 64, 64, 16383
    steps = rng.integers(-127, 128, (tokens, 3, d)).astype(np.float32)
    steps[:, :, 0] = 127  # so that a vector's scale is its step
    size = np.float32([sharpness, 1, 1]) / np.float32([127, 127, 1])
    qkv = steps * size[:, None]
    qkv[:, 2] *= (10 ** rng.uniform(-3, 3, (tokens, 1))).astype(np.float32)  # values of all sizes
    zero = np.zeros(d // 2, np.float32)
    scalar = K.attention("scalar", "int8", qkv, 1, 1, zero, None, None, None, 1e-6, 1)[:, 0]
    q, k, v = qkv.astype(np.float64).transpose(1, 0, 2)
    scores = np.where(np.tril(np.ones((tokens, tokens), bool)), q @ k.T / np.sqrt(d), -np.inf)
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    scales = np.abs(v).max(axis=1) / 127
    starts = range(0, tokens, block)
    unit = sum((p * scales)[:, s : s + block].max(axis=1) * min(block, tokens - s) for s in starts) / largest
    float32 = 1e-4 * (p @ np.abs(v).max(axis=1))  # scores of up to 240 in float32
    assert (np.abs(scalar - p @ v).max(axis=1) <= 127 * unit / 2 + float32).all()
    for tier in TILE_TIERS:
        assert (K.attention(tier, "int8", qkv, 1, 1, zero, None, None, None, 1e-6, 48)[:, 0] == scalar).all(), tier


def test_cos_sin():
    frequencies = (1 / 1e6 ** (np.arange(0, 128, 2) / 128)).astype(np.float32)
    for position in (0, 1, 2, 3, 1000, 40959, 262143):
        angle = (np.float32(position) * frequencies).astype(np.float64)
        expected = np.concatenate([np.cos(angle), np.sin(angle)]).astype(np.float32)
        np.testing.assert_allclose(K.cos_sin(position, frequencies), expected, rtol=0, atol=6e-8)
