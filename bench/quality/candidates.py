"""Recipes that might be better than the shipped ones for a hybrid, and these as they are for a Qwen3."""

from __future__ import annotations

from qwen3edge.convert import RECIPES, Recipe, Rule


def _kinds(block_format: str, *kinds: str, layers: str = "") -> tuple[Rule, ...]:
    return tuple(Rule(f"*.{kind}.weight", block_format, layers) for kind in kinds)


_DELTA = ("attn_qkv", "attn_gate", "ssm_out")
_LIKE_THE_REST = {"int4": _kinds("q4z32", *_DELTA), "int6": _kinds("q6z32", *_DELTA), "int8": _kinds("q8", *_DELTA)}


def _with(base: str, what: str, *rules: Rule) -> Recipe:
    """The rules, and delta nets like the rest."""
    return Recipe(f"{base}: {what}", (*rules, *_LIKE_THE_REST[base], *RECIPES[base].rules))


CANDIDATES = (
    _with("int4", "as for Qwen3"),
    _with("int4", "out q6z32", *_kinds("q6z32", "ssm_out")),
    _with("int4", "qkv q6z32", *_kinds("q6z32", "attn_qkv")),
    _with("int4", "out, qkv q6z32", *_kinds("q6z32", "ssm_out", "attn_qkv")),
    _with("int4", "first qkv q6z32", *_kinds("q6z32", "attn_qkv", layers="first")),
    _with("int4", "first qkv, out q6z32", *_kinds("q6z32", "attn_qkv", "ssm_out", layers="first")),
    _with(
        "int4",
        "first delta nets q6z32, down q4z64",
        *_kinds("q6z32", *_DELTA, layers="first"),
        *_kinds("q4z64", "ffn_down"),
    ),
    _with("int4", "gate, up q4z32", *_kinds("q4z32", "ffn_gate", "ffn_up")),
    _with("int4", "qkv, z q4z64", *_kinds("q4z64", "attn_qkv", "attn_gate")),
    _with(
        "int4",
        "out, z q6z32, embedding q4z32",
        Rule("token_embd.weight", "q4z32"),
        *_kinds("q6z32", "ssm_out", "attn_gate"),
    ),
    _with("int6", "as for Qwen3"),
    _with("int6", "out q8g32", *_kinds("q8g32", "ssm_out")),
    _with("int8", "as for Qwen3"),
    _with("int8", "out q8g32", *_kinds("q8g32", "ssm_out")),
    _with("int8", "first delta nets q8g32", *_kinds("q8g32", *_DELTA, layers="first")),
    _with("int8", "qkv q8g32", *_kinds("q8g32", "attn_qkv")),
    _with("int8", "out, down q8g32", *_kinds("q8g32", "ssm_out", "ffn_down")),
)
