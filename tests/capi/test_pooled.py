"""Embeddings and scores of documents through the C API, beside Python's."""

import shutil
from ctypes import byref, c_char_p, c_float, c_size_t

import pytest

from qwen3edge.convert import convert
from tests.capi.conftest import opened
from tests.capi.library import BAD_ARGUMENT, UNSUPPORTED_MODEL, CallError
from tests.reranking import add_yes

QUERY = "What is the capital of China?"
DOCUMENTS = ["The capital of China is Beijing.", "", "naïve 東京 <|im_end|>", "12 + 7 = 19. " * 20]


@pytest.mark.parametrize("instruction", [None, "Given a query, find the city"])
def test_embeddings_as_python(api, both, instruction):
    texts = ["The capital of China is Beijing.", "", "naïve 東京 <|im_end|>", "ends<|endoftext|>"]
    for dimensions in (256, 7):
        expected = both.python.embed(texts, instruction, dimensions)
        for text, row in zip(texts, expected, strict=True):
            values, count = (c_float * dimensions)(), c_size_t()
            api.embed(
                both.c,
                text.encode(),
                None if instruction is None else instruction.encode(),
                values,
                dimensions,
                byref(count),
            )
            assert list(values) == row.tolist() and count.value == 256
    count = c_size_t()
    api.embed(both.c, b"x", None, None, 0, byref(count))
    assert count.value == 256
    with pytest.raises(CallError, match="context"):
        api.embed(both.c, b"a " * 2000, None, (c_float * 1)(), 1, byref(count))


def test_without_texts(api, tiny_int4):
    model = api.load(tiny_int4, context=64, texts=0)
    with pytest.raises(CallError, match="q3e_settings_set_texts") as raised:
        api.embed(model, b"x", None, (c_float * 1)(), 1, byref(c_size_t()))
    assert raised.value.status == UNSUPPORTED_MODEL
    api.library.q3e_model_free(model)


@pytest.fixture(scope="module")
def reranker(api, tiny_model_path, tmp_path_factory):
    """The tiny model with a token of yes, twice open; several sequences."""
    folder, path = tmp_path_factory.mktemp("reranker"), tmp_path_factory.mktemp("q3e") / "int4.q3e"
    shutil.copytree(tiny_model_path, folder, dirs_exist_ok=True)
    add_yes(folder / "tokenizer.json")
    convert(folder, path, "int4")
    yield from opened(api, path, folder, sessions=2)


def scores(api, model, query, documents, instruction=None):
    texts, found = (c_char_p * len(documents))(*(each.encode() for each in documents)), (c_float * len(documents))()
    asked = None if instruction is None else instruction.encode()
    api.rerank(model, query.encode(), texts, len(documents), asked, found)
    return list(found)


@pytest.mark.parametrize("instruction", [None, "Find what contradicts the query"])
def test_scores_as_python(api, reranker, instruction):
    """More documents than are computed together."""
    given = () if instruction is None else (instruction,)
    documents = DOCUMENTS * 2
    expected = reranker.python.rerank(QUERY, documents, *given).tolist()
    assert scores(api, reranker.c, QUERY, documents, instruction) == expected
    assert expected[:4] == expected[4:] and len(set(expected)) == 4 and all(0 < each < 1 for each in expected)
    assert scores(api, reranker.c, QUERY, []) == []


def test_scores_that_are_refused(api, both, reranker):
    with pytest.raises(CallError, match="'yes' and 'no' as tokens") as raised:
        scores(api, both.c, QUERY, DOCUMENTS)
    assert raised.value.status == UNSUPPORTED_MODEL
    for query, documents in ((QUERY, ["a " * 2000]), ("a " * 2000, [""])):
        with pytest.raises(CallError, match="rerank: expected at most 1024 tokens") as raised:
            scores(api, reranker.c, query, documents)
        assert raised.value.status == BAD_ARGUMENT
    with pytest.raises(CallError, match="null pointer"):
        api.rerank(reranker.c, QUERY.encode(), (c_char_p * 1)(None), 1, None, (c_float * 1)())
