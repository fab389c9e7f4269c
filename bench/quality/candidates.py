"""Recipes that might be better than the shipped ones: those with other rules in front."""

from __future__ import annotations

from qwen3edge.convert import RECIPES, Recipe, Rule


def _with(base: str, what: str, *rules: Rule) -> Recipe:
    return Recipe(f"{base}: {what}", (*rules, *RECIPES[base].rules))


def _kinds(block_format: str, *kinds: str, layers: str = "") -> tuple[Rule, ...]:
    return tuple(Rule(f"*.{kind}.weight", block_format, layers) for kind in kinds)


_DELTA = ("attn_qkv", "attn_gate", "ssm_out")

CANDIDATES = (
    _with("int4", "out q6z32", *_kinds("q6z32", "ssm_out")),
    _with("int4", "qkv q6z32", *_kinds("q6z32", "attn_qkv")),
    _with("int4", "z q6z32", *_kinds("q6z32", "attn_gate")),
    _with("int4", "first delta nets q6z32", *_kinds("q6z32", *_DELTA, layers="first")),
    _with("int4", "delta nets q6z32", *_kinds("q6z32", *_DELTA)),
    _with("int4", "qkv, z q4z64", *_kinds("q4z64", "attn_qkv", "attn_gate")),
    _with("int4", "qkv, z q4z64, out q6z32", *_kinds("q4z64", "attn_qkv", "attn_gate"), *_kinds("q6z32", "ssm_out")),
    _with("int4", "attention's output q6z32", *_kinds("q6z32", "attn_output")),
    _with("int4", "attention q4z32", *_kinds("q4z32", "attn_q", "attn_k", "attn_output")),
    _with("int4", "ffn q4z32", *_kinds("q4z32", "ffn_gate", "ffn_up")),
    _with("int8", "out q8g32", *_kinds("q8g32", "ssm_out")),
    _with("int8", "qkv q8g32", *_kinds("q8g32", "attn_qkv")),
    _with("int8", "z q8g32", *_kinds("q8g32", "attn_gate")),
    _with("int8", "delta nets q8g32", *_kinds("q8g32", *_DELTA)),
    _with("int8", "down q8g32", *_kinds("q8g32", "ffn_down")),
    _with("int8", "attention's output q8g32", *_kinds("q8g32", "attn_output")),
)
