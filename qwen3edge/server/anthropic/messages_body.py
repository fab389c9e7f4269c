"""The bodies of Anthropic's endpoints, and the requests that they make."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from qwen3edge.generation.options import Options
from qwen3edge.server.anthropic.conversation import conversation, functions, require_no_edits
from qwen3edge.server.errors import BodyError
from qwen3edge.server.parameters import MOST_MESSAGES, MOST_TOOLS, Body, Ignored, Listed
from qwen3edge.server.request import EFFORTS, AnswerRequest, ThinkingWish


class Thinking(Body):
    """How much the model is to think. display: whether thoughts are sent."""

    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: int | None = Field(None, ge=0)
    display: Literal["summarized", "omitted"] | None = None


class ToolChoice(Body):
    """Whether the model is to call a tool. name: of the one, if type is "tool"."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None

    def option(self) -> str | dict[str, Any]:
        """Of `generate`. Raises BodyError."""
        if self.type != "tool":
            return "required" if self.type == "any" else self.type
        if self.name is None:
            raise BodyError("tool_choice: expected name beside this type, found none", "tool_choice.name")
        return {"type": "function", "function": {"name": self.name}}


class Format(Body):
    """What an answer must be."""

    type: Literal["json_schema"]
    form: dict[str, Any] = Field(alias="schema")


class OutputConfig(Body):
    """effort: of thinking, where it is adaptive."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: Format | None = None


class PromptBody(Body):
    """What a prompt is made of, and what does not change it. Of /v1/messages/count_tokens."""

    model: str | None = None
    messages: Listed[dict[str, Any]] = Field(max_length=MOST_MESSAGES)
    system: str | Listed[dict[str, Any]] | None = None
    tools: Listed[dict[str, Any]] | None = Field(None, max_length=MOST_TOOLS)
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: Format | None = None
    cache_control: Ignored = None
    context_management: Ignored = None
    speed: Ignored = None
    user_profile_id: Ignored = None
    workspace_id: Ignored = None

    def request(self) -> AnswerRequest:
        """Raises BodyError, RequestError."""
        require_no_edits(self.context_management)
        choice = self.tool_choice
        found = self.output_format or (self.output_config.format if self.output_config else None)
        options: Options = {} if found is None else {"json_schema": found.form}
        return AnswerRequest(
            self.model,
            conversation(self.system, self.messages),
            {**options, **self.sampling()},
            wish=self._wish(),
            one_call=choice is not None and bool(choice.disable_parallel_tool_use),
        ).with_tools(functions(self.tools)[0], None if choice is None else choice.option())

    def sampling(self) -> Options:
        """How the answer is made; a prompt alone has none."""
        return {}

    def _wish(self) -> ThinkingWish:
        """Without `thinking` there is none: clients that do not ask for thoughts leave no tokens for them."""
        thinking = self.thinking
        if thinking is None or thinking.type == "disabled":
            return ThinkingWish(False)
        if thinking.type == "enabled":
            if thinking.budget_tokens is None:
                raise BodyError("thinking: expected budget_tokens beside this type, found none", "thinking")
            return ThinkingWish(True, thinking.budget_tokens)
        effort = self.output_config.effort if self.output_config else None
        return EFFORTS["high" if effort in (None, "max") else effort]


class MessagesBody(PromptBody):
    """Of /v1/messages."""

    max_tokens: int
    stream: bool = False
    stop_sequences: Listed[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    metadata: Ignored = None
    service_tier: Ignored = None
    inference_geo: Ignored = None
    billing_policy: Ignored = None
    diagnostics: Ignored = None

    def sampling(self) -> Options:
        """With the least and the most that it may have."""
        return {
            "max_tokens": self.max_tokens,
            "stop": self.stop_sequences,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
        }

    @property
    def shows_thoughts(self) -> bool:
        """Whether they are sent."""
        return self.thinking is None or self.thinking.display != "omitted"
