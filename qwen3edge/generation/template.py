"""The chat template of a model: messages in, the prompt's text out."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qwen3edge.generation import late
from qwen3edge.generation import messages as chat

if TYPE_CHECKING:
    import jinja2

    from qwen3edge.generation.sandbox import BoundedSandbox


class ChatTemplate:
    """A template, compiled when it is first rendered. It runs in a sandbox with bounds: see sandbox.py."""

    def __init__(self, source: str, named_tokens: Mapping[str, str] | None = None) -> None:
        """Reads nothing of the source: `render` does. named_tokens: variables such as `bos_token`."""
        self.source = source
        self._named_tokens = dict(named_tokens or {})

    @functools.cached_property
    def _compiled(self) -> tuple[BoundedSandbox, jinja2.Template]:
        environment = late.bounded_sandbox()
        return environment, environment.compile_bounded(self.source)

    @property
    def switches_thinking(self) -> bool:
        """Whether callers choose between thinking and answering directly (`enable_thinking`)."""
        return "enable_thinking" in self.source

    def render(
        self,
        messages: Sequence[chat.Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        thinking: bool | None = None,
        generate: bool = True,
        protect: Callable[[str], str] = str,
    ) -> str:
        """The prompt that these messages make.

        thinking: passed on as `enable_thinking`, None leaves the choice to the template. generate: open the assistant's
        turn. protect: applied to every text from outside, see `Tokenizer.protect`.
        Raises RequestError for messages of a wrong form, TemplateError if the template does not compile, refuses the
        messages or leaves its bounds.
        """
        variables: dict[str, Any] = {
            **self._named_tokens,
            "messages": chat.normalize(messages, protect),
            "tools": chat.normalize_tools(tools, protect),
            "add_generation_prompt": generate,
        }
        if thinking is not None:
            variables["enable_thinking"] = thinking
        environment, template = self._compiled
        return environment.render_bounded(template, variables)
