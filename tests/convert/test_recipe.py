"""Recipes: what they choose, that they survive JSON, and what they refuse."""

import json
from dataclasses import replace

import pytest

from qwen3edge.config import ModelConfig
from qwen3edge.convert.names import ModelTensor, model_tensors
from qwen3edge.convert.recipe import BLOCK_FORMATS, RECIPES, Recipe, Rule, find_recipe
from qwen3edge.errors import RequestError
from scripts.make_random import SHAPES


def matrix(name: str, columns: int) -> ModelTensor:
    return ModelTensor(name, "", 32, columns, False)


def test_int4_spends_bits_where_they_matter():
    """A model of 28 layers: the first eighth is 0 to 3, the last 25 to 27."""
    recipe = find_recipe("int4")

    def chosen(name: str) -> str:
        return recipe.format_of(matrix(f"{name}.weight", 1024), 28)

    assert chosen("token_embd") == chosen("output") == "q6z32"
    for kind in ("attn_k", "attn_output"):
        assert [chosen(f"blk.{n}.{kind}") for n in (0, 3)] == ["q6z32"] * 2
    assert {chosen(f"blk.{n}.attn_v") for n in range(28)} == {"q6z32"}
    assert [chosen(f"blk.{n}.attn_q") for n in (0, 3, 4, 27)] == ["q4z32", "q4z32", "q4z64", "q4z64"]
    for kind in ("attn_k", "attn_output"):
        assert [chosen(f"blk.{n}.{kind}") for n in (4, 27)] == ["q4z64"] * 2
    for n in (0, 14, 27):
        assert chosen(f"blk.{n}.ffn_gate") == chosen(f"blk.{n}.ffn_up") == "q4z64"
        assert chosen(f"blk.{n}.ffn_gate_up_exps") == "q4z64"
        assert chosen(f"blk.{n}.ffn_down") == chosen(f"blk.{n}.ffn_down_exps") == "q4z32"
    assert recipe.format_of(ModelTensor("output_norm.weight", "", 1, 1024, True), 28) == "vector"


@pytest.mark.parametrize(
    ("name", "most", "first_down", "head", "embedding"),
    [("int8", "q8", "q8g32", "q8g32", "q6z32"), ("int6", "q6z32", "q6z32", "q8", "q6z32")],
)
def test_small_blocks_where_outliers_are(name, most, first_down, head, embedding):
    recipe = find_recipe(name)

    def chosen(tensor):
        return recipe.format_of(matrix(f"{tensor}.weight", 1024), 28)

    assert (chosen("output"), chosen("token_embd")) == (head, embedding)
    assert chosen("blk.0.attn_v") == chosen("blk.27.attn_v") == "q8g32"
    for kind in ("ffn_down", "ffn_down_exps"):
        assert [chosen(f"blk.{n}.{kind}") for n in (0, 3, 4, 27)] == [first_down, first_down, most, most]
    others = ("blk.0.attn_q", "blk.0.attn_k", "blk.0.attn_output", "blk.0.ffn_gate")
    assert {chosen(other) for other in others} == {most}


@pytest.mark.parametrize(
    ("name", "first", "rest"),
    [
        ("int4", ["q6z32", "q6z32", "q6z32"], "q4z32"),
        ("int6", ["q6z32", "q6z32", "q8g32"], "q6z32"),
        ("int8", ["q8", "q8", "q8g32"], "q8"),
    ],
)
def test_delta_nets_of_the_first_layers(name, first, rest):
    """Qwen3.5-0.8B: the first eighth has no attention."""
    config = ModelConfig.from_hf(SHAPES["3.5-0.8B"])
    tensors = {tensor.name: tensor for tensor in model_tensors(config)}
    for layer in (n for n in range(24) if (n + 1) % 4):
        kinds = [tensors[f"blk.{layer}.{kind}.weight"] for kind in ("attn_qkv", "attn_gate", "ssm_out")]
        found = [find_recipe(name).format_of(tensor, config.layers) for tensor in kinds]
        assert found == (first if layer < 3 else [rest] * 3), layer
    always = [tensors[f"blk.0.{kind}.weight"] for kind in ("ssm_alpha", "ssm_beta")]
    assert {find_recipe(name).format_of(tensor, config.layers) for tensor in always} == {"f32"}


@pytest.mark.parametrize(("recipe", "expected"), [("int4", "q6z32"), ("int6", "q8"), ("int8", "q8g32"), ("q8", "q8")])
def test_a_tied_embedding_is_the_head(recipe, expected):
    tied = replace(matrix("token_embd.weight", 1024), is_head_too=True)
    assert find_recipe(recipe).format_of(tied, 28) == expected
    by_hand = Recipe("mine", (Rule("token_embd.weight", "f32"), Rule("output.weight", "q8"), Rule("*", "q4g32")))
    assert by_hand.format_of(tied, 28) == "f32"


def test_models_say_whether_their_embedding_is_the_head(tiny_model_path):
    config = ModelConfig.from_hf(json.loads((tiny_model_path / "config.json").read_text()))
    for tied, expected in ((True, ["token_embd.weight"]), (False, [])):
        tensors = model_tensors(replace(config, tied_embeddings=tied))
        assert [t.name for t in tensors if t.is_head_too] == expected


@pytest.mark.parametrize(("layers", "first", "last"), [(1, [0], []), (4, [0], []), (8, [0], [7]), (9, [0, 1], [8])])
def test_the_first_and_the_last_eighth(layers, first, last):
    for where, expected in (("first", first), ("last", last)):
        rule = Rule("*", "q8", where)
        assert [n for n in range(layers) if rule.covers(f"blk.{n}.x", layers)] == expected
        assert not rule.covers("output.weight", layers)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [(32, "q4g32"), (64, "q4g32"), (96, "q4g32"), (128, "q4g32"), (160, "q4z32"), (256, "q4z32"), (768, "q4z32")],
)
def test_rows_that_padding_would_make_large(columns, expected):
    """By what the bytes of a panel are: q4z32 takes 6 bits a weight for rows of 64, q4g32 4.5."""
    assert find_recipe("int4").format_of(matrix("blk.1.ffn_down_exps.weight", columns), 4) == expected
    assert find_recipe("q4z32").format_of(matrix("blk.1.ffn_down_exps.weight", columns), 4) == "q4z32"


def test_every_block_format_is_a_recipe():
    for name in BLOCK_FORMATS:
        assert find_recipe(name).format_of(matrix("output.weight", 1024), 4) == name
    assert {"int4", "int6", "int8", "bf16", "f32"} <= RECIPES.keys()
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
    assert find_recipe(wanted).format_of(matrix("x", columns), 4) == got


def test_first_rule_wins_and_json_keeps_it():
    recipe = Recipe(
        "mine",
        (
            Rule("blk.*.ffn_down.weight", "q8"),
            Rule("blk.0.*", "bf16"),
            Rule("*", "q4g64", "first", "q8"),
            Rule("*", "q4g64"),
        ),
    )
    again = Recipe.from_json(recipe.to_json())
    assert again == recipe
    assert again.format_of(matrix("blk.0.ffn_down.weight", 64), 4) == "q8"
    assert again.format_of(matrix("blk.0.attn_q.weight", 64), 4) == "bf16"
    assert again.format_of(matrix("blk.1.attn_q.weight", 64), 4) == "q4g64"


def test_what_is_refused():
    for quant in ("q3", "", "vector", None, 4, []):
        with pytest.raises(RequestError, match="quant: expected one of int4"):
            find_recipe(quant)
    with pytest.raises(RequestError, match="block format"):
        Rule("*", "vector")
    with pytest.raises(RequestError, match="block format"):
        Rule("*", "q4z32", narrow="q3")
    with pytest.raises(RequestError, match="layers of a rule"):
        Rule("*", "q4z32", "middle")
    with pytest.raises(RequestError, match="for every matrix"):
        Recipe("partial", (Rule("output.weight", "q8"),)).format_of(matrix("token_embd.weight", 32), 4)
    for text in ("", "{}", "[]", '{"name": "x", "rules": [{"pattern": "*"}]}', '{"name":"x","rules":[{"a":1}]}'):
        with pytest.raises(RequestError):
            Recipe.from_json(text)
