"""Vocabularies in files that somebody made by hand: a typed error, or a tokenizer that works."""

import os
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3edge import _core
from qwen3edge.errors import FileFormatError, Qwen3EdgeError, TruncatedFileError
from qwen3edge.text.tokenizer import Tokenizer
from tests.hostile.model_image import STRING, U32, array, good_image, string, text
from tests.reference.byte_alphabet import BYTE_TO_CHAR

I32 = 5  # GGUF_TYPE_INT32
TOKENS = [*BYTE_TO_CHAR.values(), "ab", "<end>"]
KINDS = [1] * 257 + [3]


def strings(items: list[str]) -> tuple[int, bytes]:
    return array(STRING, [text(item) for item in items])


def kinds(items: list[int], kind: int = I32) -> tuple[int, bytes]:
    return array(kind, [struct.pack("<i", item) for item in items])


def image(**changes: tuple[int, bytes] | None) -> bytes:
    made = good_image()
    keys = {
        "model": string("gpt2"),
        "pre": string("qwen2"),
        "tokens": strings(TOKENS),
        "token_type": kinds(KINDS),
        "merges": strings(["a b"]),
    }
    for key, value in {**keys, **changes}.items():
        made.set(f"tokenizer.ggml.{key}", value)
    return made.build()


def read(folder, data: bytes) -> Tokenizer:
    path = folder / "m.q3e"
    path.write_bytes(data)
    return Tokenizer.from_metadata(_core.ModelFile(str(path)))


def test_the_good_one_is_good(tmp_path):
    tokenizer = read(tmp_path, image())
    assert tokenizer.encode("ab") == [256]
    assert tokenizer.token_id("<end>") == 257
    assert read(tmp_path, image(merges=None)).encode("ab") == [TOKENS.index("a"), TOKENS.index("b")]


@pytest.mark.parametrize(
    "changes",
    [
        {"tokens": None},
        {"token_type": None},
        {"tokens": string("ab")},
        {"tokens": kinds(KINDS)},
        {"token_type": kinds(KINDS, U32)},
        {"token_type": kinds(KINDS[:-1])},
        {"token_type": kinds([*KINDS[:-1], -(2**31)])},
        {"token_type": kinds([])},
        {"tokens": strings([]), "token_type": kinds([])},
        {"tokens": strings([*TOKENS[:-1], "a"])},
        {"merges": string("a b")},
        {"merges": kinds([1])},
        {"merges": strings(["a b", "a"])},
        {"merges": strings(["a \0"])},
        {"merges": strings(["a b" * 100_000])},
        {"merges": strings([" " * 100_000])},
    ],
)
def test_files_that_contradict_themselves(tmp_path, changes):
    with pytest.raises(FileFormatError):
        read(tmp_path, image(**changes))


TEXTS = st.sampled_from(["a", "b", "ab", "abab", "Ġ", "é", "", " ", "\0", "<end>", "中"])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(TEXTS, st.sampled_from([1, 3, 4, 5, 5, 1, 0, 9])), max_size=6),
    st.lists(st.tuples(TEXTS, TEXTS), max_size=6),
)
def test_any_vocabulary(tmp_path_factory, more, pairs):
    """Whatever opens also encodes and decodes."""
    tokens, types = [*TOKENS, *(token for token, _ in more)], [*KINDS, *(kind for _, kind in more)]
    merges = [" ".join(pair) for pair in pairs]
    data = image(tokens=strings(tokens), token_type=kinds(types), merges=strings(merges))
    try:
        tokenizer = read(tmp_path_factory.getbasetemp(), data)
    except Qwen3EdgeError:
        return
    assert tokenizer.decode(tokenizer.encode("abab <end> é中")) == "abab <end> é中"
    assert b"".join(map(tokenizer.token_bytes, range(tokenizer.vocabulary_size)))


def test_a_file_that_shrinks_before_its_vocabulary_is_read(tmp_path):
    made = image(tokens=strings([*TOKENS[:-1], "x" * 100_000]), merges=strings(["a b"] * 5000))
    path = tmp_path / "m.q3e"
    path.write_bytes(made)
    file = _core.ModelFile(str(path))
    os.truncate(path, 4096)
    with pytest.raises(TruncatedFileError):
        Tokenizer.from_metadata(file)


def test_a_tokenizer_needs_its_file_no_more(tmp_path):
    tokenizer = read(tmp_path, image())
    os.truncate(tmp_path / "m.q3e", 0)
    assert tokenizer.decode(tokenizer.encode("ab<end>", allow_special=True)) == "ab<end>"
