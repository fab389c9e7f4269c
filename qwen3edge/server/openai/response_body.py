"""The body of a response, and the request that it makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from qwen3edge.errors import shown
from qwen3edge.generation.options import Options
from qwen3edge.server.errors import BodyError
from qwen3edge.server.openai.chat_body import Effort
from qwen3edge.server.openai.response_input import messages_of
from qwen3edge.server.openai.sampled_body import SampledBody
from qwen3edge.server.openai.stream_options import StreamOptions
from qwen3edge.server.parameters import MOST_MESSAGES, MOST_TOOLS, Body, Ignored, Listed
from qwen3edge.server.request import EFFORTS, AnswerRequest
from qwen3edge.server.tools import own_tools

_KEEPS_NOTHING = "this server keeps no responses: send the whole conversation as input"
_LOGPROBS = "message.output_text.logprobs"

Summary = Literal["auto", "concise", "detailed"]
Include = Literal[
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "web_search_call.action.sources",
    "web_search_call.results",
]
"""All but the first are of what no response here has: thoughts are plain, and OpenAI's own tools are left out."""


class Reasoning(Body):
    """How much to think, and whether thoughts are told as their summary."""

    effort: Effort | None = None
    summary: Summary | None = None
    generate_summary: Summary | None = None


class Format(Body):
    """What the text must be. An answer is always held to a schema."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: Ignored = None
    description: Ignored = None
    strict: Ignored = None
    form: dict[str, Any] | None = Field(None, alias="schema")


class Text(Body):
    """Of the answer."""

    format: Format | None = None


class ResponsesBody(SampledBody):
    """Of /v1/responses."""

    absent: ClassVar[Mapping[str, str]] = {
        "previous_response_id": _KEEPS_NOTHING,
        "conversation": _KEEPS_NOTHING,
        "prompt": "this server keeps no prompts: send it as instructions and input",
    }

    model: str | None = None
    input: str | Annotated[Listed[dict[str, Any]], Field(max_length=MOST_MESSAGES)]
    instructions: str | None = None
    tools: Listed[dict[str, Any]] | None = Field(None, max_length=MOST_TOOLS)
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool = True
    reasoning: Reasoning | None = None
    thinking_budget: int | None = None
    text: Text | None = None
    max_output_tokens: int | None = None
    top_logprobs: int | None = None
    include: Listed[Include] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    background: Literal[False] = False
    truncation: Literal["disabled"] = "disabled"
    metadata: Ignored = None
    client_metadata: Ignored = None
    store: Ignored = None
    service_tier: Ignored = None
    safety_identifier: Ignored = None
    prompt_cache_key: Ignored = None
    prompt_cache_retention: Ignored = None
    max_tool_calls: Ignored = None

    @property
    def tells_summary(self) -> bool:
        """Whether thoughts stand where clients look for a summary of them."""
        asked = self.reasoning
        return asked is not None and (asked.summary is not None or asked.generate_summary is not None)

    @property
    def with_logprobs(self) -> bool:
        """Whether the text's tokens are told with their logarithms."""
        return bool(self.top_logprobs) or _LOGPROBS in (self.include or ())

    @property
    def functions(self) -> list[Mapping[str, Any]]:
        """The tools that the model may call, as they came: those that tool_choice allows. Raises BodyError."""
        found = own_tools(self.tools)[0]
        for each in found:
            if not isinstance(each.get("name"), str):
                raise BodyError(f"tools: expected functions with a name, found {shown(each)}", "tools")
        choice = self.tool_choice
        if not isinstance(choice, dict) or choice.get("type") != "allowed_tools":
            return found
        allowed = choice.get("tools")
        if not isinstance(allowed, list) or not all(isinstance(each, dict) for each in allowed):
            raise BodyError(f"tool_choice.tools: expected a list of tools, found {shown(allowed)}", "tool_choice")
        names = [each.get("name") for each in allowed]
        return [each for each in found if each["name"] in names]

    def request(self) -> AnswerRequest:
        """Raises RequestError, BodyError."""
        tools = [{"type": "function", "function": _function(each)} for each in self.functions]
        options: Options = {
            **self.sampling(),
            **(_format(self.text.format) if self.text and self.text.format else {}),
            "max_tokens": self.max_output_tokens,
            "thinking_budget": self.thinking_budget,
            "logprobs": self.with_logprobs,
            "top_logprobs": self.top_logprobs or 0,
        }
        effort = self.reasoning.effort if self.reasoning else None
        return AnswerRequest(
            self.model,
            messages_of(self.instructions, self.input),
            options,
            wish=None if effort is None else EFFORTS[effort],
            one_call=not self.parallel_tool_calls,
        ).with_tools(tools or None, _choice(self.tool_choice))


def _function(tool: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tool[name] for name in ("name", "description", "parameters", "strict") if tool.get(name) is not None}


def _choice(given: str | dict[str, Any] | None) -> object:
    """As chats have it."""
    if isinstance(given, dict) and given.get("type") == "function":
        return {"type": "function", "function": {"name": given.get("name")}}
    if isinstance(given, dict) and given.get("type") == "allowed_tools":
        return given.get("mode", "auto")
    return given


def _format(given: Format) -> Options:
    if given.type == "text":
        return {}
    if given.type == "json_object":
        return {"json_schema": {"type": "object"}}
    if given.form is None:
        raise BodyError("text.format: expected a schema beside this type, found none", "text.format")
    return {"json_schema": given.form}
