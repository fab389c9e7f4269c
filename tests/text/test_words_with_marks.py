"""Qwen3.5's words, in which marks belong to letters, and its ids, against transformers' own class and tiktoken.

Tests of the ids need the whole vocabulary, whose merges take long to find from its ranks, and are slow.
"""

import random
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AddedToken, Qwen3_5Tokenizer
from transformers.models.qwen3_5.tokenization_qwen3_5 import PRETOKENIZE_REGEX

from qwen3edge import _core
from qwen3edge.text.tokenizer import Tokenizer
from qwen3edge.tokenization import WORDS_WITH_MARKS
from tests.generation.fakes import metadata
from tests.real_tokenizer import QWEN3_5
from tests.reference.byte_alphabet import from_bytes
from tests.text.byte_tokenizer import byte_tokenizer
from tests.text.random_texts import SPACES, as_text, text, texts, word

COUNT = 2_000
QWEN3_WORDS, QWEN3_5_WORDS = byte_tokenizer("qwen2").words, byte_tokenizer("qwen35").words
BYTES = Tokenizer.from_metadata(metadata(pre="qwen35"))
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
AT_CUTS = "aé中が。，、, .!\t\n\r 01一가ᄀ\u0301\u093f\u0e34\u3000\x85'sl🙂\u200d"

SENTENCES = [
    "नमस्ते दुनिया, आप कैसे हैं?",  # Hindi
    "বাংলা ভাষায় লিখি। தமிழ் மொழி, తెలుగు భాష",  # Bengali, Tamil, Telugu
    "ภาษาไทยไม่มีช่องว่าง ที่นี่ ลาวພາສາລາວ",  # Thai, Lao
    "مَرْحَبًا بِالعَالَمِ، كِتَابٌ جَدِيدٌ",  # Arabic with its vowels
    "שָׁלוֹם עֲלֵיכֶם",  # Hebrew with its points
    unicodedata.normalize("NFD", "Tiếng Việt rất đẹp, phở bò Hà Nội"),
    "ខ្មែរ ភាសា မြန်မာဘာသာ བོད་སྐད་",  # Khmer, Burmese, Tibetan
    "Z̷͓̈a̴͒l̸g̵o̶ e\u0301\u0323 \u0301alone 1\u0301 .\u0301 \n\u0301 \u0301\u0301",
    "👩‍👩‍👧‍👦👍🏽 1️⃣ 🇩🇪 ☺️ ⃣",
    "Русский ё й, ελληνικά ΐ, 日本語が か\u3099 は\u309a, 한국어 한",
]


@pytest.fixture(scope="module")
def words_of_transformers() -> Callable[[str], list[str]]:
    """What its own class makes of a text before BPE."""
    backend = Qwen3_5Tokenizer().backend_tokenizer

    def words(text: str) -> list[str]:
        return [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(text))]

    return words


def in_bytes(words: list[str]) -> list[str]:
    return [from_bytes(word.encode()) for word in words]


def test_marks_stay_with_their_letters():
    text = "नमस्ते मैं"
    assert QWEN3_5_WORDS(text) == ["नमस्ते", " मैं"]
    assert QWEN3_WORDS(text) == ["नमस", "्त", "े", " म", "ैं"]


@given(text=ANY_TEXT)
def test_same_words_as_transformers_of_any_text(words_of_transformers, text):
    assert in_bytes(QWEN3_5_WORDS(text)) == words_of_transformers(text)


@pytest.mark.parametrize("sentence", SENTENCES)
def test_same_words_of_sentences(words_of_transformers, sentence):
    assert in_bytes(QWEN3_5_WORDS(sentence)) == words_of_transformers(sentence)


def test_same_words_in_all_scripts(words_of_transformers, seed):
    items = [as_text(item) for item in texts(seed, COUNT)]
    ours = {item: QWEN3_5_WORDS(item) for item in items}
    different = [item for item in items if in_bytes(ours[item]) != words_of_transformers(item)]
    assert not different, f"{len(different)} of {COUNT}, the first: {different[0]!r}"
    assert any(QWEN3_WORDS(item) != ours[item] for item in items)


@settings(max_examples=50)
@given(st.lists(st.text(st.sampled_from(AT_CUTS), max_size=40), max_size=20))
def test_cuts_change_nothing(texts):
    text = "".join(texts)
    assert [token for chunk in _core.text_chunks(text, 1) for token in BYTES.encode(chunk)] == BYTES.encode(text)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return QWEN3_5.ours(tmp_path_factory.mktemp("qwen3.5"))


@pytest.fixture(scope="module")
def theirs() -> Qwen3_5Tokenizer:
    """transformers' own, which brings its words itself."""
    vocabulary = {from_bytes(token): rank for token, rank in QWEN3_5.ranks.items()}
    merges = [(from_bytes(left), from_bytes(right)) for left, right in QWEN3_5.merges]
    made = Qwen3_5Tokenizer(vocab=vocabulary, merges=merges)
    flags = {"normalized": False, "lstrip": False, "rstrip": False}
    made.add_tokens([AddedToken(name, special=QWEN3_5.is_control(name), **flags) for name in QWEN3_5.added_texts])
    return made


@pytest.mark.slow
def test_the_vocabulary(ours, theirs):
    assert ours.vocabulary_size == len(theirs) == 248_077
    assert [ours.token_id(name) for name in ("<|endoftext|>", "<|im_end|>", "<think>")] == [248_044, 248_046, 248_068]
    assert WORDS_WITH_MARKS == PRETOKENIZE_REGEX


@pytest.mark.slow
@pytest.mark.parametrize("sentence", SENTENCES)
def test_sentences(ours, theirs, sentence):
    expected = theirs.encode(sentence, add_special_tokens=False)
    assert ours.encode(sentence) == expected
    assert ours.decode(expected) == unicodedata.normalize("NFC", sentence) == theirs.decode(expected)


@pytest.mark.slow
def test_same_ids_as_transformers(ours, theirs, seed):
    different = []
    for item in texts(seed, COUNT):
        expected = theirs.encode(as_text(item), add_special_tokens=False)
        if ours.encode(item, allow_special=True) != expected or ours.decode(expected) != theirs.decode(expected):
            different.append(item)
    assert not different, f"{len(different)} of {COUNT}, the first: {different[0]!r}"


@pytest.mark.slow
def test_same_ids_as_tiktoken(ours, seed):
    encoding = QWEN3_5.tiktoken()
    different = []
    for item in texts(seed, COUNT):
        plain = unicodedata.normalize("NFC", as_text(item))
        if ours.encode(item) != encoding.encode(plain, disallowed_special=()):
            different.append(item)
    assert not different, f"{len(different)} of {COUNT}, the first: {different[0]!r}"


@pytest.mark.slow
def test_every_code_point(ours, theirs):
    """Also those that are not assigned; each beside its neighbours."""
    codes = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    for start in range(0, len(codes), 4096):
        item = "".join(map(chr, codes[start : start + 4096]))
        assert ours.encode(item) == theirs.encode(item, add_special_tokens=False), hex(codes[start])


@pytest.mark.slow
def test_special_tokens_in_text(ours, theirs, seed):
    rng = random.Random(seed)
    for _ in range(300):
        item = "".join(rng.choice([rng.choice(QWEN3_5.added_texts), word(rng), rng.choice(SPACES)]) for _ in range(8))
        expected = theirs.encode(item, add_special_tokens=False)
        assert ours.encode(item, allow_special=True) == expected
        assert ours.decode(expected) == theirs.decode(expected)


@pytest.mark.slow
def test_long_texts_are_cut_exactly(ours, theirs, seed):
    rng = random.Random(seed)
    item = "".join(as_text(text(rng)) for _ in range(2400))
    assert ours.encode(item, allow_special=True) == theirs.encode(item, add_special_tokens=False)
