"""A chat template that a caller gives in place of the model's own: a file, or its text."""

from __future__ import annotations

import os
from dataclasses import dataclass

from qwen3edge import checks
from qwen3edge.errors import RequestError, shown
from qwen3edge.templates.budget import MAX_SOURCE_CHARACTERS

Given = str | os.PathLike[str]
"""A path; or a str with `{{`, `{%` or a line break in it, which is the template itself."""

WAY_OUT = "another one can be given (--chat-template FILE, chat_template= in Python)"

_MARKS = ("{{", "{%")


@dataclass(frozen=True)
class GivenTemplate:
    """source: of Jinja2. origin: for messages, the file or the parameter."""

    source: str
    origin: str


def read_template(given: Given) -> GivenTemplate:
    """Raises RequestError, which says what to do, for what cannot be read or is no template of messages. Whether Jinja2
    understands it is for `BoundedSandbox` to say.
    """
    if isinstance(given, str) and any(mark in given for mark in (*_MARKS, "\n")):
        template = GivenTemplate(given, "chat_template")
    else:
        path = os.fspath(given) if isinstance(given, os.PathLike) else given
        if not isinstance(path, str):
            raise RequestError(f"expected chat_template as a path or a template's text, found {shown(given)}")
        template = GivenTemplate(_read(path), path)
    _check(template)
    return template


def _read(path: str) -> str:
    where = f"chat_template: expected a file with a Jinja2 template, or the template's text, found {path!r:.200}"
    try:
        with open(path, "rb") as file:
            data = file.read(4 * MAX_SOURCE_CHARACTERS + 1)
    except FileNotFoundError:
        raise RequestError(f"{where}, which is no file") from None
    except IsADirectoryError:
        inside = os.path.join(path, "chat_template.jinja")
        hint = f": give {inside}" if os.path.isfile(inside) else ""
        raise RequestError(f"{where}, which is a folder{hint}") from None
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        raise RequestError(f"{where}: {getattr(error, 'strerror', None) or error}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        if len(data) <= 4 * MAX_SOURCE_CHARACTERS:
            raise RequestError(f"{where}, which is not in UTF-8: save it in that encoding") from None
        return data.decode("utf-8", "replace")  # cut inside a character; too long in any case


def _check(template: GivenTemplate) -> None:
    source, origin = template.source, template.origin
    if len(source) > MAX_SOURCE_CHARACTERS:
        raise RequestError(f"{origin:.200}: expected a template of at most {MAX_SOURCE_CHARACTERS} characters")
    checks.encoded(f"{origin:.200}", source)
    begin = source.lstrip()[:2]
    if begin[:1] == "{" and begin[1:] not in ("{", "%", "#"):
        raise RequestError(
            f"{origin:.200}: expected a Jinja2 template, found JSON: put the text of its chat_template into a file"
        )
    if not any(mark in source for mark in _MARKS) or "messages" not in source:
        raise RequestError(
            f"{origin:.200}: expected a Jinja2 template that writes `messages`, found none of them in it: the "
            "conversation would be left out"
        )
