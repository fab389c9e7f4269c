"""`qwen3edge run MODEL "prompt"`."""

from __future__ import annotations

import argparse
import fcntl
import os
import stat
import sys
import termios
from dataclasses import asdict
from pathlib import Path

from qwen3edge.cli import arguments as options
from qwen3edge.cli.output import print_json
from qwen3edge.errors import RequestError

HELP = "answer one prompt"
_STDIN = "-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A model, a prompt, how to load the one and answer the other."""
    options.add_model(parser)
    parser.add_argument("prompt", nargs="*", help="several are joined by empty lines; - is standard input (default)")
    parser.set_defaults(take_rest=_take_rest)
    parser.add_argument("--file", "-f", metavar="FILE", help="a text that follows the prompt")
    parser.add_argument(
        "--raw", action="store_true", help="continue the prompt as it is: no chat template, no messages"
    )
    options.add_answering(parser)
    options.add_loading(parser)
    options.add_device(parser)
    options.add_json(parser)


def _take_rest(arguments: argparse.Namespace, rest: list[str]) -> list[str]:
    """What is left of the words behind options, which argparse leaves to us: those that are no prompt."""
    words = [word for word in rest if word == _STDIN or " " in word or not word.startswith("-")]
    arguments.prompt = [*arguments.prompt, *words]
    return [word for word in rest if word not in words]


def run(arguments: argparse.Namespace) -> int:
    """Answers one prompt; content goes to standard output, thoughts only to a terminal or into the JSON."""
    from qwen3edge.cli.screen import Screen, ending, speed
    from qwen3edge.cli.status import PromptProgress
    from qwen3edge.generation.model import load

    prompt = _prompt(arguments)
    for flag, value in (("--system", arguments.system), ("--chat-template", arguments.chat_template)):
        if arguments.raw and value:
            raise RequestError(f"--raw: expected no {flag} beside it, as the prompt is all that the model sees")
    with load(arguments.model, **options.loading(arguments)) as model:
        request = prompt if arguments.raw else [*options.system(arguments), {"role": "user", "content": prompt}]
        if _STDIN not in arguments.prompt and (arguments.prompt or arguments.file) and _input_waits():
            print(f"qwen3edge: standard input is not read beside a prompt; {_STDIN} adds it", file=sys.stderr)
        progress = PromptProgress()
        answer = model.generate(request, **options.answering(arguments), raw=arguments.raw, progress=progress)
        if arguments.json:
            answer.read()
            result = {
                "content": answer.content,
                "reasoning": answer.reasoning,
                "finish_reason": answer.finish_reason,
                "cut_by": answer.cut_by,
                "usage": asdict(answer.usage),
            }
            print_json(result)
            return 0
        screen = Screen(sys.stdout)
        try:
            for piece in answer:
                screen.show(piece)
        finally:
            progress.end()
            screen.finish()
        screen.note(speed(answer.usage))
        if short := ending(answer, model.plan.context):
            screen.tell(short if answer.content else f"{short}, before the answer began")
    return 0


def _prompt(arguments: argparse.Namespace) -> str:
    """The words of the command line, --file and standard input, joined by empty lines."""
    words = list(arguments.prompt)
    if arguments.file is not None:
        words.append(_without_break(Path(arguments.file).read_bytes()))
    parts = [_standard_input() if word == _STDIN else word for word in words or [_STDIN]]
    prompt = "\n\n".join(part for part in parts if part)
    if not prompt:
        raise RequestError("expected a prompt, found none")
    return prompt


def _standard_input() -> str:
    if sys.stdin is None:
        raise RequestError("expected a prompt, found none, and standard input is closed")
    if sys.stdin.isatty():
        print("qwen3edge: reading the prompt from the terminal; Ctrl-D on a line of its own ends it", file=sys.stderr)
    return _without_break(sys.stdin.buffer.read())


def _without_break(data: bytes) -> str:
    """A file's last line break belongs to the file, not to the prompt."""
    return data.decode("utf-8", "replace").removesuffix("\n").removesuffix("\r")


def _input_waits() -> bool:
    """Whether something was piped in beside a prompt. Nothing of it is read: a loop of a shell that calls a program for
    each line of a list wants the list left alone, and a pipe may stay open for ever.
    """
    try:
        descriptor = sys.stdin.fileno()
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            return status.st_size > os.lseek(descriptor, 0, os.SEEK_CUR)
        waiting = fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4))
        return not os.isatty(descriptor) and int.from_bytes(waiting, sys.byteorder) > 0
    except (OSError, ValueError, AttributeError):  # closed, or a device that cannot tell
        return False
