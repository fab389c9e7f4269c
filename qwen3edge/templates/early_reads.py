"""Names that an inner block reads before the block around it sets them.

jinja2 takes such a name as the outer block's own from its start, so that the inner one finds nothing there, not even a
variable of that name. The interpreter in C++ looks names up when they are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jinja2 import idtracking, nodes

_SCOPES = (nodes.For, nodes.Macro, nodes.AssignBlock, nodes.Scope)


def read_before_set(node: nodes.Node) -> Iterator[tuple[str, int]]:
    """(name, line of the reader) of those that this template or inner block sets itself."""
    symbols = idtracking.Symbols()
    symbols.analyze_node(node, **({"for_branch": "body"} if isinstance(node, nodes.For) else {}))
    own = {name for name, target in symbols.refs.items() if symbols.loads[target][0] == idtracking.VAR_LOAD_UNDEFINED}
    inner: dict[str, int] = {}
    for part, is_scope in _in_order(node.body):  # type: ignore[attr-defined]
        if is_scope:
            for name, line in _free_names(part).items():
                inner.setdefault(name, line)
        elif isinstance(part, nodes.Name) and part.ctx == "store" and part.name in own & inner.keys():
            yield part.name, inner.pop(part.name)


def inner_blocks(tree: nodes.Template) -> Iterator[nodes.Node]:
    """Those in which `set` stays inside."""
    return tree.find_all(_SCOPES)


def _in_order(body: Sequence[nodes.Node]) -> Iterator[tuple[nodes.Node, bool]]:
    """A block's own names, and the blocks inside it."""
    for node in body:
        if isinstance(node, nodes.For):
            yield from _in_order([node.iter])
            yield node, True
        elif isinstance(node, nodes.AssignBlock):
            yield node, True
            yield from _in_order([node.target])
        elif isinstance(node, nodes.Assign):
            yield from _in_order([node.node, node.target])
        elif isinstance(node, _SCOPES):
            yield node, True
        elif isinstance(node, nodes.Name):
            yield node, False
        else:
            yield from _in_order(list(node.iter_child_nodes()))


def _free_names(node: nodes.Node) -> dict[str, int]:
    """Names that a block reads and sets nowhere itself, and where."""
    own = {name.name for name in node.find_all(nodes.Name) if name.ctx in ("store", "param")}
    return {name.name: name.lineno for name in node.find_all(nodes.Name) if name.ctx == "load" and name.name not in own}
