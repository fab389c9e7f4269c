"""The grammars of a model's answers: made when the first is asked for, if there is memory for them."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from qwen3edge.errors import RequestError
from qwen3edge.grammar.definition import Definition
from qwen3edge.runtime.fork_lock import ForkLock
from qwen3edge.runtime.plan import MemoryPlan
from qwen3edge.runtime.program import grammar_bytes
from qwen3edge.text.prompt import Prompt
from qwen3edge.text.reasoning import THINK_CLOSE
from qwen3edge.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from qwen3edge.grammar.follower import Follower
    from qwen3edge.grammar.vocabulary import Vocabulary


class Grammars:
    """Of one model."""

    def __init__(self, tokenizer: Tokenizer, stop_tokens: Collection[int], plan: MemoryPlan | None = None) -> None:
        """plan: None where its budget does not count this process's memory."""
        self._tokenizer, self._stop_tokens, self._plan = tokenizer, stop_tokens, plan
        self._vocabulary: Vocabulary | None = None
        self._making = ForkLock()

    def follower(self, definition: Definition, prompt: Prompt) -> Follower:
        """For one answer to a prompt. Raises MissingExtraError, MemoryBudgetError, RequestError for a grammar that is
        none, or on a model that reads no texts.
        """
        with self._making:
            if self._vocabulary is None:
                self._tokenizer.require_encoding()
                self._require_memory()
            from qwen3edge.grammar import call_follower, follower, vocabulary  # noqa: PLC0415

            if self._vocabulary is None:
                self._vocabulary = vocabulary.Vocabulary(self._tokenizer, self._stop_tokens)
        matcher = self._vocabulary.matcher(definition)
        if definition.within_calls:
            return call_follower.CallFollower(self._vocabulary, matcher)
        thinking, reasoning = prompt.thinking, prompt.reasoning
        if reasoning and self._vocabulary.close is None:
            raise RequestError(
                f"expected {THINK_CLOSE} in the vocabulary, behind which an answer's form counts, found none: the "
                "prompt opens thoughts (thinking=False, if the template has the switch)"
            )
        return follower.AnswerFollower(self._vocabulary, matcher, thinking=thinking, reasoning=reasoning)

    def _require_memory(self) -> None:
        plan = self._plan
        if plan is None or plan.grammars:
            return
        needed = grammar_bytes(self._tokenizer.vocabulary_size, plan.sequences)
        plan.require_left(needed, "grammars", "load with grammars=True, which plans for them, or with more memory")
