"""The chat template of a model: messages in, the prompt's text out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from qwen3edge.generation import messages as chat
from qwen3edge.generation.sandbox import BoundedSandbox


class ChatTemplate:
    """A compiled template. It runs in a sandbox with bounds: see sandbox.py."""

    def __init__(self, source: str) -> None:
        """Raises TemplateError for a source that does not compile."""
        self.source = source
        self._environment = BoundedSandbox()
        self._template = self._environment.compile_bounded(source)

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
        Raises RequestError for messages of a wrong form, TemplateError if the template refuses them or leaves its
        bounds.
        """
        variables: dict[str, Any] = {
            "messages": chat.normalize(messages, protect),
            "tools": chat.normalize_tools(tools, protect),
            "add_generation_prompt": generate,
        }
        if thinking is not None:
            variables["enable_thinking"] = thinking
        return self._environment.render_bounded(self._template, variables)
