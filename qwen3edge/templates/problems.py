"""What is wrong with a template before it meets any message: it does not compile, or uses what we do not have."""

from __future__ import annotations

from collections.abc import Iterator

from jinja2 import meta, nodes

from qwen3edge.errors import TemplateError
from qwen3edge.templates.given import WAY_OUT
from qwen3edge.templates.sandbox import REFUSED_METHODS, BoundedSandbox

_FILTER_BY_NAME = {"map": 0}
_TEST_BY_NAME = {"select": 0, "reject": 0, "selectattr": 1, "rejectattr": 1}
"""Filters that take the name of another, or of a test, and at which place."""

_OF_JINJA = frozenset(("caller", "loop", "self", "super", "varargs", "kwargs"))
_MOST_SHOWN = 4


def template_problem(source: str) -> str | None:
    """One line, None if there is nothing to say. What is not known matters only where a prompt needs it."""
    sandbox = BoundedSandbox()
    try:
        sandbox.compile_bounded(source)
    except TemplateError as error:
        return str(error)
    unknown = list(dict.fromkeys(_unknown(sandbox, sandbox.parse(source))))
    if not unknown:
        return None
    rest = f" and {len(unknown) - _MOST_SHOWN} more" if len(unknown) > _MOST_SHOWN else ""
    return f"the chat template uses what is not known here: {', '.join(unknown[:_MOST_SHOWN])}{rest}; {WAY_OUT}"


def _unknown(sandbox: BoundedSandbox, tree: nodes.Template) -> Iterator[str]:
    given = meta.find_undeclared_variables(tree) - _OF_JINJA - sandbox.globals.keys()
    for node in tree.find_all(nodes.Node):
        where = f"in line {node.lineno}"
        if isinstance(node, nodes.Filter):
            if node.name not in sandbox.filters:
                yield f"the filter {node.name!r:.60} {where}"
            for places, known, kind in (
                (_FILTER_BY_NAME, sandbox.filters, "filter"),
                (_TEST_BY_NAME, sandbox.tests, "test"),
            ):
                place = places.get(node.name)
                name = node.args[place] if place is not None and len(node.args) > place else None
                if isinstance(name, nodes.Const) and isinstance(name.value, str) and name.value not in known:
                    yield f"the {kind} {name.value!r:.60} {where}"
        elif isinstance(node, nodes.Test):
            if node.name not in sandbox.tests:
                yield f"the test {node.name!r:.60} {where}"
        elif isinstance(node, nodes.Call):
            called = node.node
            if isinstance(called, nodes.Name) and called.name in given:
                yield f"the function {called.name!r:.60} {where}"
            elif isinstance(called, nodes.Getattr) and called.attr in REFUSED_METHODS:
                yield f"the method {called.attr!r:.60} {where}"
        elif isinstance(node, nodes.Include | nodes.Import | nodes.FromImport | nodes.Extends):
            yield f"another file {where}"
