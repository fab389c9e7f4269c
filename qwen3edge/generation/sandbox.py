"""A jinja2 sandbox that also bounds what a template may compute.

Chat templates come out of model files, so they are hostile input. jinja2's immutable sandbox keeps them away from
Python's internals; this one also counts loop steps, macro calls and the characters that expressions make, limits
every string, list and number, and offers only the filters that chat templates use.
"""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from qwen3edge.errors import TemplateError

MAX_STEPS = 300_000
"""Loop iterations and macro calls in one rendering; a conversation of 10,000 messages takes 20,000."""

MAX_CHARACTERS = 4 * 1024 * 1024
"""Of the output, and of every string on the way."""

MAX_WORK_CHARACTERS = 64 * 1024 * 1024
"""Of all strings that a rendering makes, together; an item of a list counts as 32."""

MAX_ITEMS = 100_000
"""Of every list that a template makes."""

MAX_SOURCE_CHARACTERS = 1024 * 1024

# fmt: off
_FILTERS = (
    "abs", "attr", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float", "int", "items",
    "join", "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "replace", "reverse",
    "round", "safe", "select", "selectattr", "sort", "string", "sum", "title", "tojson", "trim", "unique", "upper",
)
_REFUSED_METHODS = frozenset(
    ("center", "encode", "expandtabs", "format", "format_map", "ljust", "rjust", "translate", "zfill")
)
# fmt: on
_CHARGE = "counted slice"  # a filter that no template can name


class _Budget(threading.local):
    """What is left of the rendering that runs on this thread."""

    steps = MAX_STEPS
    characters = MAX_WORK_CHARACTERS

    def fill(self) -> None:
        self.steps, self.characters = MAX_STEPS, MAX_WORK_CHARACTERS

    def step(self) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise TemplateError(f"expected a chat template that takes at most {MAX_STEPS} steps")

    def charge(self, value: Any) -> Any:
        """Counts a string or list that an expression made; returns it."""
        if isinstance(value, str):
            _check_size(value, len(value))
            self.characters -= len(value)
        elif isinstance(value, list | tuple):
            _check_size(value, len(value))
            self.characters -= 32 * len(value)
        if self.characters < 0:
            raise TemplateError(f"expected a chat template that makes at most {MAX_WORK_CHARACTERS} characters")
        return value


class BoundedSandbox(ImmutableSandboxedEnvironment):
    """The environment that Hugging Face's templates expect, with bounds."""

    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def __init__(self) -> None:
        self._budget = _Budget()
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            finalize=self._budget.charge,
            extensions=["jinja2.ext.loopcontrols"],
        )
        filters = {name: self.filters[name] for name in _FILTERS}
        filters |= {"tojson": _tojson, "join": self.join, "replace": _replace}
        filters[_CHARGE] = lambda value: value
        self.filters = {name: self._charged(function) for name, function in filters.items()}
        self.globals = {name: self.globals[name] for name in ("range", "dict", "namespace", "joiner", "cycler")} | {
            "raise_exception": _raise_exception,
            "strftime_now": _strftime_now,
        }

    def compile_bounded(self, source: str) -> jinja2.Template:
        """Raises TemplateError for a source that is no template."""
        if len(source) > MAX_SOURCE_CHARACTERS:
            raise TemplateError(
                f"expected a chat template of at most {MAX_SOURCE_CHARACTERS} characters, found {len(source)}"
            )
        try:
            return self.from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise TemplateError(f"the chat template is malformed in line {error.lineno}: {error.message}") from None
        except (RecursionError, MemoryError, SyntaxError, ValueError, jinja2.TemplateError) as error:
            raise TemplateError(f"the chat template cannot be compiled: {_words(error)}") from None

    def render_bounded(self, template: jinja2.Template, variables: Mapping[str, object]) -> str:
        """Raises TemplateError if the template refuses the variables, fails or leaves its bounds."""
        parts, characters = [], 0
        self._budget.fill()
        try:
            for part in template.generate(variables):
                characters += len(part)
                if characters > MAX_CHARACTERS:
                    raise TemplateError(f"expected a prompt of at most {MAX_CHARACTERS} characters")
                parts.append(part)
        except TemplateError:
            raise
        except Exception as error:  # a template can raise whatever an expression of Python can
            raise TemplateError(f"the chat template failed: {_words(error)}") from None
        return "".join(parts)

    @staticmethod
    def concat(parts: Iterable[str]) -> str:
        """Joins what macros and `{% set x %}` blocks put out."""
        texts = list(parts)
        _check_characters(sum(map(len, texts)))
        return "".join(texts)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for repeated in tree.find_all((nodes.For, nodes.Macro, nodes.CallBlock)):
            repeated.body.insert(0, _step(repeated.lineno))  # type: ignore[attr-defined]
        return _bounded(tree)

    def step(self) -> None:
        """Called by every iteration and every macro."""
        self._budget.step()

    def _charged(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)  # keeps jinja2's marks of what the filter wants passed
        def charged(*args: Any, **kwargs: Any) -> Any:
            return self._budget.charge(function(*args, **kwargs))

        return charged

    def join(self, value: Iterable[object], d: str = "", attribute: str | int | None = None) -> str:
        """The filter `join`, for `~` as well, within the bounds."""
        if attribute is not None:
            value = [self.getitem(item, attribute) for item in value]
        texts, characters = [], 0
        for item in value:
            texts.append(str(item))
            characters += len(texts[-1]) + len(d)
            _check_characters(characters)
        return str(d).join(texts)

    def wrap_str_format(self, value: Any) -> None:
        """Nothing: `str.format` makes texts of any width."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return attr not in _REFUSED_METHODS and super().is_safe_attribute(obj, attr, value)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if isinstance(owner, str) and name in _REFUSED_METHODS:
            raise SecurityError(f"texts have no method {name} in a chat template")
        if isinstance(owner, str) and name == "replace":
            _check_replace(owner, *args)
        elif isinstance(owner, str) and name == "join":
            return __self._budget.charge(__self.join(args[0] if args else (), owner))
        elif isinstance(owner, str) and name in ("split", "rsplit") and args and isinstance(args[0], str) and args[0]:
            _check_size([], owner.count(args[0]) + 1)
        return __self._budget.charge(super().call(__context, __obj, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str):
            raise SecurityError("texts cannot be formatted in a chat template")
        if operator == "**" and (abs(left) > 2**32 or abs(right) > 64):
            raise SecurityError("number out of bounds")
        if operator == "*":
            for items, times in ((left, right), (right, left)):
                if isinstance(items, str | list | tuple) and isinstance(times, int):
                    _check_size(items, len(items) * times)
        if operator == "+" and isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
            _check_size(left, len(left) + len(right))
        result = super().call_binop(context, operator, left, right)
        if isinstance(result, int) and abs(result) > 2**64:
            raise SecurityError("number out of bounds")
        return self._budget.charge(result)


def _step(lineno: int) -> nodes.Node:
    """The statement `environment.step()`."""
    call = nodes.Call(nodes.EnvironmentAttribute("step"), [], [], None, None)
    return nodes.ExprStmt(call).set_lineno(lineno)


def _bounded(tree: nodes.Template) -> nodes.Template:
    """Turns `a ~ b` into `[a, b] | join`, and has slices counted: both are Python's own otherwise."""

    def visit(node: nodes.Node) -> nodes.Node:
        for field, value in node.iter_fields():
            if isinstance(value, nodes.Node):
                setattr(node, field, visit(value))
            elif isinstance(value, list):
                value[:] = [visit(item) if isinstance(item, nodes.Node) else item for item in value]
        if isinstance(node, nodes.Concat):
            place = {"lineno": node.lineno, "environment": node.environment}
            return nodes.Filter(nodes.List(node.nodes, **place), "join", [], [], None, None, **place)
        if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
            place = {"lineno": node.lineno, "environment": node.environment}
            return nodes.Filter(node, _CHARGE, [], [], None, None, **place)
        return node

    visit(tree)
    return tree


def _check_characters(count: int) -> None:
    if count > MAX_CHARACTERS:
        raise TemplateError(f"expected a prompt of at most {MAX_CHARACTERS} characters")


def _check_size(value: object, count: int) -> None:
    if isinstance(value, str):
        _check_characters(count)
    elif count > MAX_ITEMS:
        raise TemplateError(f"expected lists of at most {MAX_ITEMS} items in a chat template")


def _check_replace(text: str, old: object = "", new: object = "", *_count: object) -> None:
    if isinstance(old, str) and isinstance(new, str):
        _check_characters(len(text) + text.count(old) * len(new))


def _replace(text: object, old: str, new: str, count: int | None = None) -> str:
    value = str(text)
    _check_replace(value, old, new)
    return value.replace(old, new, -1 if count is None else count)


def _tojson(value: object, ensure_ascii: bool = False, indent: int | None = None, **settings: Any) -> str:
    if indent is not None and not 0 <= indent <= 16:
        raise SecurityError("indent out of bounds")
    if isinstance(value, Undefined):
        raise jinja2.UndefinedError("an undefined value has no JSON form")
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **settings)


def _raise_exception(message: object) -> NoReturn:
    raise TemplateError(f"the chat template refuses the messages: {message}")


def _strftime_now(pattern: str) -> str:
    if len(str(pattern)) > 256:
        raise SecurityError("pattern out of bounds")
    return datetime.now().strftime(str(pattern))


def _words(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return str(error).splitlines()[0][:500] if str(error) else type(error).__name__
