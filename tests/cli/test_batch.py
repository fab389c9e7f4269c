"""Many prompts in this process: answers whose pieces are known, and lines that come in parts."""

import os
from collections import deque

import pytest

from qwen3edge.cli.batch import TextOutput, answer_all
from qwen3edge.cli.prompts import PromptFile, opened
from qwen3edge.errors import Qwen3EdgeError
from qwen3edge.generation.answer import TextChunk, Usage


class Scripted:
    """An answer with these pieces and this end; nothing is computed."""

    content, reasoning, thinking, finish_reason, cut_by = "", "", False, "stop", None
    tool_calls: tuple[()] = ()
    broken_calls: tuple[()] = ()
    usage = Usage(1, 0, 0, 0, 0.0, 0.0, 0.0, 0)

    def __init__(self, *pieces: str, error: Exception | None = None) -> None:
        self.pieces, self.error = deque(pieces), error
        self.closed = False

    def __next__(self) -> TextChunk:
        if self.pieces:
            return TextChunk(self.pieces.popleft())
        raise self.error or StopIteration

    def close(self) -> None:
        self.closed = True


def answered(tmp_path, answers, *, sequences: int):
    path = tmp_path / "prompts.txt"
    path.write_text("x\n" * len(answers))
    with opened(str(path)) as file:
        return answer_all(PromptFile(file, 100), lambda line, progress: answers[line.index], TextOutput(),
                          sequences=sequences, context=64)  # fmt: skip


@pytest.mark.parametrize("sequences", [1, 2, 3])
def test_an_answer_that_fails_in_its_middle(tmp_path, capsys, sequences):
    """By the engine, or by a disk that weights are streamed from."""
    answers = [
        Scripted("a", "b", error=Qwen3EdgeError("no more pages")),
        Scripted("c", "d", "e"),
        Scripted("f", error=OSError(5, "Input/output error", "m.q3e")),
        Scripted("g"),
    ]
    totals = answered(tmp_path, answers, sequences=sequences)
    assert (totals.answered, totals.failed) == (2, 2)
    shown = capsys.readouterr()
    assert shown.out == "ab\n\ncde\n\nf\n\ng\n"
    assert shown.err == "qwen3edge: line 1: no more pages\nqwen3edge: line 3: m.q3e: Input/output error\n"


def test_the_first_is_shown_as_it_comes(tmp_path, capsys):
    """And all that run are closed when one raises what is nobody's answer."""
    answers = [Scripted("a", "b", "c"), Scripted("d"), Scripted("e", error=KeyboardInterrupt()), Scripted("f")]
    with pytest.raises(KeyboardInterrupt):
        answered(tmp_path, answers, sequences=3)
    assert capsys.readouterr().out == "a\n"
    assert [answer.closed for answer in answers] == [True, False, True, True]  # the second has ended


def test_lines_that_come_in_parts():
    reader, writer = os.pipe()
    with open(reader, "rb", 0) as file:
        prompts = PromptFile(file, 8)

        def given(data: bytes) -> list[str | None]:
            os.write(writer, data)
            found = []
            while line := prompts.next(wait=False):
                found.append(line.text)
            return found

        assert given(b"on") == []
        assert given(b"e\r\n\ntwo\nth") == ["one", "two"]
        assert given(b"ree") == []
        assert given(b" is too long") == []
        assert given(b", so it is dropped\nfour\n") == [None, "four"]
        assert given(b"x" * 50_000) == []
        os.write(writer, b"\n\nsix")
        os.close(writer)
        rest = [prompts.next(wait=True), prompts.next(wait=True), prompts.next(wait=True)]
        assert [line and (line.index, line.number, line.text) for line in rest] == [(4, 6, None), (5, 8, "six"), None]
