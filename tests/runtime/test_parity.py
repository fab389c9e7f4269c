"""Logits against transformers in float32."""

import numpy as np
import pytest
import torch

from qwen3edge import _core
from tests.checkpoints import MOE_SHAPES, SHAPES, Shape, make_model, run, save, to_q3e

TOLERANCE = 1e-4  # of the logits' rms


WIDE_GROUP = Shape("gqa32", heads=32, kv_heads=1, head_dim=32, layers=2)


def before_ties(router_logits: tuple[torch.Tensor, ...], top: int) -> int:
    """Tokens before the first whose last expert leads the next by so little that another order of sums takes that."""
    gaps = [-np.diff(np.sort(layer.numpy())[:, ::-1][:, top - 1 : top + 1])[:, 0] for layer in router_logits]
    near = np.flatnonzero(np.min(gaps, 0) < 3e-5)
    return int(near[0]) if len(near) else len(gaps[0])


@pytest.mark.parametrize("shape", [*SHAPES, WIDE_GROUP, *MOE_SHAPES], ids=lambda s: s.name)
def test_f32_logits(shape, tmp_path, seed):
    model = make_model(shape, seed)
    engine = _core.Engine(_core.ModelFile(str(to_q3e(save(model, tmp_path), "f32"))), context=300, threads=2, kv="f32")
    rng, compared = np.random.default_rng(seed), 0
    for count in (1, 2, 63, 64, 65, int(rng.integers(66, 300)), 300):
        tokens = rng.integers(0, shape.vocab, count)
        with torch.no_grad():
            out = model(torch.from_numpy(tokens)[None], **({"output_router_logits": True} if shape.experts else {}))
        expected = out.logits[0].numpy()
        end = before_ties(out.router_logits, shape.top) if shape.experts else count
        compared += end
        difference = np.abs(run(engine, tokens) - expected)[:end].max(initial=0)
        assert difference <= TOLERANCE * np.sqrt((expected**2).mean()), count
    assert compared > 100
