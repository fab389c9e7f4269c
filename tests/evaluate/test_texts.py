"""Files as documents, documents as windows."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import qwen3edge
from qwen3edge.errors import RequestError
from qwen3edge.evaluate.texts import read_documents, windows


@pytest.fixture(scope="module")
def prompt_builder(tiny_int4):
    with qwen3edge.load(tiny_int4, context=64, threads=1) as model:
        yield model.prompt_builder


@given(sizes=st.lists(st.integers(2, 60), min_size=1, max_size=4), length=st.integers(2, 20), data=st.data())
def test_every_token_but_the_first_is_predicted_once(sizes, length, data):
    documents = [tuple(range(1000 * i, 1000 * i + size)) for i, size in enumerate(sizes)]
    stride = data.draw(st.none() | st.integers(1, length - 1))
    found = list(windows(documents, length, stride))
    assert [t for w in found for t in w.tokens[w.first :]] == [t for d in documents for t in d[1:]]
    for w in found:
        assert 1 <= w.first < len(w.tokens) <= length
        assert list(w.tokens) == list(range(w.tokens[0], w.tokens[0] + len(w.tokens)))
        if stride is not None:
            assert len(w.tokens) - w.first <= max(stride, length - 1 if w.first == 1 else 0)


@pytest.mark.parametrize(("length", "stride"), [(1, None), (8, 0), (8, 8)])
def test_windows_that_cannot_be(length, stride):
    with pytest.raises(RequestError):
        list(windows([(1, 2, 3)], length, stride))


def test_a_text_is_one_document(tmp_path, prompt_builder):
    path = tmp_path / "a.txt"
    path.write_text("12 + 3 = 15\n\nzwei", encoding="utf-8")
    (document,) = read_documents(path, prompt_builder)
    assert prompt_builder.tokenizer.decode(document) == "12 + 3 = 15\n\nzwei"


def test_lines_of_jsonl_are_documents(tmp_path, prompt_builder):
    path = tmp_path / "a.jsonl"
    chat = {"messages": [{"role": "user", "content": "hi"}], "expected": "ho"}
    path.write_text(f"{json.dumps({'text': 'one two'})}\n\n{json.dumps(chat)}\n", encoding="utf-8")
    first, second = (prompt_builder.tokenizer.decode(d) for d in read_documents(path, prompt_builder))
    assert first == "one two"
    assert second.index("hi") < second.index("<|im_start|>assistant") < second.index("ho")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"{}", b"[1]", b'{"text": 3}', b'{"text": "a"'])
def test_files_that_are_no_text(tmp_path, prompt_builder, content):
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(RequestError):
        read_documents(path, prompt_builder)
