import time
import unicodedata

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3edge import _core
from qwen3edge.errors import FileFormatError, RequestError, UnsupportedModelError
from qwen3edge.text.tokenizer import Tokenizer
from tests.generation.fakes import ADDED, VOCABULARY, ids, make_tokenizer, metadata

BYTES = make_tokenizer()
ANY_TEXT = st.text(st.characters(), max_size=200)  # surrogates and NUL as well


@pytest.fixture(scope="module")
def tiny(tiny_q3e):
    return Tokenizer.from_metadata(_core.ModelFile(str(tiny_q3e("int4"))))


@given(ANY_TEXT)
def test_plain_text_comes_back(text):
    clean = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert BYTES.decode(BYTES.encode(text)) == unicodedata.normalize("NFC", clean)


@given(st.binary(max_size=200))
def test_bytes_are_read_as_utf8(data):
    assert BYTES.encode(data) == BYTES.encode(data.decode("utf-8", "replace"))


def test_surrogates_and_nul():
    assert BYTES.encode("a\ud800b") == ids("a\ufffdb")
    assert BYTES.encode("\ud83d\ude00") == ids("😀")
    assert BYTES.encode("\0") == ids("\0")
    assert BYTES.encode("") == []


@given(st.lists(st.sampled_from([*ADDED, "a", "<", "|", "im_end", "<|im_", "\n", "é"]), max_size=12))
def test_special_tokens_in_text(parts):
    text = "".join(parts)
    assert BYTES.encode(text) == ids(text)
    with_special = BYTES.encode(text, allow_special=True)
    assert BYTES.decode(with_special) == text
    protected = BYTES.encode_prompt(BYTES.protect(text))
    assert not any(BYTES.is_control(token) for token in protected)
    assert BYTES.decode(protected) == text
    assert max(protected, default=0) < 256
    tagged = BYTES.encode_prompt(BYTES.protect(text, tags=False))
    assert tagged.count(259) == with_special.count(259)  # <think> is no control token


@settings(max_examples=50)
@given(
    st.lists(
        st.text(st.sampled_from("aAé中が。，、, .!\t\n\r 0123一가ᄀ́\u00a0\u3000\x85\x1c'sll<-=🙂\u200d"), max_size=40),
        max_size=30,
    )
)
def test_cuts_change_nothing(tiny, texts):
    text = "".join(texts)
    whole = tiny.encode(text)
    cut: list[int] = []
    chunks = _core.text_chunks(text, 1)  # with a cut wherever there may be one
    assert "".join(chunks) == text
    for chunk in chunks:
        cut += tiny.encode(chunk)
    assert cut == whole


@pytest.mark.parametrize("char", ["a", " ", "\n", "0", "é", "中", "🙂", ".", "\u0301", "\0", "\ud800"])
def test_a_flood_of_one_character(tiny, char):
    started = time.perf_counter()
    with pytest.raises(RequestError):
        tiny.encode(char * 100_000_000)
    with pytest.raises(RequestError):
        tiny.encode(char * 300_000, limit=1000)
    assert time.perf_counter() - started < 10


def test_limit(tiny):
    text = "one two three " * 5000
    count = len(tiny.encode(text))
    assert len(tiny.encode(text, limit=count)) == count
    with pytest.raises(RequestError, match=f"at most {count - 1} tokens"):
        tiny.encode(text, limit=count - 1)


@pytest.mark.parametrize("text", [5, None, ["a"], 1.5])
def test_no_text(text):
    with pytest.raises(RequestError):
        BYTES.encode(text)


@pytest.mark.parametrize(
    "changes",
    [
        {"tokens": []},
        {"tokens": [*metadata()["tokenizer.ggml.tokens"][:-1]]},  # one type too many
        {"tokens": ["", *metadata()["tokenizer.ggml.tokens"][1:]]},
        {"tokens": ["\u0122", *metadata()["tokenizer.ggml.tokens"][1:]]},  # twice, and a byte is missing
        {"tokens": ["!!", *metadata()["tokenizer.ggml.tokens"][1:]]},  # no token for a byte
        {"tokens": [*metadata()["tokenizer.ggml.tokens"][:-1], "<think>"]},
        {"tokens": [*metadata()["tokenizer.ggml.tokens"][:-1], "a"]},
        {"tokens": [*metadata()["tokenizer.ggml.tokens"][:-1], ""]},
        {"tokens": list(range(VOCABULARY))},
        {"tokens": "abc"},
        {"token_type": [1] * 255 + [7] + [3] * 6},
        {"token_type": ["1"] * VOCABULARY},
        {"token_type": []},
        {"merges": ["a zz"]},
        {"merges": ["a b"]},  # no token for what it makes
        {"merges": ["ab"]},
        {"merges": ["a b c"]},
        {"merges": [""]},
        {"merges": [1]},
    ],
)
def test_vocabularies_that_contradict_themselves(changes):
    with pytest.raises(FileFormatError):
        Tokenizer.from_metadata(metadata(**changes))


@pytest.mark.parametrize("changes", [{"model": "llama"}, {"pre": "gpt-2"}])
def test_other_tokenizers(changes):
    with pytest.raises(UnsupportedModelError):
        Tokenizer.from_metadata(metadata(**changes))


def test_unused_ids_have_no_text():
    keys = metadata()
    keys["tokenizer.ggml.tokens"] = [*keys["tokenizer.ggml.tokens"], "[unused]"]
    keys["tokenizer.ggml.token_type"] = [*keys["tokenizer.ggml.token_type"], 5]
    tokenizer = Tokenizer.from_metadata(keys)
    unused, beyond = VOCABULARY, VOCABULARY + 1
    assert tokenizer.vocabulary_size == beyond
    assert tokenizer.decode([unused]) == ""
    # A model's embedding may have more rows than the tokenizer has tokens: what it answers can always be decoded.
    more = Tokenizer.from_metadata(keys | {"qwen3edge.vocab_size": 300})
    assert more.decode([unused, beyond, 299]) == "" and more.vocabulary_size == beyond
    with pytest.raises(RequestError, match=r"from 0 to 299 .*, found 300"):
        more.decode([300])
    assert tokenizer.encode("[unused]", allow_special=True) == ids("[unused]")


def test_tiny_tokenizer_against_its_json(tiny, tiny_model_path):
    reference = tokenizers.Tokenizer.from_file(str(tiny_model_path / "tokenizer.json"))
    for text in ("Hello, wörld! 12+3=15", "<|im_start|>user\n你好<|im_end|>\n<think>\n\n</think>", "  \n\n x\té"):
        expected = reference.encode(text, add_special_tokens=False).ids
        assert tiny.encode(text, allow_special=True) == expected
        assert tiny.decode(expected) == text
        assert tiny.decode(expected, skip_control=True) == reference.decode(expected)
