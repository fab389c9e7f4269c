"""The bodies of Ollama's chats and texts, and the requests that they make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from qwen3edge.errors import shown
from qwen3edge.generation.model import Model
from qwen3edge.server.errors import BodyError
from qwen3edge.server.message_keys import require_no_effect
from qwen3edge.server.ollama.options import PreparedBody
from qwen3edge.server.parameters import MOST_MESSAGES, MOST_TOOLS, Listed
from qwen3edge.server.request import AnswerRequest
from qwen3edge.server.tools import own_tools
from qwen3edge.text.fill_in import middle_ends, middle_tokens


class OllamaChatBody(PreparedBody):
    """Of /api/chat. Without messages it loads the model, or with keep_alive 0 unloads it."""

    messages: Listed[dict[str, Any]] = Field([], max_length=MOST_MESSAGES)
    tools: Listed[dict[str, Any]] | None = Field(None, max_length=MOST_TOOLS)

    def request(self) -> AnswerRequest:
        """Raises BodyError, RequestError."""
        require_no_effect(self.messages)
        messages = [_message(message) for message in self.messages]
        return AnswerRequest(
            self.model, messages, self.generation(), wish=self.wish(), context=self.limit
        ).with_tools(own_tools(self.tools)[0], None)  # fmt: skip


class GenerateBody(PreparedBody):
    """Of /api/generate. Without a prompt as above. raw: the prompt is all that the model gets. suffix: the answer is
    what stands before it.
    """

    prompt: str = ""
    suffix: str | None = None
    system: str | None = None
    raw: bool = False
    images: Listed[str] | None = None

    def request(self) -> AnswerRequest:
        """Raises BodyError, RequestError."""
        if self.images:
            found = shown(type(self.images))
            raise BodyError(f"images: expected texts alone, which these models read, found {found}", "images")
        if self.raw or self.suffix:
            if self.system:
                name = "raw" if self.raw else "suffix"
                raise BodyError(f"system: expected none beside {name}, which no template puts it into", "system")
            return AnswerRequest(self.model, self.prompt, {**self.generation(), "raw": True}, context=self.limit)
        system = [{"role": "system", "content": self.system}] if self.system else []
        messages = [*system, {"role": "user", "content": self.prompt}]
        return AnswerRequest(self.model, messages, self.generation(), wish=self.wish(), context=self.limit)

    def middle(self, model: Model) -> AnswerRequest:
        """As `request`, for what stands between prompt and suffix. Raises UnsupportedModelError for a model that cannot
        fill in.
        """
        asked = self.request()
        tokens = middle_tokens(model.tokenizer, self.prompt, self.suffix, model.plan.context)
        options = {**asked.options, "stop_token_ids": middle_ends(model.tokenizer)}
        return AnswerRequest(self.model, tokens, options, context=self.limit)  # type: ignore[arg-type]


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    """A result names its tool in `tool_name`; what says nothing may leave out its content."""
    content, name = message.get("content"), message.get("tool_name")
    found = {**message, "content": "" if content is None else content}
    return found if name is None else {**found, "name": name}
