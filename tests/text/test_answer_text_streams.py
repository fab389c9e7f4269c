"""`_core.AnswerText` against the one in plain Python, over any tokens of vocabularies of every kind."""

import random
from functools import cache, cached_property

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3edge import _core
from tests.conftest import ROOT
from tests.real_tokenizer import QWEN3
from tests.reference.answer_text import AnswerText
from tests.reference.byte_alphabet import from_bytes

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
THINK_OPEN, THINK_CLOSE = b"<think>", b"</think>"
MARKS = (THINK_OPEN, THINK_CLOSE)
ODD = [-1, -(2**31), 2**31 - 1, 10**6]


class Vocabulary:
    """tokens: (bytes, kind) of every id."""

    def __init__(self, tokens: list[tuple[bytes, int]]) -> None:
        self.tokens = tokens
        self.ids = {text: i for i, (text, _) in enumerate(tokens)}
        self.control = {i for i, (_, kind) in enumerate(tokens) if kind == CONTROL}
        marks = [self.ids.get(mark) for mark in MARKS]
        self.marks = [None if i is None or tokens[i][1] not in (CONTROL, USER_DEFINED) else i for i in marks]

    def __repr__(self) -> str:
        return f"<Vocabulary of {[token for token in self.tokens if token[1] != NORMAL or len(token[0]) > 1]}>"

    @cached_property
    def bpe(self) -> _core.Bpe:
        stored = [from_bytes(text) if kind == NORMAL else text.decode() for text, kind in self.tokens]
        return _core.Bpe(stored, [kind for _, kind in self.tokens], [])

    def both(self, reasoning: bool, stops: list[str]) -> tuple[_core.AnswerText, AnswerText]:
        return _core.AnswerText(self.bpe, reasoning=reasoning, stops=stops), AnswerText(
            self.token_bytes, self.control, *self.marks, reasoning=reasoning, stops=stops
        )

    def token_bytes(self, token: int) -> bytes:
        text, kind = self.tokens[token] if 0 <= token < len(self.tokens) else (b"", UNUSED)
        return b"" if kind == UNUSED else text

    def text(self, tokens: list[int], reasoning: bool, stops: list[str] = []) -> tuple[str, str]:  # noqa: B006
        """(thoughts, content), as the core has them."""
        ours = _core.AnswerText(self.bpe, reasoning=reasoning, stops=stops)
        pieces = [piece for token in tokens for piece in ours.push(token)] + ours.finish()
        return joined(pieces, True), joined(pieces, False)

    def assert_same(self, tokens: list[int], reasoning: bool, stops: list[str]) -> None:
        """The same pieces at every step."""
        ours, reference = self.both(reasoning, stops)
        for token in [*tokens, None]:
            expected = reference.finish() if token is None else reference.push(token)
            assert (ours.finish() if token is None else ours.push(token)) == expected
            assert (ours.stopped, ours.stop_string) == (reference.stopped, reference.stop_string)
            assert (ours.reasoning, ours.reasoning_tokens) == (reference.reasoning, reference.reasoning_tokens)
        assert ours.finish() == []


def joined(pieces: list[tuple[str, bool]], thoughts: bool) -> str:
    return "".join([text for text, thought in pieces if thought is thoughts])


BYTES = [bytes([byte]) for byte in range(256)]
PIECES = [
    "é".encode(), "中文".encode(), "😀".encode(), b"\xf0\x9f", b"\x98\x80", b"\xe4\xb8", b"\xadb", b"a\xf0\x9f\x98",
    b"\x80\xc3", b"\xed\xa0", b"\n\n", b" \n", b"\r\n", b"  ", b" a", b"\n  b", b"ab", b"ba", b"aab", b"EN",
    b"<think", b"</think>\n", "\u3000".encode(), "\ufffd".encode(), b"a\0b", b"</", b"</thi", b"think>", b"nk>",
    b"<think><", b"a</", b">\n", b"> a<th", b"ink>",
]  # fmt: skip


ADDED = {b"<|im_end|>": CONTROL, b"<tool_call>": USER_DEFINED, b"[unused]": UNUSED}
KINDS = st.sampled_from([USER_DEFINED, USER_DEFINED, CONTROL, NORMAL, UNUSED, None])


def any_vocabulary(seed: int, kinds: dict[bytes, int | None]) -> Vocabulary:
    """All bytes, longer tokens, the marks as tokens of these kinds or not at all, other added tokens; in any order."""
    rng = random.Random(seed)
    added = {**ADDED, **kinds}
    words = {*PIECES, *(rng.randbytes(rng.randint(2, 5)) for _ in range(10))}
    tokens = [(text, NORMAL) for text in [*BYTES, *sorted(words)] if text not in added]
    tokens += [(text, kind) for text, kind in added.items() if kind is not None]
    rng.shuffle(tokens)
    return Vocabulary(tokens)


LETTERS = [b"a", b"b", b" ", b"\n", b"\xc3", b"\xa9", b"\xff"]
SOME = st.lists(
    st.sampled_from([*PIECES, *LETTERS, *ADDED, *MARKS, *MARKS, *ODD]) | st.integers(0, 320), min_size=1, max_size=8
)
ANY_STOPS = st.lists(st.text(st.sampled_from("ab \n中é\ufffd"), min_size=1, max_size=4), max_size=2)
PLACES = st.lists(st.tuples(st.booleans(), st.integers(0, 99), st.integers(1, 6)), max_size=3)


@settings(max_examples=300)
@given(
    st.integers(0, 2**32), st.tuples(KINDS, KINDS), SOME, st.lists(st.integers(0, 15), max_size=40), st.booleans(),
    ANY_STOPS, PLACES,
)  # fmt: skip
def test_any_tokens(seed, kinds, some, order, reasoning, stops, places):
    """order: of the few tokens in `some`. places: where in the content, or in the thoughts, more stop strings stand."""
    vocabulary = any_vocabulary(seed, dict(zip(MARKS, kinds, strict=True)))
    ids = [token if isinstance(token, int) else vocabulary.ids.get(token, -1) for token in some]
    tokens = [ids[i % len(ids)] for i in order]
    texts = vocabulary.text(tokens, reasoning)
    for thoughts, begin, length in places:
        text = texts[not thoughts]
        stops = stops + ([text[begin % len(text) :][:length]] if text else [])
    vocabulary.assert_same(tokens, reasoning, stops)


# What a model said, marks and all.
RECORDED = [
    THINK_OPEN,
    "\nOkay, the user asks for 你好 in Python… 🤔 I'll write `print`.\n\nEND of thought: naïve, but fine.\n".encode(),
    THINK_CLOSE,
    "\n\n    你好 👩‍👩‍👧!\r\n\n```python\nif x:\n\tprint('Ünïcode: 🇩🇪')  # ✓\n```\n\n- EN, E, ENDE\n\n".encode(),
]  # fmt: skip
SHORT = [THINK_OPEN, "\né.\n".encode(), THINK_CLOSE, "\n\n 😀aaab".encode()]
LONGEST = 16


@cache
def parts_of(recorded: tuple[bytes, ...]) -> Vocabulary:
    """With every part of the answer as a token, so that it can be cut anywhere."""
    texts = [text for text in recorded if text not in MARKS]
    parts = {
        text[begin : begin + length]
        for text in texts
        for begin in range(len(text))
        for length in range(2, min(LONGEST, len(text) - begin) + 1)
    }
    tokens = [(text, NORMAL) for text in [*BYTES, *sorted(parts)]]
    return Vocabulary([*tokens, *((mark, USER_DEFINED) for mark in MARKS)])


def cut(text: bytes, places: set[int]) -> list[bytes]:
    ends = sorted({*places, len(text)} - {0})
    return [text[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


@pytest.mark.parametrize(
    ("stops", "content"),
    [
        ([], " 😀aaab"),
        (["aab"], " 😀a"),  # after one that began too early
        (["aaab", "b", "ab"], " 😀"),  # all end at once
        (["é", "aaaba", "😀😀"], " 😀aaab"),  # of thoughts, and held to the end
        (["\n"], " 😀aaab"),  # beside a mark
        ([" "], ""),
    ],
)
def test_every_cutting_of_a_short_answer(stops, content):
    vocabulary = parts_of(tuple(SHORT))
    first, second = [text for text in SHORT if text not in MARKS]
    thoughts = [cut(first, {i for i in range(1, len(first)) if bits >> i & 1}) for bits in range(0, 2 ** len(first), 2)]
    answers = [
        cut(second, {i for i in range(1, len(second)) if bits >> i & 1}) for bits in range(0, 2 ** len(second), 2)
    ]
    assert len(thoughts) * len(answers) == 2 ** (len(first) + len(second) - 2)
    opened, closed = map(vocabulary.ids.get, MARKS)
    for thought in thoughts:
        for answer in answers if thought is thoughts[-1] else answers[:: len(thoughts)]:
            tokens = [opened, *map(vocabulary.ids.get, thought), closed, *map(vocabulary.ids.get, answer)]
            assert vocabulary.text(tokens, False, stops) == ("é.", content), (thought, answer)


def test_every_cutting_in_three_where_tags_are_text():
    said = b"".join(SHORT)
    for first in range(1, len(said)):
        for second in range(first, len(said)):
            parts = list(filter(None, (said[:first], said[first:second], said[second:])))
            vocabulary = Vocabulary([(part, NORMAL) for part in dict.fromkeys([*BYTES, *parts])])
            tokens = [vocabulary.ids[part] for part in parts]
            for stops, content in (([], " 😀aaab"), (["aab"], " 😀a"), (["</"], " 😀aaab")):
                assert vocabulary.text(tokens, False, stops) == ("é.", content), parts


@given(st.data())
def test_cuttings_of_a_recorded_answer(data):
    vocabulary = parts_of(tuple(RECORDED))
    tokens = []
    for text in RECORDED:
        cuts = {i for i in range(1, len(text)) if i % LONGEST == 0} if text not in MARKS else set()
        cuts |= data.draw(st.sets(st.integers(1, len(text) - 1), max_size=len(text))) if text not in MARKS else set()
        tokens += [vocabulary.ids[part] for part in cut(text, cuts)]
    thought, content = (text.decode() for text in RECORDED if text not in MARKS)
    thought, content = thought.strip(), content.removeprefix("\n\n")
    assert vocabulary.text(tokens, False) == (thought, content)
    assert vocabulary.text(tokens[1:], True) == (thought, content)
    begin = data.draw(st.integers(0, len(content) - 1))
    stop = content[begin : begin + data.draw(st.integers(1, 12))]
    assert vocabulary.text(tokens, False, [stop]) == (thought, content[: content.index(stop)])
    vocabulary.assert_same(tokens, False, [stop, "END"])


@pytest.fixture(scope="module")
def qwen() -> tuple[Vocabulary, tiktoken.Encoding]:
    """Qwen3's own vocabulary."""
    ranks = QWEN3.ranks
    tokens = [(text, NORMAL) for text, _ in sorted(ranks.items(), key=lambda item: item[1])]
    tokens += [(text.encode(), CONTROL if QWEN3.is_control(text) else USER_DEFINED) for text in QWEN3.added]
    vocabulary = Vocabulary(tokens)
    assert vocabulary.ids[b"</think>"] == QWEN3.added["</think>"]
    encoding = QWEN3.tiktoken()
    return vocabulary, encoding


def test_answers_in_qwens_tokens(qwen, seed):
    """Real text in many scripts, with marks, control tokens and any ids in between."""
    vocabulary, encoding = qwen
    rng = random.Random(seed)
    text = (ROOT / "tests" / "data" / "real-text.txt").read_text() + "".join(
        chr(code) for code in rng.choices([*range(0x20, 0xD800), *range(0x1F300, 0x1F6FF)], k=4000)
    )
    for _ in range(150):
        tokens = []
        for _ in range(rng.randint(1, 8)):
            begin = rng.randrange(len(text))
            tokens += encoding.encode(text[begin : begin + rng.randint(1, 80)], disallowed_special=())
            tokens.append(rng.choice([*QWEN3.added.values(), *2 * [QWEN3.added["<think>"], QWEN3.added["</think>"]]]))
            tokens += rng.choices([rng.randrange(151_936), *ODD, 198, 271, 220], k=rng.randint(0, 3))
        reasoning = rng.random() < 0.5
        stops = [rng.choice(["END", "\n\n", "。", ". "])]
        for shown in vocabulary.text(tokens, reasoning):
            if shown:
                begin = rng.randrange(len(shown))
                stops.append(shown[begin : begin + rng.randint(1, 30)])
        for some in ([], stops[:1], stops[1:]):
            vocabulary.assert_same(tokens, reasoning, some)
