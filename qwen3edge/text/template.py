"""The chat template of a model: messages in, the prompt's text out.

The core runs the syntax tree that convert stored beside the template, jinja2 what has none.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qwen3edge import _core
from qwen3edge.errors import UnsupportedModelError
from qwen3edge.templates.given import GivenTemplate
from qwen3edge.text import messages as chat

if TYPE_CHECKING:
    import jinja2

    from qwen3edge.templates.sandbox import BoundedSandbox


_TREE = "qwen3edge.chat_template.tree"
_RESERVED = ("messages", "tools", "add_generation_prompt", "enable_thinking")


def stored_tree(file: _core.ModelFile) -> _core.TemplateTree | None:
    """The syntax tree of a file's chat template; None for none that this version runs. Raises FileFormatError."""
    if _TREE not in file:
        return None
    try:
        return _core.TemplateTree.read(file)
    except UnsupportedModelError:  # of a later version
        return None


class ChatTemplate:
    """A template, within bounds: csrc/template/limits.h, or templates/sandbox.py where jinja2 compiles it, when it is
    first rendered.
    """

    def __init__(
        self,
        source: str,
        named_tokens: Mapping[str, str] | None = None,
        origin: str = "",
        tree: _core.TemplateTree | None = None,
    ) -> None:
        """Reads nothing of the source: `render` does. named_tokens: variables such as `bos_token`. tree: of it."""
        self.source, self._origin, self._tree = source, origin, tree
        self._named_tokens = dict(named_tokens or {})
        self.before_fallback: Callable[[], None] = lambda: None
        """Called when the core cannot go on with a template that it runs otherwise, before jinja2 does; may raise."""

    @classmethod
    def given(cls, template: GivenTemplate, named_tokens: Mapping[str, str] | None = None) -> ChatTemplate:
        """One that a caller gives. Raises TemplateError, which names its origin, if it does not compile."""
        made = cls(template.source, named_tokens, template.origin)
        _ = made._compiled
        return made

    @functools.cached_property
    def _compiled(self) -> tuple[BoundedSandbox, jinja2.Template]:
        if self.in_core:
            self.before_fallback()
        from qwen3edge.templates.sandbox import BoundedSandbox  # noqa: PLC0415

        environment = BoundedSandbox()
        return environment, environment.compile_bounded(self.source, self._origin)

    @property
    def in_core(self) -> bool:
        """Whether the core runs it, and jinja2 only what comes to be beyond the core."""
        return self._tree is not None

    @property
    def switches_thinking(self) -> bool:
        """Whether callers choose between thinking and answering directly (`enable_thinking`)."""
        return "enable_thinking" in self.source

    @property
    def calls_in_xml(self) -> bool:
        """Whether it shows the model tool calls as Qwen3-Coder's does."""
        return "<function=" in self.source

    @property
    def developer_role(self) -> str:
        """What the role `developer` becomes: "system" in a template that knows the one and not the other."""
        return "developer" if "developer" in self.source or "system" not in self.source else "system"

    def render(
        self,
        messages: Sequence[chat.Message],
        *,
        guard: chat.Guard | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        thinking: bool | None = None,
        generate: bool = True,
        variables: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> str:
        """The prompt that these messages make.

        guard: all texts from outside go through it, see `guard.TextGuard`. thinking: passed on as `enable_thinking`,
        None leaves the choice to the template. generate: open the assistant's turn. variables: others that the template
        knows. limit: characters that come out. Raises RequestError for messages of a wrong form, TemplateError if the
        template does not compile, refuses the messages or leaves its bounds; what `before_fallback` raises.
        """
        guard = guard or chat.Guard()
        context: dict[str, Any] = {
            **self._named_tokens,
            "documents": None,
            **chat.normalize_variables(variables, _RESERVED, guard),
            "messages": chat.normalize(messages, guard, developer=self.developer_role),
            "tools": chat.normalize_tools(tools, guard),
            "add_generation_prompt": generate,
        }
        if thinking is not None:
            context["enable_thinking"] = thinking
        if self._tree is not None:
            try:
                return self._tree.render(context, limit)
            except UnsupportedModelError:  # what comes of these messages is beyond the core
                pass
        environment, template = self._compiled
        return environment.render_bounded(template, context, limit)
