"""Made-up tool calls in an answer's tokens, cut anywhere, against what was made up and against Python's json module."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3edge import _core
from tests.generation import fakes
from tests.generation.fakes import CALL, CALLED
from tests.real_tokenizer import QWEN3
from tests.reference.byte_alphabet import BYTE_TO_CHAR, from_bytes
from tests.reference.tool_calls import (
    CLOSE,
    Call,
    any_call,
    as_json,
    as_read,
    as_xml,
    declared,
    ends_early,
    read_json,
)  # fmt: skip
from tests.reference.tool_calls import OPEN as TAG
from tests.text.answers import HELLO, IDS, MARKED, PLAIN, Outcome, answer, said


@dataclass
class Answer:
    parts: list[str]  # each mark is one of them
    content: str
    calls: list[Call]
    tools: _core.Tools

    @property
    def text(self) -> str:
        return "".join(self.parts)


def any_answer(rng: random.Random) -> Answer:
    """Texts, and calls in one form."""
    xml = rng.random() < 0.5
    calls = [any_call(rng) for _ in range(rng.randint(1, 3))]
    calls = [call for call in calls if not (xml and ends_early(call))] or [Call("f", {})]
    tools = declared(calls)
    made = Answer([], "", [as_read(call, tools) for call in calls] if xml else calls, tools)
    gap = ""
    for call in calls:
        words = rng.choice(
            ["", "", "Let me look.", "a < b {", "Look at </thin and <tool", "`if x:\n\tpass`", "中 👩‍👩‍👧 é"]
        )
        blanks = rng.choice(["", "\n", "\n\n", " \n"])
        if words:
            made.content += gap + words
            gap = blanks
        made.parts += [words + blanks, TAG, as_xml(call) if xml else as_json(call, rng), CLOSE, rng.choice(["", "\n"])]
    return made


@pytest.mark.parametrize("part", range(10))
def test_made_up_calls_at_every_byte(part, seed):
    """500 answers; in two pieces, cut at every byte, and byte by byte, with the marks as text."""
    rng = random.Random(seed + part)
    for _ in range(50):
        made = any_answer(rng)
        data = made.text.encode()
        whole = said(PLAIN, fakes.ids(data), tools=made.tools)
        assert (whole.content, whole.read, whole.thoughts, whole.problems) == (made.content, made.calls, "", []), made
        pieces = [piece for at in range(1, len(data)) for piece in (data[:at], data[at:])]
        known = {bytes([byte]): i for i, byte in enumerate(BYTE_TO_CHAR)}
        for piece in (data, *pieces):
            known.setdefault(piece, len(known))
        bpe = _core.Bpe([from_bytes(piece) for piece in known], [1] * len(known), [])
        assert said(bpe, [known[data]], tools=made.tools) == whole
        for at in range(1, len(data)):
            assert said(bpe, [known[data[:at]], known[data[at:]]], tools=made.tools) == whole, (made, at)


@pytest.fixture(scope="module")
def qwen() -> tuple[_core.Bpe, tiktoken.Encoding]:
    """Qwen3's own vocabulary."""
    ranks = QWEN3.ranks
    tokens = [from_bytes(text) for text, _ in sorted(ranks.items(), key=lambda item: item[1])]
    kinds = [1] * len(tokens) + [3 if QWEN3.is_control(name) else 4 for name in QWEN3.added]
    encoding = QWEN3.tiktoken()
    return _core.Bpe([*tokens, *QWEN3.added], kinds, []), encoding


@pytest.mark.parametrize("special", ["all", set()], ids=["tokens", "text"])
def test_made_up_calls_in_qwens_tokens(qwen, seed, special):
    """500 answers, token by token, and cut after any of them. special: what the marks' names in arguments are."""
    bpe, encoding = qwen
    rng = random.Random(seed)
    for _ in range(500):
        made = any_answer(rng)
        tokens = []
        for part in made.parts:
            mark = part in (TAG, CLOSE)
            tokens += encoding.encode(part, allowed_special="all" if mark else special, disallowed_special=())
        text = _core.AnswerText(bpe, tools=made.tools)
        whole, states = Outcome(), []
        for token in tokens:
            whole.add(text.push(token))
            states.append((whole.content, [list(call) for call in whole.calls]))
        whole.add(text.finish())
        assert (whole.content, whole.read, whole.problems) == (made.content, made.calls, []), made
        for end, (content, calls) in enumerate(states, 1):
            cut = said(bpe, tokens[:end], tools=made.tools, cut=True)
            assert cut.content.startswith(content) and not cut.problems
            for (name, arguments, state), found in zip(calls, cut.calls, strict=True):
                assert (found[0], found[2]) == (name, state) and found[1].startswith(arguments)


KEYS = st.sampled_from(["name", "arguments", "id", "n\u00e4me"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-99, 99)
    | st.sampled_from(["", "f", "{}", "null", '{"a": "}"}', "[1]", CLOSE]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "name"]), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=1000)
@given(
    st.lists(st.tuples(KEYS, VALUES), max_size=4), st.booleans(), st.integers(0, 200),
    st.text(st.sampled_from('{}[]",:\\ \nx'), max_size=2), st.integers(0, 2), st.booleans(),
)  # fmt: skip
def test_calls_as_python_reads_them(pairs, damaged, at, put, left_out, ascii_only):
    """Keys that are missing, twice, of a wrong kind or in another order; and damaged texts, which stay content."""
    body = (
        "{"
        + ", ".join(f"{json.dumps(key, ensure_ascii=ascii_only)}: {json.dumps(value)}" for key, value in pairs)
        + "}"
    )
    if damaged:
        at %= len(body)
        body = body[:at] + put + body[at + left_out :]
    expected = read_json(body)
    found = said(MARKED, [CALL, *fakes.ids(body), CALLED])
    assert found.read == ([] if expected is None else [expected]), body
    assert found.content == ("" if expected else TAG + body + CLOSE)
    assert len(found.problems) == (expected is None)


PARTS = [*IDS, *'{}"', "\n", "x", HELLO, '"name":', "<function=f>", "<parameter=x>", "</parameter>", "</function>"]


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PARTS), max_size=12), st.booleans(), st.booleans())
def test_any_marks(parts, reasoning, cut):
    """Each event has its place, and what is announced as arguments is an object."""
    text = "".join(parts)
    for way in ("tokens", "text"):
        found = answer(way, text, reasoning=reasoning, cut=cut)
        assert all(isinstance(call.arguments, dict) for call in found.read)
