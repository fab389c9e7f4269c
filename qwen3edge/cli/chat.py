"""`qwen3edge chat MODEL`: a conversation on a terminal."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import Any

from qwen3edge.cli import arguments as options
from qwen3edge.cli.screen import Screen, speed
from qwen3edge.errors import RequestError, TemplateError
from qwen3edge.generation.model import load
from qwen3edge.generation.session import Session

with contextlib.suppress(ImportError):
    import readline  # noqa: F401  line editing and history for input()

HELP = """/reset  forget the conversation
/help   this list
/think, /no_think in a message switch the model's reasoning on and off
Ctrl-C stops an answer, Ctrl-D leaves"""


def run(arguments: argparse.Namespace) -> int:
    """Reads lines until the end of the input."""
    begin = options.system(arguments)
    messages: list[dict[str, Any]] = list(begin)
    with load(arguments.model, **options.loading(arguments)) as model, model.session() as session:
        Screen(sys.stdout).note(f"{model.name}, context of {model.plan.context} tokens. /help lists the commands.")
        while True:
            try:
                line = _read()
            except EOFError:
                return 0
            except KeyboardInterrupt:
                print()
                continue
            match line.strip():
                case "":
                    continue
                case "/reset":
                    messages = list(begin)
                    session.reset()
                case "/help":
                    print(HELP)
                case _:
                    _turn(session, messages, line, options.answering(arguments))


def _turn(session: Session, messages: list[dict[str, Any]], line: str, settings: dict[str, Any]) -> None:
    """One question and its answer; both stay in messages, also a stopped answer's part."""
    screen = Screen(sys.stdout)
    messages.append({"role": "user", "content": line})
    try:
        answer = session.generate(messages, **settings)
    except (RequestError, TemplateError) as error:
        messages.pop()
        print(f"qwen3edge: {error}", file=sys.stderr)
        return
    except KeyboardInterrupt:  # before the answer began
        messages.pop()
        print()
        return
    try:
        for piece in answer:
            screen.show(piece)
    except KeyboardInterrupt:
        answer.close()
    screen.finish()
    messages.append({"role": "assistant", "content": answer.content})
    ending = {"length": ", cut: no room is left", "cancelled": ", stopped"}.get(answer.finish_reason or "", "")
    screen.note(speed(answer.usage) + ending)


def _read() -> str:
    if sys.stdin.isatty():
        return input("> ")
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\r\n")
