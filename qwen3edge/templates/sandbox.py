"""A jinja2 sandbox that also bounds what a template may compute.

Chat templates come out of model files, so they are hostile input. jinja2's immutable sandbox keeps them away from
Python's internals; this one also counts loop steps, macro calls and the characters that expressions make, limits
every string, list and number, and offers only the filters that chat templates use.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, NoReturn

import jinja2
import jinja2.utils
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from qwen3edge.errors import TemplateError
from qwen3edge.templates import filters
from qwen3edge.templates.budget import (
    MACRO_STEPS,
    MAX_CHARACTERS,
    MAX_ITEMS,
    MAX_SOURCE_CHARACTERS,
    Budget,
    check_characters,
    check_size,
)
from qwen3edge.templates.given import WAY_OUT

MAX_SOURCE_TOKENS = 20_000
"""Names, signs and blanks between them inside the template's braces; Qwen3's has some 2,000."""

# fmt: off
_FILTERS = (
    "abs", "attr", "batch", "capitalize", "center", "count", "d", "default", "dictsort", "e", "escape",
    "filesizeformat", "first", "float", "forceescape", "format", "groupby", "indent", "int", "items", "join", "last",
    "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "replace", "reverse", "round", "safe",
    "select", "selectattr", "slice", "sort", "string", "sum", "title", "tojson", "trim", "truncate", "unique", "upper",
    "wordcount",
)
"""Of jinja2's; without `pprint`, `random`, `wordwrap` and those that make web pages."""
_AT_ONCE = frozenset(("attr", "count", "d", "default", "first", "items", "length", "safe"))
"""They take no longer for more of it."""
_PADDING = frozenset(("center", "expandtabs", "ljust", "rjust", "zfill"))
REFUSED_METHODS = frozenset(("encode", "format_map", "translate"))
# fmt: on
_CHARGE, _COMPARE = "counted value", "compared value"  # filters that no template can name


class _Generation(Extension):
    """`{% generation %}`, by which transformers finds what an assistant said: here its body alone."""

    tags = {"generation"}  # noqa: RUF012  jinja2's own declaration

    def parse(self, parser: Parser) -> nodes.Node:
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=lineno)


class _Namespace(jinja2.utils.Namespace):
    """Without the attributes that transformers refuses, and without a text of what it holds."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, values = args[0], dict(*args[1:], **kwargs)
        for name in values:
            _check_name(name)
        jinja2.utils.Namespace.__init__(self, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)

    def __repr__(self) -> str:
        return "<Namespace>"


class BoundedSandbox(ImmutableSandboxedEnvironment):
    """The environment that Hugging Face's templates expect, with bounds."""

    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def __init__(self) -> None:
        self._budget = Budget()
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            finalize=self._budget.charge,
            extensions=[_Generation, "jinja2.ext.loopcontrols"],
        )
        chosen = {name: self.filters[name] for name in _FILTERS} | filters.bounded(self._budget)
        chosen |= {"join": self.join, _CHARGE: lambda value: value}
        self.filters = {name: self._charged(name, function) for name, function in chosen.items()}
        self.filters[_COMPARE] = self._budget.compare
        self.globals = {name: self.globals[name] for name in ("range", "dict", "joiner", "cycler")} | {
            "namespace": _Namespace,
            "raise_exception": _raise_exception,
            "strftime_now": _strftime_now,
        }

    def compile_bounded(self, source: str, origin: str = "") -> jinja2.Template:
        """Raises TemplateError for a source that is no template; it names the origin of one that a caller gave, and
        says how another one is given.
        """
        try:
            return self._compile_bounded(source)
        except TemplateError as error:
            raise TemplateError(f"{origin:.200}{': ' * bool(origin)}{error}; {WAY_OUT}") from None

    def _compile_bounded(self, source: str) -> jinja2.Template:
        if len(source) > MAX_SOURCE_CHARACTERS:
            raise TemplateError(
                f"expected a chat template of at most {MAX_SOURCE_CHARACTERS} characters, found {len(source)}"
            )
        try:
            for count, _ in enumerate(self.lex(source)):
                if count == MAX_SOURCE_TOKENS:
                    raise TemplateError(f"expected a chat template of at most {MAX_SOURCE_TOKENS} words and signs")
            return self.from_string(source)
        except TemplateError:
            raise
        except jinja2.TemplateSyntaxError as error:
            raise TemplateError(f"the chat template is malformed in line {error.lineno}: {error.message}") from None
        except (RecursionError, MemoryError, SyntaxError, ValueError, jinja2.TemplateError) as error:
            raise TemplateError(f"the chat template cannot be compiled: {_words(error)}") from None

    def render_bounded(
        self, template: jinja2.Template, variables: Mapping[str, object], limit: int | None = None
    ) -> str:
        """limit: of characters, at most MAX_CHARACTERS.

        Raises TemplateError if the template refuses the variables, fails or leaves its bounds.
        """
        most = MAX_CHARACTERS if limit is None else min(limit, MAX_CHARACTERS)
        parts, characters = [], 0
        self._budget.fill()
        try:
            for part in template.generate(variables):
                characters += len(part)
                if characters > most:
                    raise TemplateError(f"expected a prompt of at most {most} characters")
                parts.append(part)
        except TemplateError:
            raise
        except jinja2.TemplateRuntimeError as error:  # something in it that is not known here, mostly
            raise TemplateError(f"the chat template failed: {_words(error)}; {WAY_OUT}") from None
        except Exception as error:  # a template can raise whatever an expression of Python can
            raise TemplateError(f"the chat template failed: {_words(error)}") from None
        finally:
            self._budget.fill()  # lets go of what was kept
        return "".join(parts)

    @staticmethod
    def concat(parts: Iterable[str]) -> str:
        """Joins what macros and `{% set x %}` blocks put out."""
        texts = list(parts)
        check_characters(sum(map(len, texts)))
        return "".join(texts)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for repeated in tree.find_all((nodes.For, nodes.Macro, nodes.CallBlock)):
            count = 1 if isinstance(repeated, nodes.For) else MACRO_STEPS
            repeated.body.insert(0, _step(repeated.lineno, count))  # type: ignore[attr-defined]
        return _bounded(tree)

    def plain_tree(self, source: str) -> nodes.Template:
        """The syntax tree without what counts."""
        return super()._parse(source, None, None)

    def step(self, count: int) -> None:
        """Called by every iteration and every macro."""
        self._budget.step(count)

    def _charged(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        value = 1 if hasattr(function, "jinja_pass_arg") else 0  # after the environment or the like

        @functools.wraps(function)  # keeps jinja2's marks of what the filter wants passed
        def charged(*args: Any, **kwargs: Any) -> Any:
            if name not in _AT_ONCE and len(args) > value:
                self._budget.consume(args[value])
            return self._budget.charge(function(*args, **kwargs))

        return charged

    def join(self, value: Iterable[object], d: str = "", attribute: str | int | None = None) -> str:
        """The filter `join`, for `~` as well, within the bounds."""
        if attribute is not None:
            value = [self.getitem(item, attribute) for item in value]
        texts, characters, d = [], 0, str(d)
        for item in self._budget.consume(value):
            texts.append(str(item))
            characters += len(texts[-1]) + len(d)
            check_characters(characters)
        return d.join(texts)

    def wrap_str_format(self, value: Any) -> None:
        """Nothing: `str.format` makes texts of any width."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return attr not in REFUSED_METHODS and super().is_safe_attribute(obj, attr, value)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if isinstance(owner, str):
            result = __self._text_method(owner, name, args, kwargs)
            if result is not None:
                return __self._budget.charge(result)
        elif name in ("count", "index"):
            __self._budget.consume(owner)
        return __self._budget.charge(super().call(__context, __obj, *args, **kwargs))

    def _text_method(self, text: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Checks a call of one; its result, if it is not to be called as it is."""
        if name in REFUSED_METHODS:
            raise SecurityError(f"texts have no method {name} in a chat template")
        if name not in ("startswith", "endswith"):
            self._budget.consume(text)
        if name == "replace":
            filters.check_replace(text, *args)
        elif name == "join":
            return self.join(args[0] if args else (), text)
        elif name == "format":
            self.step(text.count("{"))
            return filters.Formatter(self).vformat(text, args, kwargs)
        elif name in _PADDING:
            filters.check_padding(text, name, *args, *kwargs.values())
        elif name in ("split", "rsplit"):
            separator = args[0] if args else kwargs.get("sep")
            if isinstance(separator, str) and separator:
                check_size([], text.count(separator) + 1)
            elif separator is None:
                check_size([], len(text.split(None, MAX_ITEMS)))
        elif name == "splitlines":
            filters.check_lines(text)
        return None

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str):
            filters.check_format(self._budget, left, right)
        if operator == "**" and (abs(left) > 2**32 or abs(right) > 64):
            raise SecurityError("number out of bounds")
        if operator == "*":
            for items, times in ((left, right), (right, left)):
                if isinstance(items, str | list | tuple) and isinstance(times, int):
                    check_size(items, len(items) * times)
        if operator == "+" and isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
            check_size(left, len(left) + len(right))
        result = super().call_binop(context, operator, left, right)
        if isinstance(result, int) and abs(result) > 2**64:
            raise SecurityError("number out of bounds")
        return self._budget.charge(result)


def _step(lineno: int, count: int) -> nodes.Node:
    """The statement `environment.step(count)`."""
    call = nodes.Call(nodes.EnvironmentAttribute("step"), [nodes.Const(count)], [], None, None)
    return nodes.ExprStmt(call).set_lineno(lineno)


def _bounded(tree: nodes.Template) -> nodes.Template:
    """Turns `a ~ b` into `[a, b] | join`; has slices, lists and what is compared counted: Python's own otherwise."""

    def visit(node: nodes.Node) -> nodes.Node:
        for field, value in node.iter_fields():
            if isinstance(value, nodes.Node):
                setattr(node, field, visit(value))
            elif isinstance(value, list):
                value[:] = [visit(item) if isinstance(item, nodes.Node) else item for item in value]
        place = {"lineno": node.lineno, "environment": node.environment}
        if isinstance(node, nodes.Concat):
            return nodes.Filter(nodes.List(node.nodes, **place), "join", [], [], None, None, **place)
        if isinstance(node, nodes.Compare):
            node.expr = _filtered(node.expr, _COMPARE)
            for operand in node.ops:
                operand.expr = _filtered(operand.expr, _COMPARE)
        made = isinstance(node, nodes.List | nodes.Dict) or (isinstance(node, nodes.Tuple) and node.ctx == "load")
        if made or (isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice)):
            return _filtered(node, _CHARGE)
        return node

    visit(tree)
    return tree


def _filtered(node: nodes.Node, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno, environment=node.environment)


def _check_name(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace has no attributes that begin with an underscore, such as {name:.60}")


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
