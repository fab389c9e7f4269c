"""The body of a completion, and the request that it makes."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from qwen3edge.errors import shown
from qwen3edge.generation.model import Model
from qwen3edge.generation.options import Options
from qwen3edge.server.errors import BodyError
from qwen3edge.server.openai.sampled_body import SampledBody
from qwen3edge.server.openai.stream_options import StreamOptions
from qwen3edge.server.parameters import Listed
from qwen3edge.server.request import AnswerRequest
from qwen3edge.text.fill_in import middle_ends, middle_tokens

MOST_TOP = 5
"""Of the most probable tokens beside each: OpenAI's bound. Those of a whole prompt would take much memory."""

DEFAULT_TOKENS = 16
"""OpenAI's max_tokens."""


class CompletionBody(SampledBody):
    """Of /v1/completions. A prompt of strings or of arrays of tokens is several prompts."""

    model: str | None = None
    prompt: str | Listed[str] | Listed[int] | Listed[Listed[int]]
    suffix: str | None = None
    echo: bool = False
    max_tokens: int = Field(DEFAULT_TOKENS, ge=0)
    n: int = 1
    best_of: int | None = None
    logprobs: int | None = Field(None, ge=0, le=MOST_TOP)
    stream: bool = False
    stream_options: StreamOptions | None = None

    @property
    def prompts(self) -> Sequence[str | list[int]]:
        """One or several. Raises BodyError for none."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if not self.prompt:
            raise BodyError("prompt: expected at least one, or one token, found an empty list", "prompt")
        if isinstance(self.prompt[0], int):
            return [self.prompt]
        return self.prompt

    def request(self) -> AnswerRequest:
        """Raises RequestError, BodyError. With a suffix, see `middle`."""
        if self.best_of not in (None, self.n):
            raise BodyError(f"best_of: expected n, {self.n}, or none, found {shown(self.best_of)}", "best_of")
        if self.suffix is not None and (self.echo or not isinstance(self.prompt, str)):
            raise BodyError("suffix: expected one text as prompt beside it, and no echo", "suffix")
        asks = self.logprobs is not None
        options: Options = {
            **self.sampling(),
            "raw": True,
            "verbatim": True,
            "max_tokens": max(self.max_tokens, 1),  # of 0 tokens one is computed and not told
            "logprobs": asks,
            "top_logprobs": self.logprobs or 0,
            "prompt_logprobs": asks and self.echo,
        }
        first, *others = self.prompts
        return AnswerRequest(self.model, first, options, self.n, others=others)

    def middle(self, model: Model) -> AnswerRequest:
        """As `request`, for what stands between prompt and suffix. Raises UnsupportedModelError for a model that cannot
        fill in.
        """
        asked = self.request()
        tokens = middle_tokens(model.tokenizer, self.prompt, self.suffix, model.plan.context)
        ends = [*(self.stop_token_ids or ()), *middle_ends(model.tokenizer)]
        return AnswerRequest(self.model, tokens, {**asked.options, "stop_token_ids": ends}, self.n)
