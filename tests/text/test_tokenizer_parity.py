"""The same ids as Qwen3's real tokenizer.

Ours goes the whole way: ranks -> tokenizer.json -> converter -> `.q3e` -> the core's parser -> Tokenizer. The
reference is tiktoken with Qwen's own ranks and words (another library, another regular expression engine, another
NFC), and, where it could be fetched, Qwen's own tokenizer.json in the tokenizers library.
"""

import json
import random
import unicodedata

import pytest
import tokenizers

from qwen3edge import _core
from qwen3edge.text.tokenizer import Tokenizer
from tests.fetch_tokenizer import JSON
from tests.real_tokenizer import QWEN3, require
from tests.text.random_texts import SPACES, as_text, text, texts, word

COUNT = 10_000


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    require(QWEN3.ranks_path)
    path = QWEN3.make_q3e(tmp_path_factory.mktemp("real"))
    return Tokenizer.from_metadata(_core.ModelFile(str(path)))


@pytest.fixture(scope="module")
def qwen_tiktoken():
    return QWEN3.tiktoken()


@pytest.fixture(scope="module")
def qwen_json():
    return tokenizers.Tokenizer.from_file(str(require(JSON)))


def test_same_ids_as_tiktoken(ours, qwen_tiktoken, seed):
    different = []
    for item in texts(seed, COUNT):
        plain = as_text(item)
        expected = qwen_tiktoken.encode(unicodedata.normalize("NFC", plain), disallowed_special=())
        if ours.encode(item) != expected:
            different.append(item)
        assert ours.decode(expected) == unicodedata.normalize("NFC", plain)
    assert not different, f"{len(different)} of {COUNT}, the first: {different[0]!r}"


def test_same_ids_as_tokenizer_json(ours, qwen_json, seed):
    different = []
    for item in texts(seed, COUNT):
        if ours.encode(item, allow_special=True) != qwen_json.encode(as_text(item), add_special_tokens=False).ids:
            different.append(item)
    assert not different, f"{len(different)} of {COUNT}, the first: {different[0]!r}"


def test_every_code_point(ours, qwen_json):
    """Also those that are not assigned; each beside its neighbours."""
    codes = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    for start in range(0, len(codes), 512):
        item = "".join(map(chr, codes[start : start + 512]))
        assert ours.encode(item) == qwen_json.encode(item, add_special_tokens=False).ids, hex(codes[start])


def test_special_tokens_in_text(ours, qwen_json, qwen_tiktoken, seed):
    rng = random.Random(seed)
    for _ in range(500):
        parts = [rng.choice([rng.choice(list(QWEN3.added)), word(rng), rng.choice(SPACES)]) for _ in range(8)]
        item = "".join(parts)
        expected = qwen_json.encode(item, add_special_tokens=False).ids
        assert ours.encode(item, allow_special=True) == expected
        assert ours.decode(expected) == qwen_json.decode(expected, skip_special_tokens=False)
        assert ours.encode(item) == qwen_tiktoken.encode(unicodedata.normalize("NFC", item), disallowed_special=())


def test_long_texts_are_cut_exactly(ours, qwen_json, seed):
    """Longer than a chunk, so that they are encoded in parts."""
    rng = random.Random(seed)
    for _ in range(20):
        item = "".join(as_text(text(rng)) for _ in range(1200))
        assert ours.encode(item, allow_special=True) == qwen_json.encode(item, add_special_tokens=False).ids


def test_vocabulary_is_the_published_one(qwen_json):
    """The ranks say the same as tokenizer.json, merges included."""
    published = json.loads(require(JSON).read_text())
    made = QWEN3.tokenizer_json()
    assert made["model"]["vocab"] == published["model"]["vocab"]
    assert made["model"]["merges"] == published["model"]["merges"]
    for key in ("added_tokens", "normalizer", "pre_tokenizer", "decoder"):
        assert made[key] == published[key]
