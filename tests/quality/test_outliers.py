"""Outliers put into the tiny models (tests/outliers.py) change neither the float model nor what quantization costs."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from qwen3edge.evaluate.divergence import kl_divergence
from tests.outliers import EXACT, EXPONENTS, ROTATED, Checkpoint, mean_direction
from tests.quality.outlier_study import PLAIN, Outliers

MODELS = {
    "tiny-qwen3": "tiny_model_path",
    "tiny-qwen3-moe": "tiny_moe_path",
    "tiny-qwen2": "tiny_qwen2_path",
    "tiny-qwen3-5": "tiny_hybrid_path",
}
CACHE_RATIO = 1.5  # of the mean divergence with outliers to that without
# A rotation rounds all weights anew. A mixture's tokens may change experts where two are as likely; then far more.
ROTATED_KL, ROTATED_LOGITS = 1e-8, 2e-3
ROTATED_RATIO = {"int8": 3.5, "int4": 1.5}  # untied, so that int8 has 6 bits for the embedding alone


@pytest.fixture(scope="module", params=MODELS)
def study(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outliers]:
    source: Path = request.getfixturevalue(MODELS[request.param])
    seed = int(os.environ.get("QWEN3EDGE_SEED") or secrets.randbits(32))
    print(f"QWEN3EDGE_SEED={seed}")
    yield Outliers(source, tmp_path_factory.mktemp(request.param), seed)


# ---- the float model ----


@pytest.mark.parametrize("kind", EXACT)
def test_scaling_by_powers_of_two_changes_no_bit(study: Outliers, kind: str) -> None:
    for plain, scaled in zip(study.logits(PLAIN), study.logits(kind), strict=True):
        np.testing.assert_array_equal(scaled, plain)


@pytest.mark.parametrize("kind", EXACT)
def test_scaled_weights_are_exact_in_bf16(study: Outliers, kind: str) -> None:
    """Every stored weight is the plain one times a power of two, and each exponent was used both ways. What is stored
    as a difference from 1 may need float32.
    """
    plain, scaled = Checkpoint.read(study.source), Checkpoint.read(study.checkpoint(kind))
    seen: set[float] = set()
    for name in plain.weights:
        offset = plain.offset(name)
        assert scaled.weights[name].dtype == torch.bfloat16 or offset
        before, after = (each.weights[name].double() + offset for each in (plain, scaled))
        there = before != 0
        assert bool((after[~there] == 0).all())
        seen |= set((after[there] / before[there]).log2().unique().tolist())
    assert seen == {0, *EXPONENTS, *(-e for e in EXPONENTS)}


def test_the_rotated_model_is_the_same_but_for_rounding(study: Outliers) -> None:
    for plain, rotated in zip(study.logits(PLAIN), study.logits(ROTATED), strict=True):
        kl = kl_divergence(plain, rotated)
        assert np.median(kl) <= ROTATED_KL and np.median(np.abs(plain - rotated).max(-1)) <= ROTATED_LOGITS
        assert (kl <= ROTATED_KL).all() or "moe" in str(study.source)


def test_transformers_reads_the_rotated_model_alike(study: Outliers) -> None:
    tokens = torch.tensor(study.chats[0])[None]
    logits = []
    for kind in (PLAIN, ROTATED):
        model = AutoModelForCausalLM.from_pretrained(study.checkpoint(kind), dtype=torch.float32).eval()
        with torch.inference_mode():
            logits.append(model(tokens).logits[0].numpy())
    assert np.median(kl_divergence(*logits)) <= ROTATED_KL


def test_the_mean_of_the_rotated_stream_lies_on_one_axis(study: Outliers) -> None:
    mean = mean_direction(study.checkpoint(ROTATED), np.concatenate(study.chats)).abs()
    assert mean.max() >= 0.99 * mean.norm()


# ---- what quantization costs ----


@pytest.mark.parametrize("recipe", ["f32", "int8", "int4"])
def test_outliers_in_the_keys_cost_an_int8_cache_nothing(study: Outliers, recipe: str) -> None:
    plain, outliers = (study.divergence(kind, recipe, "int8") for kind in (PLAIN, "keys"))
    print(f"{plain:.2e} -> {outliers:.2e}")
    assert outliers <= CACHE_RATIO * plain


@pytest.mark.parametrize("kind", ["norms", "feed-forward", ROTATED])
@pytest.mark.parametrize("kv", ["int8", "int4"])
def test_outliers_elsewhere_cost_a_cache_nothing(study: Outliers, kind: str, kv: str) -> None:
    """Keys and values are the same numbers, so that even the rounded ones are."""
    plain, outliers = (study.divergence(k, kv=kv) for k in (PLAIN, kind))
    assert outliers == plain if kind in EXACT else outliers <= CACHE_RATIO * plain


@pytest.mark.parametrize("recipe", ["int8", "int4"])
def test_an_axis_of_the_stream_costs_little(study: Outliers, recipe: str) -> None:
    plain, outliers = (study.divergence(kind, recipe) for kind in (PLAIN, ROTATED))
    print(f"{plain:.2e} -> {outliers:.2e}")
    assert outliers <= ROTATED_RATIO[recipe] * plain


@pytest.mark.parametrize("recipe", ["int8", "int4"])
def test_outliers_in_the_keys_cost_weights_nothing(study: Outliers, recipe: str) -> None:
    plain, outliers = (study.divergence(kind, recipe) for kind in (PLAIN, "keys"))
    print(f"{plain:.2e} -> {outliers:.2e}")
    assert outliers <= CACHE_RATIO * plain
