"""Quantized logits against transformers on the dequantized weights with the engine's rounding of activations.

`tests/reference/rounded_model.py` explains why the reference shares the engine's decisions of ties.
"""

from __future__ import annotations

import copy
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from qwen3edge import _core
from qwen3edge.evaluate.divergence import kl_divergence
from tests.checkpoints import SHAPES, Shape, make_model, run, save, to_q3e
from tests.quality.engine_trace import trace
from tests.reference import rounded_model as rr
from tests.reference.chats import Texts, read_records

QUANTS = ["int4", "int8", "q4z32", "q4z64", "q6z32", "q4g32", "q4a32", "q8", "q8g32"]

WITH_HOOKS = 1e-9  # mean KL divergence in nats; 2e-13 is usual
WITHOUT_HOOKS = 5e-3
WRONG_BLOCK = 1e-4  # at least
OVER_TWIN = 1.5
MOST_TIES = 1e-3  # share of activations that the engine rounds to the other side of a tie
TINY_TOKENS = 400


@dataclass(frozen=True)
class Case:
    """A converted model with what both programs say about some tokens."""

    model: PreTrainedModel  # on dequantized weights
    blocks: dict[str, int]
    tokens: NDArray[np.int64]
    logits: NDArray[np.float32]  # of the engine, [tokens, vocabulary]
    decisions: dict[str, torch.Tensor]  # by layer, int8 [tokens, K]

    def kl(self, blocks: Mapping[str, int] | None, decided: bool = True) -> tuple[float, rr.Rounding]:
        """Mean KL divergence of the engine from the reference with these blocks (None: no rounding)."""
        if blocks is None:
            counts, expected = rr.Rounding(), rr.reference_logits(self.model, self.tokens)
        else:
            with rr.rounded_activations(self.model, blocks, self.decisions if decided else None) as counts:
                expected = rr.reference_logits(self.model, self.tokens)
        return float(kl_divergence(expected, self.logits).mean()), counts


def make_case(folder: Path, path: Path, tokens: NDArray[np.int64]) -> Case:
    file = _core.ModelFile(str(path))
    logits = run(_core.Engine(file, context=512, threads=1, kv="f32"), tokens)
    traced = trace(file, tokens)
    assert (traced.logits == logits).all(), "the kernels in this order are no longer the engine"
    blocks = rr.linear_blocks(file)
    isa = _core.selected_isa()
    decisions = {
        layer: torch.from_numpy(_core.kernels.quantize_activations(isa, traced.inputs[name], blocks[layer])[0])
        for layer, name in rr.linear_names(file).items()
    }
    return Case(rr.load_dequantized(folder, file), blocks, tokens, logits, decisions)


@pytest.fixture(scope="module", params=SHAPES, ids=lambda shape: shape.name)
def shape(request: pytest.FixtureRequest) -> Shape:
    return request.param


@pytest.fixture(scope="module")
def random_folder(shape: Shape, tmp_path_factory: pytest.TempPathFactory) -> Path:
    seed = int(os.environ.get("QWEN3EDGE_SEED") or secrets.randbits(32))
    print(f"QWEN3EDGE_SEED={seed}")
    return save(make_model(shape, seed), tmp_path_factory.mktemp("rounded"))


@pytest.fixture(scope="module", params=QUANTS)
def tiny(request: pytest.FixtureRequest, tiny_model_path: Path, tiny_q3e: Callable[[str], Path]) -> Case:
    """On chats of all tasks, one after the other as one prompt of TINY_TOKENS."""
    path = tiny_q3e(request.param)
    texts = Texts(_core.ModelFile(str(path)))
    records = [r for r in read_records(tiny_model_path / "heldout.jsonl") if not r["enable_thinking"]]
    tokens = [token for record in records[::21] for token in texts.expected(record).tokens]
    return make_case(tiny_model_path, path, np.array(tokens[:TINY_TOKENS]))


def check(case: Case) -> None:
    kl, counts = case.kl(case.blocks)
    print(f"KL {kl:.2e}, {counts}")
    assert counts.refused == 0, "the engine rounded a value that is not near a tie to the other side"
    assert counts.followed <= MOST_TIES * counts.values
    assert kl <= WITH_HOOKS


@pytest.mark.parametrize("quant", QUANTS)
def test_random_shapes(quant: str, shape: Shape, random_folder: Path, seed: int) -> None:
    tokens = np.random.default_rng(seed).integers(0, shape.vocab, 100)
    check(make_case(random_folder, to_q3e(random_folder, quant), tokens))


def test_tiny(tiny: Case) -> None:
    check(tiny)


def test_tiny_without_hooks(tiny: Case) -> None:
    kl, _ = tiny.kl(None)
    print(f"KL {kl:.2e}")
    assert kl <= WITHOUT_HOOKS


def test_tiny_with_own_ties(tiny: Case) -> None:
    """Nothing shared: the engine is as near to the reference as the reference's float64 twin is."""
    kl, _ = tiny.kl(tiny.blocks, decided=False)
    with rr.rounded_activations(tiny.model, tiny.blocks):
        single = rr.reference_logits(tiny.model, tiny.tokens)
    twin = copy.deepcopy(tiny.model).double()
    with rr.rounded_activations(twin, tiny.blocks):
        double = rr.reference_logits(twin, tiny.tokens)
    floor = float(kl_divergence(single, double).mean())
    print(f"KL {kl:.2e}, of the twin {floor:.2e}")
    assert kl <= OVER_TWIN * floor


def test_a_wrong_block_is_seen(tiny: Case) -> None:
    wrong = {layer: 64 if block != 64 else 256 for layer, block in tiny.blocks.items()}
    kl, counts = tiny.kl(wrong)
    print(f"KL {kl:.2e}, {counts}")
    assert counts.refused > 0
    assert kl >= WRONG_BLOCK
    assert tiny.kl(wrong, decided=False)[0] >= WRONG_BLOCK


def test_kl_divergence() -> None:
    """Against a distribution worked out by hand: p = (1/2, 1/2), q = (1/4, 3/4)."""
    p, q = np.log([[0.5, 0.5]]).astype(np.float32), np.log([[0.25, 0.75]]).astype(np.float32) + 3
    assert kl_divergence(p, q) == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(2 / 3), abs=1e-6)
    assert kl_divergence(p, p + 5) == pytest.approx(0, abs=1e-12)


def test_round_to_blocks() -> None:
    """Blocks of their own, a short last one, ties to even, zeros."""
    x = torch.tensor([[127.0, 0.5, 1.5, -2.5, 254.0, 1.0, 3.0, -254.0, 0.0, 0.0]])
    expected = [127.0, 0.0, 2.0, -2.0, 254.0, 0.0, 4.0, -254.0, 0.0, 0.0]
    assert rr.round_to_blocks(x, 4).tolist() == [expected]
    assert rr.round_to_blocks(x, 0) is x
