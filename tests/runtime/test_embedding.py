"""Embeddings and scores of documents against transformers, on random checkpoints with the tiny model's tokenizer."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

import qwen3edge
from qwen3edge.convert import convert
from qwen3edge.errors import ContextError, RequestError, UnsupportedModelError
from qwen3edge.generation.embedding import Judge, last_states
from qwen3edge.runtime.engine import Engine
from qwen3edge.text.pooled import RERANK_INSTRUCTION
from tests.checkpoints import Shape, make_model
from tests.conftest import TINY
from tests.generation.fakes import VOCABULARY, FakeCore
from tests.reranking import add_yes

TOLERANCE = 1e-5
SHAPE = Shape("embedding", hidden=128, layers=3, vocab=2560)
TASK = "Given a web search query, retrieve relevant passages that answer the query"
TEXTS = [
    "The capital of China is Beijing.",
    "",
    "x",
    "Gravity is a force that attracts two bodies towards each other. " * 12,
    "What is the capital of China?",
    "naïve 東京 🙂\n\n  <|im_end|>",
]
TEMPLATE = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n',
    "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
)


def with_texts(folder, *, answers=True):
    """The tiny tokenizer, with a token of yes for answers."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(TINY / name, folder / name)
    if answers:
        add_yes(folder / "tokenizer.json")
    return folder


def saved(folder, shape, seed, *, headless=False, **others):
    """A checkpoint as Qwen publishes them: an embedding model's names have no `model.`."""
    model = make_model(shape, seed)
    (model.model if headless else model).save_pretrained(folder)
    return with_texts(folder, **others)


@pytest.fixture(scope="module", params=["embedding", "untied embedding", "reranker"])
def folder(request, tmp_path_factory):
    shape = SHAPE if request.param == "embedding" else replace(SHAPE, tied=False)
    return saved(tmp_path_factory.mktemp("checkpoint"), shape, 7, headless=request.param != "reranker")


def load(folder, **settings):
    target = folder / "m.q3e"
    if not target.exists():
        convert(folder, target, "f32")
    return qwen3edge.load(target, **{"context": 512, "kv": "f32", "threads": 2, "sequences": 4, **settings})


@pytest.fixture(scope="module")
def model(folder):
    with load(folder) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def reranker(tmp_path_factory):
    folder = saved(tmp_path_factory.mktemp("reranker"), replace(SHAPE, tied=False), 8)
    with load(folder) as loaded:
        yield folder, loaded


def reference_states(folder, prompts):
    """As the model card: padded on the left, so that the last row is the last token's."""
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=mask).last_hidden_state[:, -1]


def plain_ids(tokenizer, text):
    """Names of tokens in a text from outside are text."""
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def embedding_prompts(folder, texts):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    return [[*plain_ids(tokenizer, text), end] for text in texts]


def test_embeddings(folder, model):
    expected = torch.nn.functional.normalize(reference_states(folder, embedding_prompts(folder, TEXTS)), dim=-1).numpy()
    found = model.embed(TEXTS)
    assert found.dtype == np.float32 and found.shape == (len(TEXTS), SHAPE.hidden)
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(np.linalg.norm(found.astype(np.float64), axis=1), 1, atol=1e-6)


def test_queries(folder, model):
    """No space behind `Query:`, as on the card."""
    prompts = embedding_prompts(folder, [f"Instruct: {TASK}\nQuery:{text}" for text in TEXTS])
    expected = torch.nn.functional.normalize(reference_states(folder, prompts), dim=-1).numpy()
    found = model.embed(TEXTS, instruction=TASK)
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)
    assert np.abs(found - model.embed(TEXTS)).max() > 100 * TOLERANCE


def test_cut_then_normalized(folder, model):
    states = reference_states(folder, embedding_prompts(folder, TEXTS))
    for dimensions in (1, 32, 127, 128):
        expected = torch.nn.functional.normalize(states[:, :dimensions], dim=-1).numpy()
        found = model.embed(TEXTS, dimensions=dimensions)
        assert found.shape == (len(TEXTS), dimensions)
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)
    for dimensions in (0, 129, 1.5, True):
        with pytest.raises(RequestError, match="dimensions"):
            model.embed(TEXTS, dimensions=dimensions)


def test_alone_and_together(folder, model):
    """Bit by bit, whatever the batch, the chunks, the sequences, the order and what is in the cache."""
    alone = np.concatenate([model.embed([text]) for text in TEXTS])
    assert np.array_equal(model.embed(TEXTS), alone)
    assert np.array_equal(model.embed(TEXTS[::-1]), alone[::-1])
    assert np.array_equal(model.embed(TEXTS * 9), np.concatenate([alone] * 9))
    with load(folder, sequences=1, chunk=16, threads=1) as other:
        assert np.array_equal(other.embed(TEXTS), alone)


def test_beside_answers(reranker):
    """Neither changes the other, nor does a caller who stops waiting."""
    _, model = reranker
    options = {"raw": True, "temperature": 0, "max_tokens": 24, "ignore_eos": True}
    alone, answered = model.embed(TEXTS), model.generate("Gravity is", **options)
    answered.read()
    answer = model.generate("Gravity is", **options)
    next(answer)
    left = last_states(model.engine, [model.tokenizer.encode(text) for text in TEXTS[3:]])
    next(left)
    left.close()
    assert np.array_equal(model.embed(TEXTS), alone)
    answer.read()
    assert answer.tokens == answered.tokens
    assert model.engine.free_sequences == 4


def test_more_than_the_queue_takes(model):
    texts = [str(number % 300) for number in range(1500)]
    found = model.embed(texts)
    assert np.array_equal(found[:300], found[1200:]) and np.array_equal(found[7], model.embed(["7"])[0])


def test_the_end_is_there_once(model):
    end = "<|endoftext|>"
    assert np.array_equal(model.embed(["Beijing", "Beijing" + end]), model.embed(["Beijing"] * 2))
    inside = model.embed(["a" + end + "b"])
    assert not np.array_equal(inside, model.embed(["ab"])) and np.isfinite(inside).all()


def test_none_and_wrong_arguments(model):
    assert model.embed([]).shape == (0, SHAPE.hidden)
    with pytest.raises(RequestError, match="texts"):
        model.embed("a text")
    with pytest.raises(RequestError, match=r"texts\[1\]"):
        model.embed(["a", 7])
    with pytest.raises(RequestError, match="instruction"):
        model.embed(["a"], instruction=7)


def test_a_text_that_does_not_fit(folder, model):
    """To the last token: nothing is cut silently."""
    text = "Gravity is a force. " * 9
    count = len(model.tokenizer.encode(text)) + 1
    with load(folder, context=count) as fits:
        assert np.array_equal(fits.embed([text]), model.embed([text]))
    with load(folder, context=count - 1) as short, pytest.raises(ContextError) as error:
        short.embed(["a", text])
    assert (error.value.tokens, error.value.context) == (count, count - 1)
    assert str(error.value).startswith(f"texts[1]: expected at most {count - 1} tokens")
    assert f"found {count}:" in str(error.value)


def rerank_prompts(folder, query, documents, instruction=TASK):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prefix, suffix = (tokenizer(part, add_special_tokens=False)["input_ids"] for part in TEMPLATE)
    middles = [f"<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}" for document in documents]
    yes, no = (tokenizer.convert_tokens_to_ids(word) for word in ("yes", "no"))
    return [[*prefix, *plain_ids(tokenizer, middle), *suffix] for middle in middles], yes, no


def reference_scores(folder, prompts, yes, no):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    scores = []
    for prompt in prompts:
        with torch.no_grad():
            logits = model(torch.tensor([prompt])).logits[0, -1]
        scores.append(torch.nn.functional.softmax(torch.stack([logits[no], logits[yes]]), dim=0)[1].item())
    return np.array(scores)


def test_scores(reranker):
    folder, model = reranker
    query = "What is the capital of China?"
    for instruction in (TASK, "Find what contradicts the query"):
        expected = reference_scores(folder, *rerank_prompts(folder, query, TEXTS, instruction))
        found = model.rerank(query, TEXTS, instruction)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)
        assert np.ptp(expected) > 100 * TOLERANCE
    assert RERANK_INSTRUCTION == TASK and np.array_equal(model.rerank(query, TEXTS), model.rerank(query, TEXTS, TASK))


def test_scores_alone_and_together(reranker):
    folder, model = reranker
    query = "What is the capital of China?"
    alone = np.concatenate([model.rerank(query, [text]) for text in TEXTS])
    assert np.array_equal(model.rerank(query, TEXTS), alone)
    with load(folder, sequences=1, chunk=32) as other:
        assert np.array_equal(other.rerank(query, TEXTS[::-1]), alone[::-1])


def test_the_query_is_computed_once(reranker):
    """What documents share comes out of the cache."""
    folder, _ = reranker
    with load(folder) as model:
        documents = [f"Document {number}." for number in range(8)]
        prompts, _, _ = rerank_prompts(folder, "A query " * 20, documents)
        tokens = []
        model.engine.observe(
            lambda name, layer, _, values: tokens.append(len(values) * (name == "attn_q" and not layer))
        )
        model.rerank("A query " * 20, documents)
        assert sum(tokens) < 0.4 * sum(map(len, prompts))


def test_what_does_not_fit_is_blamed(reranker):
    """No document could be said to be short enough."""
    _, model = reranker
    for options in ({"query": "long " * 600}, {"query": "q", "instruction": "long " * 600}):
        name = "instruction" if "instruction" in options else "query"
        for documents in (["short"], []):
            with pytest.raises(ContextError, match=rf"^{name}: expected at most 512 tokens") as error:
                model.rerank(**options, documents=documents)
            assert error.value.context == 512 < error.value.tokens


def test_a_document_that_does_not_fit(reranker):
    _, model = reranker
    with pytest.raises(ContextError, match=r"^documents\[1\]: expected at most 512 tokens .*, found \d+: ") as error:
        model.rerank("q", ["short", "long " * 600])
    assert error.value.context == 512 < error.value.tokens
    with pytest.raises(ContextError, match=r"^documents\[0\]: .* found more than 4096:"):
        model.rerank("q", ["东" * 6000])
    with pytest.raises(
        ContextError, match=r"^documents\[0\]: expected at most 512 tokens .* 1\d{5} characters:"
    ) as error:
        model.rerank("q", ["a" * 100000])
    assert (error.value.tokens, error.value.context) == (513, 512)


def test_another_device():
    engine = Engine(FakeCore([]), VOCABULARY)
    with pytest.raises(RequestError, match="embeddings: expected a model on the CPU"):
        next(last_states(engine, [[1, 2]]))
    with pytest.raises(RequestError, match="rerank: expected a model on the CPU"):
        Judge(engine, 1, 2)


def test_models_without_a_head(tmp_path):
    folder = saved(tmp_path, replace(SHAPE, tied=False), 11, headless=True)
    report = convert(folder, folder / "m.q3e", "int4")
    assert any("no lm_head.weight: a model for embeddings" in note for note in report.notes)
    with load(folder) as model:
        for call in (
            lambda: model.generate("a"),
            model.session,
            lambda: model.logits([1, 2]),
            lambda: model.rerank("a", ["b"]),
        ):
            with pytest.raises(UnsupportedModelError, match="a head"):
                call()
        assert np.isfinite(model.embed(["still works"])).all()


def test_a_vocabulary_without_the_words(tmp_path):
    folder = saved(tmp_path, SHAPE, 9, answers=False)
    with load(folder) as model:
        with pytest.raises(UnsupportedModelError, match="'yes' and 'no' as tokens"):
            model.rerank("a", ["b"])
        assert model.embed(["a"]).shape == (1, SHAPE.hidden)
    convert(TINY, tmp_path / "ids.q3e", "int8")
    with qwen3edge.load(tmp_path / "ids.q3e", texts=False) as model, pytest.raises(RequestError, match="texts=False"):
        model.embed(["a"])


@pytest.mark.parametrize(
    ("modes", "kind", "good"),
    [
        (["lasttoken"], "sentence_transformers.models.Normalize", True),
        (["mean_tokens"], "sentence_transformers.models.Normalize", False),
        (["lasttoken", "cls_token"], "sentence_transformers.models.Normalize", False),
        (["lasttoken"], "sentence_transformers.models.Dense", False),
    ],
)
def test_folders_of_sentence_transformers(tmp_path, modes, kind, good):
    folder = saved(tmp_path, SHAPE, 10, headless=True)
    named = [("", "sentence_transformers.models.Transformer"), ("1_Pooling", "sentence_transformers.models.Pooling")]
    modules = [{"idx": i, "path": path, "type": name} for i, (path, name) in enumerate([*named, ("2_Last", kind)])]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 128, "pooling_mode_cls_token": False, "include_prompt": True}
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({**pooling, **{f"pooling_mode_{mode}": True for mode in modes}})
    )
    if good:
        convert(folder, folder / "m.q3e")
    else:
        with pytest.raises(UnsupportedModelError, match=r"lasttoken|Dense"):
            convert(folder, folder / "m.q3e")
