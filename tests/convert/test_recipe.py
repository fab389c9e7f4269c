"""Recipes: what they choose, that they survive JSON, and what they refuse."""

import pytest

from qwen3edge.convert.names import ModelTensor
from qwen3edge.convert.recipe import BLOCK_FORMATS, RECIPES, Recipe, Rule, find_recipe
from qwen3edge.errors import RequestError


def matrix(name: str, columns: int) -> ModelTensor:
    return ModelTensor(name, "", 32, columns, False)


def test_int4_keeps_embedding_and_head_in_6_bits():
    recipe = find_recipe("int4")
    assert recipe.format_of(matrix("token_embd.weight", 1024)) == "q6z32"
    assert recipe.format_of(matrix("output.weight", 1024)) == "q6z32"
    assert recipe.format_of(matrix("blk.3.ffn_down.weight", 1024)).startswith("q4")
    assert recipe.format_of(ModelTensor("output_norm.weight", "", 1, 1024, True)) == "vector"


def test_every_block_format_is_a_recipe():
    for name in BLOCK_FORMATS:
        assert find_recipe(name).format_of(matrix("output.weight", 1024)) == name
    assert {"int4", "int8", "bf16", "f32"} <= RECIPES.keys()
    assert "vector" not in RECIPES


@pytest.mark.parametrize(
    ("wanted", "columns", "got"),
    [
        ("q4g128", 96, "q4g32"),
        ("q4g128", 192, "q4g64"),
        ("q4g128", 896, "q4g128"),
        ("q4z64", 96, "q4z32"),
        ("q4a64", 32, "q4a32"),
        ("q6z32", 96, "q6z32"),
        ("q8", 32, "q8"),
        ("f32", 32, "f32"),
    ],
)
def test_groups_that_do_not_divide_a_row(wanted, columns, got):
    assert find_recipe(wanted).format_of(matrix("x", columns)) == got


def test_first_rule_wins_and_json_keeps_it():
    recipe = Recipe("mine", (Rule("blk.*.ffn_down.weight", "q8"), Rule("blk.0.*", "bf16"), Rule("*", "q4g64")))
    again = Recipe.from_json(recipe.to_json())
    assert again == recipe
    assert again.format_of(matrix("blk.0.ffn_down.weight", 64)) == "q8"
    assert again.format_of(matrix("blk.0.attn_q.weight", 64)) == "bf16"
    assert again.format_of(matrix("blk.1.attn_q.weight", 64)) == "q4g64"


def test_what_is_refused():
    for quant in ("q3", "", "vector", None, 4, []):
        with pytest.raises(RequestError, match="quant: expected one of int4"):
            find_recipe(quant)
    with pytest.raises(RequestError, match="block format"):
        Rule("*", "vector")
    with pytest.raises(RequestError, match="for every matrix"):
        Recipe("partial", (Rule("output.weight", "q8"),)).format_of(matrix("token_embd.weight", 32))
    for text in ("", "{}", "[]", '{"name": "x", "rules": [{"pattern": "*"}]}', '{"name":"x","rules":[{"a":1}]}'):
        with pytest.raises(RequestError):
            Recipe.from_json(text)
