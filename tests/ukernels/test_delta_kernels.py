"""The kernels of a gated delta net and of gates: every tier against its scalar twin by `==`, that against float64."""

import numpy as np
import pytest

from tests.ukernels.test_kernels import TIERS, K, outliers, reference_attention


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -x))


def same(tier: object, ours: object, theirs: object) -> None:
    for a, b in zip(np.atleast_1d(ours), np.atleast_1d(theirs), strict=True):
        assert (a == b).all(), tier


def extremes(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Values of all sizes that float32's exponential meets, and zeros."""
    x = rng.standard_normal(shape).astype(np.float32) * 10 ** rng.uniform(-3, 2.2, shape).astype(np.float32)
    x.reshape(-1)[:3] = [0, 120, -120]
    return x


@pytest.mark.parametrize("columns", [16, 96, 256])
def test_sigmoid_mul(columns, seed):
    rng = np.random.default_rng(seed)
    gate, x = extremes(rng, 3, columns), outliers(rng, 3, columns)
    scalar = K.sigmoid_mul("scalar", gate, x)
    np.testing.assert_allclose(scalar, x * sigmoid(gate.astype(np.float64)), rtol=1e-6, atol=1e-30)
    for tier in TIERS:
        same(tier, K.sigmoid_mul(tier, gate, x), scalar)


def test_dot_gate(seed):
    rng = np.random.default_rng(seed)
    a, b, x = outliers(rng, 5, 96), rng.standard_normal(96).astype(np.float32) / 10, outliers(rng, 5, 64)
    scalar = K.dot_gate("scalar", a, b, x)
    np.testing.assert_allclose(scalar, x * sigmoid(a.astype(np.float64) @ b)[:, None], rtol=1e-4)
    for tier in TIERS:
        same(tier, K.dot_gate(tier, a, b, x), scalar)


@pytest.mark.parametrize("columns", [16, 128, 256])
def test_gated_norm(columns, seed):
    rng = np.random.default_rng(seed)
    x, gate, weight = outliers(rng, 3, columns), extremes(rng, 3, columns), outliers(rng, columns)
    scalar = K.gated_norm("scalar", x, weight, gate, 1e-6)
    wide, z = x.astype(np.float64), gate.astype(np.float64)
    expected = wide / np.sqrt((wide**2).mean(-1, keepdims=True) + 1e-6) * weight * z * sigmoid(z)
    np.testing.assert_allclose(scalar, expected, rtol=2e-6, atol=1e-30)
    for tier in TIERS:
        same(tier, K.gated_norm(tier, x, weight, gate, 1e-6), scalar)


@pytest.mark.parametrize("columns", [32, 128])
def test_unit(columns, seed):
    x = outliers(np.random.default_rng(seed), 4, columns)
    x[1] = 0
    x[2] *= 1e-5
    scalar = K.unit("scalar", x, 0.5)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(scalar, 0.5 * wide / np.sqrt((wide**2).sum(-1, keepdims=True) + 1e-6), rtol=1e-6)
    for tier in TIERS:
        same(tier, K.unit(tier, x, 0.5), scalar)


@pytest.mark.parametrize("tokens", [1, 3, 9])
def test_conv_silu(tokens, seed):
    rng = np.random.default_rng(seed)
    inputs, taps = outliers(rng, tokens + 3, 96), outliers(rng, 4, 96)
    scalar = K.conv_silu("scalar", inputs, taps)
    wide = sum(inputs[tap : tap + tokens].astype(np.float64) * taps[tap] for tap in range(4))
    np.testing.assert_allclose(scalar, wide * sigmoid(wide), rtol=1e-4, atol=1e-5)
    for tier in TIERS:
        same(tier, K.conv_silu(tier, inputs, taps), scalar)


@pytest.mark.parametrize("heads", [1, 15, 16, 17, 48])
def test_delta_gates(heads, seed):
    rng = np.random.default_rng(seed)
    rate, bias = -np.exp(rng.uniform(-4, 3, heads)).astype(np.float32), outliers(rng, heads)
    decay, write = outliers(rng, heads) * 3, outliers(rng, heads)
    scalar = K.delta_gates("scalar", rate, bias, decay, write)
    wide = rate.astype(np.float64) * np.logaddexp(0, (decay + bias).astype(np.float64))
    np.testing.assert_allclose(scalar[0], np.exp(np.maximum(wide, -87.3)), rtol=3e-5)
    np.testing.assert_allclose(scalar[1], sigmoid(write.astype(np.float64)), rtol=1e-6, atol=1e-30)
    for tier in TIERS:
        same(tier, K.delta_gates(tier, rate, bias, decay, write), scalar)


def head(rng: np.random.Generator, tokens: int, keys: int, columns: int) -> dict[str, np.ndarray]:
    """What a head's tokens ask: keys and queries of length 1, decays near 1."""
    q, k = rng.standard_normal((2, tokens, keys))
    return {
        "q": (q / np.linalg.norm(q, axis=-1, keepdims=True) / keys**0.5).astype(np.float32),
        "k": (k / np.linalg.norm(k, axis=-1, keepdims=True)).astype(np.float32),
        "v": outliers(rng, tokens, columns),
        "decay": np.exp(-(10 ** rng.uniform(-4, 0.5, tokens))).astype(np.float32),
        "write": sigmoid(rng.standard_normal(tokens)).astype(np.float32),
    }


def delta_rule(state: np.ndarray, asked: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """In float64. state: [keys, columns]"""
    outputs = []
    for q, k, v, decay, write in zip(*(asked[name].astype(np.float64) for name in asked), strict=True):
        state = decay * state
        state = state + np.outer(k, write * (v - state.T @ k))
        outputs.append(state.T @ q)
    return np.stack(outputs), state


def as_stored(state: np.ndarray) -> np.ndarray:
    """[keys, columns] -> [columns / 16, keys, 16]"""
    return np.ascontiguousarray(state.reshape(len(state), -1, 16).swapaxes(0, 1))


@pytest.mark.parametrize(("keys", "columns"), [(32, 32), (128, 128), (64, 96), (256, 32)])
@pytest.mark.parametrize("tokens", [1, 2, 5, 64])
def test_delta_rule(keys, columns, tokens, seed):
    rng = np.random.default_rng(seed)
    asked, state = head(rng, tokens, keys, columns), rng.standard_normal((keys, columns)).astype(np.float32)
    stored = as_stored(state)
    outputs, after = K.delta_rule("scalar", stored, **asked)
    expected, wide = delta_rule(state.astype(np.float64), asked)
    largest = max(np.abs(asked["v"]).max(), np.abs(state).max())
    np.testing.assert_allclose(outputs, expected, atol=1e-5 * largest)
    np.testing.assert_allclose(after, as_stored(wide), atol=1e-5 * largest)
    for tier in TIERS:
        ours = K.delta_rule(tier, stored, **asked)
        assert (ours[0] == outputs).all() and (ours[1] == after).all(), tier
    # Token after token, and any columns alone.
    some = rng.integers(0, columns // 32) * 32
    for tier in ("scalar", *TIERS):
        part, found = stored[some // 16 : some // 16 + 2], []
        for t in range(tokens):
            one = {name: values[t : t + 1] for name, values in asked.items()}
            out, part = K.delta_rule(tier, part, **{**one, "v": one["v"][:, some : some + 32]})
            found.append(out[0])
        assert (np.stack(found) == outputs[:, some : some + 32]).all(), tier
        assert (part == after[some // 16 : some // 16 + 2]).all(), tier


@pytest.mark.parametrize("rotated", [2, 14, 16, 32, 40, 64, 96])
def test_partial_rope(rotated, seed):
    """Of heads of 96 values; what is not rotated stays as it is."""
    rng = np.random.default_rng(seed)
    qkv = outliers(rng, 20, 4 + 2 * 2, 96)
    frequencies = (1e4 ** -np.linspace(0, 1, rotated // 2, endpoint=False)).astype(np.float32)
    norm = outliers(rng, 2, 96)
    scalar = K.attention("scalar", "f32", qkv, 4, 2, frequencies, norm[0], norm[1])
    expected = reference_attention(qkv, 4, 2, frequencies, norm[0], norm[1], None, 1e-6)
    assert np.abs(scalar - expected).max() <= 1e-5 * np.abs(expected).max()
    for tier in TIERS:
        same(tier, K.attention(tier, "f32", qkv, 4, 2, frequencies, norm[0], norm[1]), scalar)
