"""The expressions of a syntax tree."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from typing import Any

from jinja2 import nodes

from qwen3edge.templates.node_kinds import Kind
from qwen3edge.templates.runnable import (
    COMPARISONS,
    FILTERS,
    FUNCTIONS,
    METHODS,
    NEVER_RUN,
    OPERATORS,
    REQUIRED_ARGUMENTS,
    TESTS,
)
from qwen3edge.templates.tree_bytes import TreeBytes

_MAX_INTEGER = 2**62


class ExpressionWriter(TreeBytes):
    """Writes them one after the other; what is not known here is named in `beyond`."""

    def optional(self, node: nodes.Node | None) -> None:
        if node is None:
            self.add_kind(Kind.ABSENT)
        else:
            self.expression(node)

    def expression_or_captured(self, node: nodes.Node | None) -> None:
        """Of a block's filters, whose innermost value is what the block puts out."""
        if node is None:
            self.add_kind(Kind.CAPTURED)
        else:
            self.expression(node)

    def expression(self, node: nodes.Node) -> None:
        write = _EXPRESSIONS.get(type(node))
        if write is None:
            self.refuse(f"the expression {type(node).__name__}", node)
        else:
            with self.inside(node):
                write(self, node)

    def _listed(self, items: Sequence[nodes.Expr]) -> None:
        self.add_number(len(items))
        for item in items:
            self.expression(item)

    def _constant(self, node: nodes.Const) -> None:
        value = node.value
        if value is None or isinstance(value, bool):
            self.add_kind(Kind.NONE if value is None else Kind.TRUE if value else Kind.FALSE)
        elif isinstance(value, int) and abs(value) < _MAX_INTEGER:
            self.add_kind(Kind.INTEGER)
            self.add_number(2 * value if value >= 0 else -2 * value - 1)
        elif isinstance(value, float) and math.isfinite(value):
            self.add_kind(Kind.REAL)
            self.out += struct.pack("<d", value)
        elif isinstance(value, str):
            self.add_kind(Kind.STRING)
            self.add_string(value)
        else:
            self.refuse(f"the constant {value!r:.60}", node)

    def _name(self, node: nodes.Name) -> None:
        self.check_name(node)
        self.add_kind(Kind.NAME)
        self.add_string(node.name)

    def check_name(self, node: nodes.Name) -> None:
        if node.name in NEVER_RUN:
            self.refuse(f"the name {node.name!r}", node)

    def _list(self, node: nodes.List | nodes.Tuple) -> None:
        self.add_kind(Kind.LIST if isinstance(node, nodes.List) else Kind.TUPLE)
        self._listed(node.items)

    def _dict(self, node: nodes.Dict) -> None:
        self.add_kind(Kind.DICT)
        self.add_number(len(node.items))
        for pair in node.items:
            if not (isinstance(pair.key, nodes.Const) and isinstance(pair.key.value, str)):
                self.refuse("a dict's key that is no string", node)
            self.expression(pair.key)
            self.expression(pair.value)

    def _condition(self, node: nodes.CondExpr) -> None:
        self.add_kind(Kind.CONDITION)
        self.expression(node.test)
        self.expression(node.expr1)
        if node.expr2 is not None:
            self.expression(node.expr2)
        else:
            self.add_kind(Kind.MISSING)
            self.add_string(
                f"the inline if-expression on line {node.lineno} evaluated to false and no else section was defined."
            )

    def _attribute(self, node: nodes.Getattr) -> None:
        if node.attr.startswith("__"):
            self.refuse(f"the attribute {node.attr!r:.60}", node)
        self.add_kind(Kind.ATTRIBUTE)
        self.expression(node.node)
        self.add_string(node.attr)

    def _item(self, node: nodes.Getitem) -> None:
        if isinstance(node.arg, nodes.Slice):
            self.add_kind(Kind.SLICE)
            self.expression(node.node)
            for bound in (node.arg.start, node.arg.stop, node.arg.step):
                self.optional(bound)
        else:
            self.add_kind(Kind.ITEM)
            self.expression(node.node)
            self.expression(node.arg)

    def _concatenation(self, node: nodes.Concat) -> None:
        self.add_kind(Kind.CONCATENATION)
        self._listed(node.nodes)

    def _comparison(self, node: nodes.Compare) -> None:
        self.add_kind(Kind.COMPARISON)
        self.expression(node.expr)
        self.add_number(len(node.ops))
        for operand in node.ops:
            self.out.append(COMPARISONS[operand.op])
            with self.inside(operand):
                self.expression(operand.expr)

    def _binary(self, node: nodes.BinExpr) -> None:
        if isinstance(node, nodes.Mod) and isinstance(node.left, nodes.Const) and isinstance(node.left.value, str):
            self.refuse("a format with %", node)
        if isinstance(node, nodes.And | nodes.Or):
            self.add_kind(Kind.BOTH if isinstance(node, nodes.And) else Kind.EITHER)
        else:
            self.add_kind(Kind.ARITHMETIC)
            self.out.append(OPERATORS[node.operator])
        self.expression(node.left)
        self.expression(node.right)

    def _unary(self, node: nodes.UnaryExpr) -> None:
        self.add_kind({"not": Kind.NEGATION, "-": Kind.MINUS, "+": Kind.PLUS}[node.operator])
        self.expression(node.node)

    # Filters, tests and calls.

    def _filter(self, node: nodes.Filter) -> None:
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            return self.refuse("arguments in * or **", node)
        if node.name in ("select", "reject", "selectattr", "rejectattr"):
            return self._choose(node)
        given, named = list(node.args), {str(each.key): each.value for each in node.kwargs}
        if node.name == "map" and given:
            name = given.pop(0)
            if not (isinstance(name, nodes.Const) and name.value in FILTERS and name.value != "map"):
                return self.refuse("such a filter in map", node)
            self.add_kind(Kind.MAP_FILTER)
            return self._arguments(node, str(name.value), given, named)
        if node.name not in FILTERS:
            return self.refuse(f"the filter {node.name!r:.60}", node)
        self.add_kind(Kind.FILTER)
        return self._arguments(node, node.name, given, named)

    def _arguments(self, node: nodes.Filter, name: str, given: list[Any], named: dict[str, Any]) -> None:
        """A filter's name, its value and its arguments in the order of its parameters."""
        canonical, parameters = FILTERS[name]
        passed = dict(zip(parameters, given, strict=False))
        if len(given) > len(parameters) or not named.keys() <= set(parameters) - passed.keys():
            return self.refuse(f"such arguments of the filter {name!r}", node)
        passed |= named
        if any(parameter not in passed for parameter in REQUIRED_ARGUMENTS.get(canonical, ())):
            return self.refuse(f"such arguments of the filter {name!r}", node)
        self.add_string(canonical)
        self.expression_or_captured(node.node)
        for parameter in parameters:
            self.optional(passed.get(parameter))
        return None

    def _choose(self, node: nodes.Filter) -> None:
        given = list(node.args)
        by_attribute = node.name.endswith("attr")
        if node.kwargs or (by_attribute and not given):
            return self.refuse(f"such arguments of the filter {node.name!r}", node)
        self.add_kind(Kind.CHOOSE)
        self.out.append(node.name.startswith("reject"))
        self.expression_or_captured(node.node)
        self.optional(given.pop(0) if by_attribute else None)
        self.out.append(bool(given))
        if given:
            name = given.pop(0)
            self._test_itself(node, name.value if isinstance(name, nodes.Const) else None, given)
        return None

    def _test(self, node: nodes.Test) -> None:
        if node.kwargs or node.dyn_args is not None or node.dyn_kwargs is not None:
            return self.refuse(f"such arguments of the test {node.name!r}", node)
        self.add_kind(Kind.TEST)
        self.expression(node.node)
        return self._test_itself(node, node.name, node.args)

    def _test_itself(self, node: nodes.Expr, name: object, arguments: Sequence[nodes.Expr]) -> None:
        canonical, count = TESTS.get(name, (None, 0)) if isinstance(name, str) else (None, 0)
        if canonical is None:
            return self.refuse(f"the test {name!r:.60}", node)
        if len(arguments) != count:
            return self.refuse(f"such arguments of the test {name!r}", node)
        self.add_string(canonical)
        for argument in arguments:
            self.expression(argument)
        return None

    def _call(self, node: nodes.Call) -> None:
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            return self.refuse("arguments in * or **", node)
        called = node.node
        if isinstance(called, nodes.Getattr):
            if called.attr not in METHODS:
                return self.refuse(f"the method {called.attr!r:.60}", node)
        elif not isinstance(called, nodes.Name):
            return self.refuse(f"a call of {type(called).__name__}", node)
        elif called.name in FUNCTIONS:
            most, by_name = FUNCTIONS[called.name]
            if len(node.args) > most or (node.kwargs and not by_name):
                return self.refuse(f"such arguments of {called.name}", node)
        self.add_kind(Kind.CALL)
        self.expression(called)
        self._listed(node.args)
        self.add_number(len(node.kwargs))
        for each in node.kwargs:
            self.add_string(each.key)
            with self.inside(each):
                self.expression(each.value)
        return None


_EXPRESSIONS: dict[type[nodes.Node], Callable[[ExpressionWriter, Any], None]] = {
    nodes.Const: ExpressionWriter._constant,
    nodes.Name: ExpressionWriter._name,
    nodes.List: ExpressionWriter._list,
    nodes.Tuple: ExpressionWriter._list,
    nodes.Dict: ExpressionWriter._dict,
    nodes.CondExpr: ExpressionWriter._condition,
    nodes.Filter: ExpressionWriter._filter,
    nodes.Test: ExpressionWriter._test,
    nodes.Call: ExpressionWriter._call,
    nodes.Getattr: ExpressionWriter._attribute,
    nodes.Getitem: ExpressionWriter._item,
    nodes.Concat: ExpressionWriter._concatenation,
    nodes.Compare: ExpressionWriter._comparison,
    **dict.fromkeys((nodes.And, nodes.Or, nodes.Add, nodes.Sub, nodes.Mul, nodes.Div), ExpressionWriter._binary),
    **dict.fromkeys((nodes.FloorDiv, nodes.Mod), ExpressionWriter._binary),
    **dict.fromkeys((nodes.Not, nodes.Neg, nodes.Pos), ExpressionWriter._unary),
}
