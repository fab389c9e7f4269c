"""A grammar along one answer: from when it counts, and what may come next."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from qwen3edge.grammar.vocabulary import Vocabulary, allow, require_sound
from qwen3edge.sampling import MAX_DRAFT_TOKENS

if TYPE_CHECKING:
    import llguidance
    from numpy.typing import NDArray

_MOST_BREAKS = 2


class Place(enum.Enum):
    """Where in an answer the next token stands."""

    BEGIN = enum.auto()  # the model may think, or answer at once
    THOUGHTS = enum.auto()
    CLOSED = enum.auto()  # behind the thoughts, where line breaks belong to neither part
    ANSWER = enum.auto()
    FREE = enum.auto()  # where a grammar is of calls alone
    CALL = enum.auto()


class Follower(ABC):
    """Called before each token with those since its last call, as the option `mask` is."""

    def __init__(self, vocabulary: Vocabulary, matcher: llguidance.LLMatcher, place: Place) -> None:
        """place: where the answer begins."""
        self._vocabulary = vocabulary
        self._matcher: llguidance.LLMatcher | None = matcher
        self._mask = np.zeros(len(vocabulary.thoughts), np.uint32)
        self._breaks = 0
        self._seen: deque[tuple[Place, int, bool]] = deque(maxlen=MAX_DRAFT_TOKENS)
        self._place = place

    @abstractmethod
    def __call__(self, tokens: list[int]) -> NDArray[np.uint32] | None:
        """uint32 [vocabulary / 32], valid until the next call. Raises GrammarError where the matcher gave up."""

    def rewind(self, count: int) -> None:
        """The last `count` tokens were not picked after all; at most as many as a step drafts."""
        consumed = 0
        for _ in range(count):
            self._place, self._breaks, of_grammar = self._seen.pop()
            consumed += of_grammar
        if consumed and self._matcher is not None:
            self._matcher.rollback(consumed)

    def release(self) -> None:
        """Gives the grammar's memory back: the answer has ended."""
        self._matcher = None

    @abstractmethod
    def _advance(self, token: int) -> bool:
        """Whether the token is the grammar's, which has read it then."""

    def _step(self, token: int) -> None:
        before = (self._place, self._breaks)
        self._seen.append((*before, self._advance(token)))

    def _consume(self, token: int) -> llguidance.LLMatcher:
        """The matcher, which has read it."""
        assert self._matcher is not None, "a token of an answer that has ended"
        self._matcher.consume_token(token)
        require_sound(self._matcher)
        return self._matcher

    def _of_grammar(self) -> NDArray[np.uint32]:
        """What the grammar allows next."""
        assert self._matcher is not None, "a step of an answer that has ended"
        self._vocabulary.fill(self._matcher, self._mask)
        return self._mask


class AnswerFollower(Follower):
    """The grammar counts behind the thoughts, whoever ended them, or at once where there are none."""

    def __init__(
        self, vocabulary: Vocabulary, matcher: llguidance.LLMatcher, *, thinking: bool, reasoning: bool
    ) -> None:
        """thinking: the model may open thoughts; reasoning: the prompt has."""
        may_think = thinking and vocabulary.think is not None
        super().__init__(
            vocabulary, matcher, Place.THOUGHTS if reasoning else Place.BEGIN if may_think else Place.ANSWER
        )

    def __call__(self, tokens: list[int]) -> NDArray[np.uint32]:
        for token in tokens:
            self._step(token)
        if self._place is Place.THOUGHTS:
            return self._vocabulary.thoughts
        mask = self._of_grammar()
        if self._place is Place.BEGIN and self._vocabulary.think is not None:
            allow(mask, [self._vocabulary.think])
        elif self._place is Place.CLOSED:
            allow(mask, self._breaks_left())
        return mask

    def _advance(self, token: int) -> bool:
        if self._place is Place.BEGIN and token == self._vocabulary.think:
            self._place = Place.THOUGHTS
        elif self._place is Place.THOUGHTS:
            if token == self._vocabulary.close:
                self._place = Place.CLOSED
        elif self._place is Place.CLOSED and token in self._breaks_left():
            self._breaks += self._vocabulary.breaks[token]
        else:
            self._place = Place.ANSWER
            self._consume(token)
            return True
        return False

    def _breaks_left(self) -> list[int]:
        return [token for token, count in self._vocabulary.breaks.items() if self._breaks + count <= _MOST_BREAKS]
