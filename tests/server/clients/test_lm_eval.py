"""lm-evaluation-harness: what it calls local-completions."""

import numpy as np
import pytest

from qwen3edge.generation.model import load
from tests.conftest import TINY

completions = pytest.importorskip("lm_eval.models.openai_completions")
instances = pytest.importorskip("lm_eval.api.instance")
pytestmark = pytest.mark.slow

PAIRS = [("What is 12 + 7?", " 19"), ("The city of", " Prague"), ("One, two, three, four,", " five"), ("x", " y z")]


@pytest.fixture(params=[False, True], ids=["texts", "tokens"])
def judge(request, tiny_url):
    return completions.LocalCompletionsAPI(
        base_url=f"{tiny_url}/completions", model="int4", tokenizer=str(TINY), tokenizer_backend="huggingface",
        tokenized_requests=request.param, batch_size=2, max_retries=1,
    )  # fmt: skip


def requests(kind, arguments):
    return [instances.Instance(kind, {}, each, index) for index, each in enumerate(arguments)]


def test_likelihoods(judge, tiny_int4):
    """Of ends behind their beginnings: those of the model itself."""
    found = judge.loglikelihood(requests("loglikelihood", PAIRS))
    with load(tiny_int4, context=256) as model:
        for (first, last), (likelihood, greedy) in zip(PAIRS, found, strict=True):
            start, tokens = len(model.tokenizer.encode(first)), model.tokenizer.encode(first + last)
            logits = model.logits(tokens)[start - 1 : -1, : model.tokenizer.vocabulary_size].astype(np.float64)
            logprobs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
            expected = logprobs[range(len(tokens) - start), tokens[start:]].sum()
            assert likelihood == pytest.approx(expected, abs=1e-4)
            assert greedy == (logits.argmax(-1).tolist() == tokens[start:])


def test_texts_until(judge, tiny_int4):
    settings = {"until": [","], "max_gen_toks": 8}
    found = judge.generate_until(requests("generate_until", [("One, two,", settings), ("The city of", settings)]))
    with load(tiny_int4, context=256) as model:
        for first, said in zip(("One, two,", "The city of"), found, strict=True):
            stops = [",", "<|im_end|>"]
            answer = model.generate(first, raw=True, verbatim=True, max_tokens=8, temperature=0, stop=stops)
            assert said == answer.read()
