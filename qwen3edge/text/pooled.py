"""Texts whose last token stands for the whole: what Qwen3-Embedding and Qwen3-Reranker were trained on."""

from __future__ import annotations

from qwen3edge import checks
from qwen3edge.errors import UnsupportedModelError
from qwen3edge.text.plain import plain_tokens, too_long
from qwen3edge.text.tokenizer import Tokenizer

END = "<|endoftext|>"
"""The token whose state is a text's embedding."""

RERANK_INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
"""Qwen3-Reranker's own task."""

_PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
_SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


def embedding_tokens(tokenizer: Tokenizer, name: str, text: object, instruction: str | None, limit: int) -> list[int]:
    """A document, or with an instruction a query, and END, which the text may have itself. name: of the argument.

    Raises ContextError for more than `limit` tokens, RequestError, UnsupportedModelError.
    """
    end = _end(tokenizer)
    found = checks.text(name, text).removesuffix(END)
    asked = found if instruction is None else f"Instruct: {instruction}\nQuery:{found}"
    return _within(name, [*tokenizer.prefix, *plain_tokens(tokenizer, name, asked, limit), end], limit)


def ended_tokens(tokenizer: Tokenizer, name: str, tokens: list[int], limit: int) -> list[int]:
    """`embedding_tokens` of a text that is tokens already. Raises ContextError, UnsupportedModelError."""
    end = _end(tokenizer)
    return _within(name, tokens if tokens[-1:] == [end] else [*tokens, end], limit)


def _end(tokenizer: Tokenizer) -> int:
    end = tokenizer.token_id(END)
    if end is None:
        raise UnsupportedModelError(f"embeddings: expected {END} in the vocabulary, found none")
    return end


class RerankPrompts:
    """Of one query: questions that the model answers with yes or no."""

    def __init__(self, tokenizer: Tokenizer, query: str, instruction: str, limit: int) -> None:
        """limit: tokens of a prompt. Raises ContextError for an instruction or a query that leaves no room for any
        document.
        """
        self._tokenizer, self._limit = tokenizer, limit
        self._asked = f"<Instruct>: {instruction}\n<Query>: {query}\n<Document>: "
        self._prefix, self._suffix = (tokenizer.encode(part, allow_special=True) for part in (_PREFIX, _SUFFIX))
        for name, begin in (("instruction", f"<Instruct>: {instruction}\n"), ("query", self._asked)):
            self._prompt(name, begin)

    def tokens(self, name: str, document: object) -> list[int]:
        """For a document. Raises as `embedding_tokens`."""
        return self._prompt(name, self._asked + checks.text(name, document))

    def _prompt(self, name: str, text: str) -> list[int]:
        asked = plain_tokens(self._tokenizer, name, text, self._limit)
        return _within(name, [*self._prefix, *asked, *self._suffix], self._limit)


def yes_and_no(tokenizer: Tokenizer) -> tuple[int, int]:
    """Their ids. Raises UnsupportedModelError for a vocabulary that has no tokens for them."""
    found = [tokenizer.encode(word) for word in ("yes", "no")]
    if any(len(ids) != 1 for ids in found):
        raise UnsupportedModelError(
            "rerank: expected 'yes' and 'no' as tokens of the vocabulary, found several for one"
        )
    return found[0][0], found[1][0]


def _within(name: str, tokens: list[int], limit: int) -> list[int]:
    if len(tokens) > limit:
        raise too_long(name, len(tokens), limit, str(len(tokens)))
    return tokens
