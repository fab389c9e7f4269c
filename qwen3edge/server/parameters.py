"""The parameters of every endpoint: what is obeyed, what is accepted without effect, and that all else is refused.

The fields of a `Body` are the table. docs/server.md prints it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from qwen3edge.errors import shown
from qwen3edge.keywords import nearest
from qwen3edge.server.errors import BodyError

_NO_EFFECT = "accepted without effect"

Ignored = Annotated[Any, _NO_EFFECT]
"""Of a field that cannot change the answer."""


class Body(BaseModel):
    """A request's body. A field that is null counts as one that is not there."""

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=(), defer_build=True)


Bodies = TypeVar("Bodies", bound=Body)


def checked(body: Mapping[str, Any], kind: type[Bodies]) -> Bodies:
    """Raises BodyError that names the parameter which is wrong, missing or unknown."""
    given = {name: value for name, value in body.items() if value is not None}
    for name in given:
        if name not in kind.model_fields:
            near = nearest(name, kind.model_fields)
            hint = f": did you mean {near}?" if near else ""
            raise BodyError(f"expected no parameter {shown(name)}, which this server does not know{hint}", name[:60])
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        name = ".".join(str(part)[:60] for part in first["loc"])
        found = "nothing" if first["type"] == "missing" else shown(first["input"])
        raise BodyError(f"{name}: {first['msg'][:1].lower()}{first['msg'][1:200]}, found {found}", name) from None


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
