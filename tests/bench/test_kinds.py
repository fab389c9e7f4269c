"""What each kind of matrix costs alone, and recipes beside each other, of a few items of the tiny hybrid."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.quality import kinds
from bench.quality.candidates import CANDIDATES
from bench.shapes import HYBRIDS
from qwen3edge import _core
from qwen3edge.convert import RECIPES
from qwen3edge.convert.names import model_tensors

FLOAT = ("ssm_alpha", "ssm_beta")  # in every recipe
DELTA_NET, ATTENTION = ("attn_qkv", "attn_gate", *FLOAT, "ssm_out"), ("attn_q", "attn_k", "attn_v", "attn_output")
KINDS = ("token_embd", *DELTA_NET, "ffn_gate", "ffn_up", "ffn_down", *ATTENTION, "output")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> kinds.Study:
    work = tmp_path_factory.mktemp("kinds")
    return kinds.Study(kinds.untied(kinds.MODEL, work), kinds.TEXT, work, threads=1, every=150)


def test_every_kind_has_its_share_and_its_cost(study: kinds.Study) -> None:
    rows = {str(row["alone"]): row for row in kinds.kinds_table(study, ("q4z32", "q6z32"))}
    assert tuple(rows) == KINDS and len(kinds.kinds_of(study.config, by_layer=True)) == 3 * 8 + 7 + 2
    shares = [float(str(row["of the weights"]).split()[0]) for row in rows.values()]
    assert sum(shares) == pytest.approx(100, abs=0.05 * len(shares))
    costs = {kind: [float(str(row[name])) for name in ("q4z32", "q6z32")] for kind, row in rows.items()}
    assert all(coarse > fine > 0 for kind, (coarse, fine) in costs.items() if kind not in FLOAT)
    assert all(coarse > 0 for coarse, _ in costs.values())
    assert all((float(str(row["gain"])) > 0) == (costs[kind][0] > costs[kind][1]) for kind, row in rows.items())


def test_recipes_beside_each_other(study: kinds.Study) -> None:
    """Bits are those of the file."""
    recipes = [RECIPES["int4"], CANDIDATES[0], RECIPES["int8"]]
    rows = list(kinds.recipes_table(study, recipes, None, kinds.SHAPES))
    assert [row["recipe"] for row in rows] == [recipe.name for recipe in recipes]
    found = [float(str(row["KL"])) for row in rows]
    assert found[0] > found[2] > 0 and found[1] > found[2]
    for recipe, row in zip(recipes, rows, strict=True):
        tensors = [t for t in _core.ModelFile(str(study.ours(recipe))).tensors() if t["format"] != "vector"]
        bits = 8 * sum(t["nbytes"] for t in tensors) / sum(t["rows"] * t["columns"] for t in tensors)
        assert row["bits"] == f"{bits:.2f}" and 4 < float(str(row["0.8B"])) < 9


@pytest.mark.parametrize("recipe", CANDIDATES, ids=lambda r: r.name)
def test_a_candidate_is_no_shipped_recipe(recipe: kinds.Recipe) -> None:
    """Of each shape that sizes are said of."""
    base = RECIPES[recipe.name.partition(":")[0]]
    for shape in kinds.SHAPES:
        config = HYBRIDS[shape]
        tensors = model_tensors(config)
        assert any(recipe.format_of(t, config.layers) != base.format_of(t, config.layers) for t in tensors)


def test_right_answers_are_counted(study: kinds.Study, tmp_path: Path) -> None:
    items = tmp_path / "items.jsonl"
    lines = kinds.TEXT.read_text(encoding="utf-8").splitlines()
    items.write_text("\n".join(line for line in lines if '"count"' in line), encoding="utf-8")
    assert kinds.answers(study, study.exact, items) > 0.5
