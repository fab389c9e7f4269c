"""What csrc/template runs of Jinja: its names, and the numbers that they have in a syntax tree."""

from __future__ import annotations

COMPARISONS = {"eq": 0, "ne": 1, "lt": 2, "lteq": 3, "gt": 4, "gteq": 5, "in": 6, "notin": 7}
OPERATORS = {"+": 0, "-": 1, "*": 2, "/": 3, "//": 4, "%": 5}

FILTERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "tojson": ("tojson", ("ensure_ascii", "indent", "separators", "sort_keys")),
    "trim": ("trim", ("chars",)),
    "length": ("length", ()),
    "count": ("length", ()),
    "join": ("join", ("d", "attribute")),
    "map": ("map", ("attribute", "default")),
    "items": ("items", ()),
    "first": ("first", ()),
    "last": ("last", ()),
    "reverse": ("reverse", ()),
    "upper": ("upper", ()),
    "lower": ("lower", ()),
    "capitalize": ("capitalize", ()),
    "replace": ("replace", ("old", "new", "count")),
    "default": ("default", ("default_value", "boolean")),
    "d": ("default", ("default_value", "boolean")),
    "string": ("string", ()),
    "safe": ("safe", ()),
    "list": ("list", ()),
    "int": ("int", ("default", "base")),
    "abs": ("abs", ()),
    "sum": ("sum", ("attribute", "start")),
    "indent": ("indent", ("width", "first", "blank")),
    "sort": ("sort", ("reverse", "case_sensitive", "attribute")),
    "dictsort": ("dictsort", ("case_sensitive", "by", "reverse")),
    "unique": ("unique", ("case_sensitive", "attribute")),
    "min": ("min", ("case_sensitive", "attribute")),
    "max": ("max", ("case_sensitive", "attribute")),
}
"""By the names in templates: the name in a tree, and the parameters in its order."""

REQUIRED_ARGUMENTS = {"replace": ("old", "new"), "map": ("attribute",)}

TESTS: dict[str, tuple[str, int]] = {
    **{name: (name, 0) for name in ("defined", "undefined", "none", "true", "false", "boolean", "integer", "float")},
    **{name: (name, 0) for name in ("number", "string", "mapping", "iterable", "sequence", "odd", "even")},
    **{name: (name, 1) for name in ("divisibleby", "sameas", "in", "eq", "ne", "lt", "le", "gt", "ge")},
    **{"equalto": ("eq", 1), "==": ("eq", 1), "!=": ("ne", 1), "<": ("lt", 1), "lessthan": ("lt", 1)},
    **{"<=": ("le", 1), ">": ("gt", 1), "greaterthan": ("gt", 1), ">=": ("ge", 1)},
}
"""By the names in templates: the name in a tree, and how many arguments it has."""

# fmt: off
METHODS = frozenset((
    "capitalize", "count", "endswith", "find", "index", "isalnum", "isalpha", "isascii", "isdecimal", "isdigit",
    "islower", "isnumeric", "isspace", "isupper", "join", "lower", "lstrip", "partition", "removeprefix",
    "removesuffix", "replace", "rfind", "rindex", "rpartition", "rsplit", "rstrip", "split", "splitlines",
    "startswith", "strip", "title", "upper",
    "copy", "get", "items", "keys", "values",
    "append", "clear", "extend", "insert", "pop", "popitem", "remove", "reverse", "setdefault", "sort", "update",
    "cycle",
))
# fmt: on
"""Of texts, lists and dicts (those that would change one are refused as in jinja2's sandbox), and of `loop`."""

FUNCTIONS = {
    "namespace": (0, True),
    "dict": (0, True),
    "range": (3, False),
    "raise_exception": (1, False),
    "strftime_now": (1, False),
}
"""The most arguments by place, and whether there may be some by name."""

NEVER_RUN = frozenset(("caller", "cycler", "joiner", "kwargs", "self", "super", "varargs"))
