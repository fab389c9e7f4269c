"""The parameters of every endpoint: what is obeyed, what is accepted without effect, and that all else is refused.

The fields of a `Body` are the table. docs/server.md prints it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, ValidationError
from pydantic_core import ErrorDetails

from qwen3edge.errors import shown
from qwen3edge.keywords import nearest
from qwen3edge.server.errors import BodyError

_NO_EFFECT = "accepted without effect"
_SAID = 4  # of a value that could be of so many types

Ignored = Annotated[Any, _NO_EFFECT]
"""Of a field that cannot change the answer."""


MOST_MESSAGES = 4096
MOST_TOOLS = 512
"""Of a conversation, in each API."""


class _FailFast(FailFast):
    """Within a union of types, which are hashed."""

    __hash__ = object.__hash__


Item = TypeVar("Item")
Listed = Annotated[list[Item], _FailFast()]
"""A list that is left at its first wrong item: errors of a million would take more memory than the list."""


class Body(BaseModel):
    """A request body, where a field that is null counts as one that is not there; or an object within one. absent: why
    parameters that clients may send are none here.
    """

    absent: ClassVar[Mapping[str, str]] = {}

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=(), defer_build=True)


Bodies = TypeVar("Bodies", bound=Body)


def checked(body: Mapping[str, Any], kind: type[Bodies]) -> Bodies:
    """Raises BodyError that names the parameter which is wrong, missing or unknown."""
    given = {name: value for name, value in body.items() if value is not None}
    for name in given:
        if name not in kind.model_fields:
            near = nearest(name, kind.model_fields)
            hint = f": did you mean {near}?" if near else ""
            if name in kind.absent:
                raise BodyError(f"expected no parameter {name}: {kind.absent[name]}", name)
            raise BodyError(f"expected no parameter {shown(name)}, which this server does not know{hint}", name[:60])
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False)
        name, first = _place(errors[0], given), errors[0]
        if first["type"] == "extra_forbidden":
            raise BodyError(f"expected no parameter {shown(name)}, which this server does not know", name) from None
        found = "nothing" if first["type"] == "missing" else shown(first["input"])
        said = dict.fromkeys(f"{each['msg'][:1].lower()}{each['msg'][1:200]}" for each in errors[:_SAID]
                             if _place(each, given) == name)  # fmt: skip
        raise BodyError(f"{name}: {', or '.join(said)}, found {found}", name) from None


def _place(error: ErrorDetails, given: Mapping[str, Any]) -> str:
    """What an error is about: as much of its path as leads through the body, which names of types do not."""
    names: list[str] = []
    value: Any = given
    for part in error["loc"]:
        here = (isinstance(value, Mapping) and part in value) or (isinstance(value, list) and isinstance(part, int))
        if not here and error["type"] != "missing":
            break
        names.append(str(part)[:60])
        value = value[part] if here else None
    return ".".join(names)


def obeyed(kind: type[Body]) -> list[str]:
    """Names of the parameters that do something."""
    return [name for name in kind.model_fields if name not in ignored(kind)]


def ignored(kind: type[Body]) -> list[str]:
    """Names of those that are accepted without effect."""
    return [name for name, field in kind.model_fields.items() if _NO_EFFECT in field.metadata]


def table(endpoints: Iterable[tuple[str, type[Body]]]) -> str:
    """In Markdown, for docs/server.md."""
    rows = ["| endpoint | obeyed | accepted without effect |", "| --- | --- | --- |"]
    for path, kind in endpoints:
        without = ", ".join(f"`{name}`" for name in ignored(kind))
        rows.append(f"| `{path}` | {', '.join(f'`{name}`' for name in obeyed(kind))} | {without} |")
    return "\n".join(rows)
