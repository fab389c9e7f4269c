"""Perplexity against transformers, divergence of a model from itself, resuming."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import qwen3edge
from qwen3edge.errors import RequestError
from qwen3edge.evaluate.divergence import kl_divergence
from qwen3edge.evaluate.measure import measure
from qwen3edge.evaluate.scores import Scores
from qwen3edge.evaluate.texts import read_documents, windows

PERPLEXITY_WITHIN = 1e-3


@pytest.fixture(scope="module")
def parts(tiny_q3e, tiny_model_path):
    with qwen3edge.load(tiny_q3e("f32"), context=64, threads=1) as model:
        documents = read_documents(tiny_model_path / "heldout.jsonl", model.prompt_builder)
    return list(windows([*documents[:8], sum(documents[8:20], ())], 150, 70))


def load(path, kv="int8"):
    return qwen3edge.load(path, context=150, threads=1, kv=kv)


def test_perplexity_is_that_of_transformers(parts, tiny_q3e, tiny_model_path):
    with load(tiny_q3e("f32"), "f32") as model:
        scores = measure(model, parts)
    reference = AutoModelForCausalLM.from_pretrained(tiny_model_path, dtype=torch.float32).eval()
    losses = []
    for window in parts:
        with torch.inference_mode():
            logits = reference(torch.tensor([window.tokens]), use_cache=False).logits[0, :-1]
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(window.tokens[1:]), reduction="none")
        losses += loss[window.first - 1 :].tolist()
    assert scores.loss.size == len(losses)
    assert scores.summary()["perplexity"] == pytest.approx(np.exp(np.mean(losses)), rel=PERPLEXITY_WITHIN)
    assert scores.kl.size == 0


def test_a_model_does_not_diverge_from_itself(parts, tiny_int4):
    with load(tiny_int4) as model, load(tiny_int4) as reference:
        summary = measure(model, parts[:3], reference).summary()
    assert summary["kl"] == summary["kl_99"] == 0
    assert summary["top1"] == 1


def test_divergence_row_by_row(parts, tiny_q3e, tiny_int4):
    """Also with chunks of another size."""
    window = parts[-1]
    with load(tiny_int4) as model, load(tiny_q3e("bf16")) as reference:
        expected = kl_divergence(reference.logits(window.tokens), model.logits(window.tokens))[window.first - 1 : -1]
    with (
        qwen3edge.load(tiny_int4, context=150, threads=1, chunk=23) as model,
        qwen3edge.load(tiny_q3e("bf16"), context=150, threads=1, chunk=61) as reference,
    ):
        scores = measure(model, [window], reference)
    np.testing.assert_array_equal(scores.kl, expected.astype(np.float32))
    assert list(scores.position) == list(range(window.first, len(window.tokens)))
    assert expected.mean() > 1e-3


def test_going_on_from_what_was_saved(parts, tiny_q3e, tiny_int4, tmp_path):
    state = tmp_path / "state.npz"
    with load(tiny_int4) as model, load(tiny_q3e("int8")) as reference:
        whole = measure(model, parts[:4], reference)
        measure(model, parts[:2], reference).save(state, "one")
        seen = []
        again = measure(
            model, parts[:4], reference, begin=Scores.load(state, "one"), each=lambda _, done: seen.append(done)
        )
    assert seen == [3, 4]
    for name in ("window", "position", "loss", "kl", "agreed"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(again, name))
    with pytest.raises(RequestError, match="another"):
        Scores.load(state, "two")
    state.write_bytes(b"PK nonsense")
    with pytest.raises(RequestError, match="expected what an interrupted"):
        Scores.load(state, "one")


def test_positions_are_counted(parts, tiny_int4):
    with load(tiny_int4) as model:
        summary = measure(model, parts[:2]).summary()
    assert sum(b["tokens"] for b in summary["by_position"]) == summary["tokens"]
    with pytest.raises(RequestError):
        Scores.empty().summary()
