"""How probable tokens were, as OpenAI's API says it."""

from __future__ import annotations

import codecs
import math
from collections.abc import Iterable
from typing import Any

from qwen3edge.generation.answer import TokenLogprob
from qwen3edge.text.tokenizer import Tokenizer

_LEAST = -9999.0
"""OpenAI's word for a token that cannot come; infinity is no JSON."""


def content_logprobs(tokenizer: Tokenizer, tokens: Iterable[TokenLogprob]) -> list[dict[str, Any]]:
    """Of tokens of the answer, in order; control tokens are left out."""
    return [
        {
            **_token(tokenizer, each.token, each.logprob),
            "top_logprobs": [_token(tokenizer, token, logprob) for token, logprob in each.top],
        }
        for each in tokens
        if not tokenizer.is_control(each.token)
    ]


def finite(logprob: float) -> float:
    """A token that was appended and not picked, as those that end thoughts at their budget, was sure to come."""
    return 0.0 if math.isnan(logprob) else max(logprob, _LEAST)


def _token(tokenizer: Tokenizer, token: int, logprob: float) -> dict[str, Any]:
    found = _bytes(tokenizer, token)
    return {"token": found.decode("utf-8", "replace"), "logprob": finite(logprob), "bytes": list(found)}


class SideBySide:
    """As completions say it: of each token its text, its logarithm, those of the most probable ones, and where in the
    answer's text it begins, in characters.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Of one answer."""
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._characters = 0

    def of_prompt(self, tokens: Iterable[TokenLogprob], start: int) -> dict[str, list[Any]]:
        """The prompt's from `start` on, in order. Nothing says how probable the first is."""
        found = self._lists(tokens, control_is_text=True)
        if start == 0:
            found["token_logprobs"][0] = found["top_logprobs"][0] = None
        return found

    def end_prompt(self) -> None:
        """What follows are the answer's."""
        self._characters += len(self._decoder.decode(b"", True))
        self._decoder.reset()

    def of_answer(self, tokens: Iterable[TokenLogprob]) -> dict[str, list[Any]]:
        """The answer's next ones, control tokens included, which have no text."""
        return self._lists(tokens, control_is_text=False)

    def _lists(self, tokens: Iterable[TokenLogprob], *, control_is_text: bool) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for each in tokens:
            name, logprob = self._name(each.token), finite(each.logprob)
            top = {name: logprob}
            for token, other in each.top:
                top.setdefault(self._name(token), finite(other))
            found["tokens"].append(name)
            found["token_logprobs"].append(logprob)
            found["top_logprobs"].append(top)
            found["text_offset"].append(self._characters)
            if control_is_text or not self._tokenizer.is_control(each.token):
                self._characters += len(self._decoder.decode(_bytes(self._tokenizer, each.token)))
        return found

    def _name(self, token: int) -> str:
        """The token's text; of one that is no whole characters OpenAI's word for its bytes."""
        found = _bytes(self._tokenizer, token)
        try:
            return found.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join([f"\\x{byte:02x}" for byte in found])


def _bytes(tokenizer: Tokenizer, token: int) -> bytes:
    return b"" if token >= tokenizer.vocabulary_size else tokenizer.token_bytes(token)
