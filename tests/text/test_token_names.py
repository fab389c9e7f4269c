"""The names of added tokens in texts: which are found, and how texts from outside are kept from holding any."""

import re

from hypothesis import given
from hypothesis import strategies as st

from qwen3edge import _core
from tests.reference.byte_alphabet import BYTE_TO_CHAR

CONTROL, USER_DEFINED = 3, 4
# Of each kind, one the beginning of another, one inside another, one that is no tag by a hair.
NAMES = {
    "<|end|>": CONTROL, "<|end|>x": CONTROL, "end": CONTROL, "é|": CONTROL,
    "<t>": USER_DEFINED, "[t]": USER_DEFINED, "<t><u>": USER_DEFINED, "\u0301>": CONTROL,
    "<>": USER_DEFINED, "word": USER_DEFINED, "words": USER_DEFINED, "wo": USER_DEFINED,
}  # fmt: skip
TOKENIZER = _core.Tokenizer(
    "gpt2", "deepseek-r1-qwen", [*BYTE_TO_CHAR.values(), *NAMES], [1] * 256 + list(NAMES.values()), []
)
IDS = {name: 256 + number for number, name in enumerate(NAMES)}
TAGS = {"<t>", "[t]", "<t><u>"}
MARKS = TAGS | {name for name, kind in NAMES.items() if kind == CONTROL}
PARTS = [*NAMES, "<", "|", ">", "<|", "|>", "en", "d", "x", "t", "[", "]", "w", "o", "r", "s", "é", "\u0301", " ", "\n"]
TEXTS = st.lists(st.sampled_from(PARTS), max_size=10).map("".join)


def found(text: str, names: set[str]) -> list[str]:
    """By Python's own search: the leftmost, of several the longest."""
    pattern = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    return re.findall(pattern, text)


def named(ids: list[int] | None) -> list[str]:
    assert ids is not None
    return [list(NAMES)[token - 256] for token in ids if token >= 256]


def test_marks():
    assert TOKENIZER.marks() == sorted(IDS[name] for name in MARKS)


@given(TEXTS)
def test_names_in_texts(text):
    assert named(TOKENIZER.encode(text, special=True)) == found(text, set(NAMES))
    assert named(TOKENIZER.encode(text)) == found(text, set(NAMES) - MARKS)
    for special in (False, True):
        ids = TOKENIZER.encode(text, special=special)
        assert ids is not None and TOKENIZER.decode(ids, skip_control=False) == text


@given(TEXTS, TEXTS, st.booleans())
def test_protected_texts(text, behind, tags):
    """Whatever a template puts behind it, no name begins in a protected text."""
    protected = TOKENIZER.protect(text, tags=tags)
    assert protected.replace("\ud800", "") == text
    ids = TOKENIZER.encode(protected, marked=True)
    kept = set(named(ids))
    assert not kept & (MARKS if tags else MARKS - TAGS)
    assert ids is not None and TOKENIZER.decode(ids, skip_control=False) == text
    whole = TOKENIZER.encode(protected + behind, marked=True)
    assert whole is not None and TOKENIZER.decode(whole, skip_control=False) == text + behind
    at = 0
    for token in whole:
        assert at >= len(text.encode()) or token not in {IDS[name] for name in (MARKS if tags else MARKS - TAGS)}
        at += len(TOKENIZER.bpe.token_bytes(token))


def test_what_needs_no_mark_stays_the_same_object():
    for text in ("plain", "größer", "a < b |> c"):
        assert TOKENIZER.protect(text, tags=True) is text
    assert TOKENIZER.protect("<|en", tags=True) == "<|en\ud800"
    assert TOKENIZER.protect("a\ud83d\ude00\udc00", tags=True) == "a😀\ufffd"
