"""`qwen3edge bench --sequences`: answers together beside the bare core."""

import json

import pytest

from tests.cli.command import one_line, run, started
from tests.cli.terminal import Terminal

SMALL = ["--prompt", 130, "--generate", 6, "--repeat", 1, "--threads", 1]


def test_many_sequences(tiny_q3e):
    result = json.loads(started("bench", tiny_q3e("int4"), *SMALL, "--sequences", 3, "--json").stdout)
    rates = result["decode_tokens_per_second"], result["core_decode_tokens_per_second"]
    assert result["core_share"] == pytest.approx(rates[0] / rates[1])
    assert result["first_token_seconds"] > 0 and result["others_first_token_seconds"] > 0
    assert (result["sequences"], result["temperature"], result["shared_prefix"]) == (3, 0, 0)
    assert result["prompt_tokens"] == result["computed_prompt_tokens"] == 3 * 130
    assert 1 << 20 < result["peak_memory_bytes"] < 1 << 30


def test_a_shared_prefix_is_computed_once(tiny_q3e):
    """In pages of 64 tokens, by whoever comes first."""
    flags = ["--sequences", 4, "--shared-prefix", 128, "--temperature", 0.8, "--top-k", 5]
    result = json.loads(run("bench", tiny_q3e("int4"), *SMALL, *flags, "--json").stdout)
    assert (result["prompt_tokens"], result["computed_prompt_tokens"]) == (4 * 130, 130 + 3 * 2)
    assert (result["temperature"], result["top_k"]) == (0.8, 5)
    shown = run("bench", tiny_q3e("int4"), *SMALL, *flags).stdout
    assert "4 answers of 6 tokens together" in shown and "of the bare core with 4 rows a step" in shown
    assert "136 tokens computed of 520 given, 128 of 130 in common" in shown


def test_drafts(tiny_q3e):
    flags = [*SMALL[:2], "--generate", 40, "--repeat", 2, "--draft", tiny_q3e("int4")]
    result = json.loads(run("bench", tiny_q3e("int8"), *flags, "--json").stdout)
    assert result["drafting_tokens_per_second"] > 0
    assert 0 < result["accepted_draft_tokens"] <= result["draft_tokens"]
    assert "draft tokens kept)" in run("bench", tiny_q3e("int8"), *flags).stdout
    assert "drafts" not in run("bench", tiny_q3e("int8"), *SMALL).stdout


def test_refusals(tiny_q3e):
    path = tiny_q3e("int4")
    for flag, value in (("--shared-prefix", 3), ("--temperature", 1), ("--top-k", 3)):
        assert "--sequences of at least 2" in one_line(run("bench", path, flag, value), 2)
    two = ["bench", path, "--sequences", 2]
    assert "--shared-prefix from 0 to 15" in one_line(run(*two, "--prompt", 16, "--shared-prefix", 16), 2)
    assert "--generate of at least 2" in one_line(run(*two, "--generate", 1), 2)
    assert "fit a context of 64" in one_line(run(*two, "--prompt", 60, "--generate", 5, "--context", 64), 2)
    assert "from 1 to 1024, found 0" in one_line(run("bench", path, "--sequences", 0), 2)
    assert "expected temperature" in one_line(run(*two, "--temperature", -1), 2)


def test_life_on_a_terminal(tiny_q3e):
    terminal = Terminal("bench", tiny_q3e("int4"), *SMALL, "--sequences", 2)
    terminal.wait_for("2 answers together: 1 of 1")
    terminal.wait_for("tok/s")
    assert terminal.status() == 0
