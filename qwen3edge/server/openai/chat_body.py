"""The body of a chat, and the request that it makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field
from pydantic.config import JsonDict

from qwen3edge.errors import shown
from qwen3edge.generation.options import Options
from qwen3edge.server.errors import BodyError
from qwen3edge.server.message_keys import require_no_effect
from qwen3edge.server.openai.sampled_body import SampledBody
from qwen3edge.server.openai.stream_options import StreamOptions
from qwen3edge.server.parameters import MOST_MESSAGES, MOST_TOOLS, Body, Ignored, Listed
from qwen3edge.server.request import EFFORTS, AnswerRequest
from qwen3edge.server.tools import own_tools

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]


_TEXT: JsonDict = {
    "type": "object",
    "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
    "required": ["type", "text"],
}
_MESSAGE: JsonDict = {
    "type": "object",
    "properties": {
        "role": {"enum": ["system", "developer", "user", "assistant", "tool"]},
        "content": {"anyOf": [{"type": "string"}, {"type": "array", "items": _TEXT}]},
        "reasoning_content": {"type": "string"},
        "tool_calls": {"type": "array", "items": {"type": "object"}},
        "tool_call_id": {"type": "string"},
    },
    "required": ["role"],
}
"""For the document: what a message is is checked when the prompt is made of it."""


class ChatStreamOptions(StreamOptions):
    """continuous_usage_stats: with include_usage, each chunk has what was used so far, as vLLM's have."""

    continuous_usage_stats: bool = False


class JsonSchema(Body):
    """What `response_format` names. An answer is always held to it."""

    name: Ignored = None
    description: Ignored = None
    strict: Ignored = None
    form: dict[str, Any] = Field(alias="schema")


class ResponseFormat(Body):
    """What an answer must be."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    def options(self) -> Options:
        """Of `generate`. Raises BodyError."""
        if self.type == "text":
            return {}
        if self.type == "json_object":
            return {"json_schema": {"type": "object"}}
        if self.json_schema is None:
            raise BodyError("response_format: expected json_schema beside this type, found none", "response_format")
        return {"json_schema": self.json_schema.form}


class Conversation(Body):
    """What a prompt is made of."""

    model: str | None = None
    messages: Listed[dict[str, Any]] = Field(max_length=MOST_MESSAGES, json_schema_extra={"items": _MESSAGE})
    tools: Listed[dict[str, Any]] | None = Field(None, max_length=MOST_TOOLS)
    reasoning_effort: Effort | None = None
    enable_thinking: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    def prompt_request(self) -> AnswerRequest:
        """A request with all that its prompt depends on. Raises RequestError, BodyError."""
        require_no_effect(self.messages)
        variables = dict(self.chat_template_kwargs or {})
        thinking = variables.pop("enable_thinking", self.enable_thinking)
        if thinking is not None and not isinstance(thinking, bool):
            raise BodyError(
                f"chat_template_kwargs.enable_thinking: expected true or false, found {shown(thinking)}",
                "chat_template_kwargs",
            )
        options: Options = {"thinking": thinking, "template_variables": variables or None}
        wish = None if self.reasoning_effort is None else EFFORTS[self.reasoning_effort]
        return AnswerRequest(self.model, self.messages, options, wish=wish).with_tools(own_tools(self.tools)[0], None)


class ChatBody(SampledBody, Conversation):
    """Of /v1/chat/completions."""

    absent: ClassVar[Mapping[str, str]] = {"functions": "tools has them", "function_call": "tool_choice says it"}

    stream: bool = False
    stream_options: ChatStreamOptions | None = None
    n: int = 1
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    thinking_budget: int | None = None
    thinking_budget_message: str | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool = True
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    metadata: Ignored = None
    store: Ignored = None
    service_tier: Ignored = None
    safety_identifier: Ignored = None
    prompt_cache_key: Ignored = None
    prompt_cache_retention: Ignored = None
    cache_prompt: Ignored = None
    prediction: Ignored = None

    def request(self) -> AnswerRequest:
        """Raises RequestError, BodyError."""
        asked = self.prompt_request()
        options: Options = {
            **asked.options,
            **self.sampling(),
            **(self.response_format.options() if self.response_format else {}),
            **{name: getattr(self, name) for name in ("logprobs", "top_logprobs")},  # type: ignore[typeddict-item]
            "thinking_budget": self.thinking_budget,
            "thinking_budget_message": self.thinking_budget_message,
            "max_tokens": self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens,
        }
        return AnswerRequest(
            self.model, self.messages, options, self.n, asked.wish, one_call=not self.parallel_tool_calls
        ).with_tools(options.get("tools"), self.tool_choice)
