"""A grammar of tool calls along an answer that is free besides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qwen3edge.grammar.follower import Follower, Place
from qwen3edge.grammar.vocabulary import Vocabulary

if TYPE_CHECKING:
    import llguidance
    import numpy as np
    from numpy.typing import NDArray


class CallFollower(Follower):
    """The grammar counts from the token of each call until it accepts what came of the call, also within thoughts."""

    def __init__(self, vocabulary: Vocabulary, matcher: llguidance.LLMatcher) -> None:
        """vocabulary: with a token that begins calls."""
        super().__init__(vocabulary, matcher, Place.FREE)

    def __call__(self, tokens: list[int]) -> NDArray[np.uint32] | None:
        """As of Follower; None where everything is allowed."""
        for token in tokens:
            self._step(token)
        return None if self._place is Place.FREE else self._of_grammar()

    def _advance(self, token: int) -> bool:
        if self._place is Place.FREE and token != self._vocabulary.call:
            return False
        self._place = Place.FREE if self._consume(token).is_accepting() else Place.CALL
        return True
