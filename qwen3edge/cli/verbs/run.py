"""`qwen3edge run MODEL "prompt"`, and many prompts of a file."""

from __future__ import annotations

import argparse
import fcntl
import os
import stat
import sys
import termios
from pathlib import Path
from typing import TYPE_CHECKING

from qwen3edge.cli import arguments as options
from qwen3edge.cli.output import answer_record, print_json
from qwen3edge.cli.prompts import STDIN
from qwen3edge.errors import RequestError

if TYPE_CHECKING:
    from qwen3edge.cli.prompts import PromptLine
    from qwen3edge.cli.status import PromptProgress
    from qwen3edge.generation.answer import Answer

HELP = "answer one prompt, or many"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A model, a prompt, how to load the one and answer the other."""
    options.add_model(parser, help="a .q3e file, or a name such as Qwen/Qwen3-0.6B, which is pulled if need be")
    parser.add_argument(
        "prompt",
        nargs="*",
        help="several are joined into one by empty lines (--prompts takes many); - is standard input (default)",
    )
    parser.set_defaults(take_rest=_take_rest)
    parser.add_argument("--file", "-f", metavar="FILE", help="a text that follows the prompt")
    parser.add_argument(
        "--prompts",
        metavar="FILE",
        help='many prompts, one a line: a text, or JSON such as {"prompt": "..."} or {"messages": [...]}; - is '
        "standard input",
    )
    options.add_sequences(parser, "answers to --prompts that are computed together")
    parser.add_argument(
        "--raw", action="store_true", help="continue the prompt as it is: no chat template, no messages"
    )
    options.add_answering(parser)
    options.add_loading(parser)
    options.add_device(parser)
    parser.add_argument(
        "--speed", action="store_true", help="tell tokens a second on standard error where they are not shown anyway"
    )
    options.add_json(parser)


def _take_rest(arguments: argparse.Namespace, rest: list[str]) -> list[str]:
    """What is left of the words behind options, which argparse leaves to us: those that are no prompt."""
    words = [word for word in rest if word == STDIN or " " in word or not word.startswith("-")]
    arguments.prompt = [*arguments.prompt, *words]
    return [word for word in rest if word not in words]


def run(arguments: argparse.Namespace) -> int:
    """Answers one prompt, or those of a file: 2 if one of them failed. Content goes to standard output, thoughts only
    to a terminal or into the JSON.
    """
    for flag, value in (("--system", arguments.system), ("--chat-template", arguments.chat_template)):
        if arguments.raw and value:
            raise RequestError(f"--raw: expected no {flag} beside it, as the prompt is all that the model sees")
    if arguments.prompts is not None:
        return _run_many(arguments)
    if arguments.sequences != 1:
        raise RequestError(
            f"--sequences {arguments.sequences}: expected --prompts FILE beside it, as all words of the command line "
            "are one prompt"
        )
    _run_one(arguments)
    return 0


def _run_one(arguments: argparse.Namespace) -> None:
    from qwen3edge.cli.screen import Screen, broken_calls, ending, speed
    from qwen3edge.cli.status import PromptProgress
    from qwen3edge.generation.model import load
    from qwen3edge.hub.child import resolve

    prompt = _prompt(arguments)
    with load(resolve(arguments.model), **options.loading(arguments)) as model:
        request = prompt if arguments.raw else [*options.system(arguments), {"role": "user", "content": prompt}]
        if STDIN not in arguments.prompt and (arguments.prompt or arguments.file) and _input_waits():
            print(f"qwen3edge: standard input is not read beside a prompt; {STDIN} adds it", file=sys.stderr)
        screen, progress = Screen(sys.stdout), PromptProgress()
        with progress:
            answer = model.generate(request, **options.answering(arguments), raw=arguments.raw, progress=progress)
            if arguments.json:
                answer.read()
            else:
                try:
                    for piece in answer:
                        screen.show(piece)
                finally:
                    progress.end()
                    screen.finish()
        if arguments.json:
            print_json(answer_record(answer))
        else:
            for call in answer.tool_calls:
                print_json(call.message)
        _tell_speed(speed(answer.usage), arguments)
        if arguments.json:
            return
        short = ending(answer, model.plan.context)
        for told in (*broken_calls(answer), *([short] if short else [])):
            screen.tell(told)


def _run_many(arguments: argparse.Namespace) -> int:
    from qwen3edge.cli.batch import JsonOutput, Output, TextOutput, answer_all
    from qwen3edge.cli.prompts import PromptFile, asked_by, longest_line, opened
    from qwen3edge.generation.model import load
    from qwen3edge.hub.child import resolve

    if arguments.prompt or arguments.file is not None:
        raise RequestError("--prompts: expected no other prompt beside it, found one")
    if arguments.tools is not None and not arguments.json:
        raise RequestError("--tools: expected --json beside --prompts, for the calls of many answers")
    settings = options.answering(arguments)
    system, raw = options.system(arguments), arguments.raw
    path = resolve(arguments.model)
    with opened(arguments.prompts) as file, load(path, **options.loading(arguments)) as model:
        model.generate(asked_by("hi", system, raw=raw), **settings, raw=raw).close()  # refuses what no line can have
        longest = longest_line(model.plan.context)

        def ask(line: PromptLine, progress: PromptProgress) -> Answer:
            if line.text is None:
                raise RequestError(f"expected a line of at most {longest} bytes, found more (--context N takes longer)")
            return model.generate(asked_by(line.text, system, raw=raw), **settings, raw=raw, progress=progress)

        output: Output = JsonOutput() if arguments.json else TextOutput()
        prompts = PromptFile(file, longest)
        totals = answer_all(prompts, ask, output, sequences=model.plan.sequences, context=model.plan.context)
        if totals.answered + totals.failed == 0:
            raise RequestError(f"{arguments.prompts}: expected a prompt a line, found none")
        if totals.answered:
            _tell_speed(totals.speed(), arguments)
    return 2 if totals.failed else 0


def _tell_speed(text: str, arguments: argparse.Namespace) -> None:
    """On a terminal beside the answers, else on request."""
    from qwen3edge.cli.screen import Screen

    if sys.stdout.isatty() and not arguments.json:
        Screen(sys.stdout).note(text)
    elif arguments.speed:
        print(f"qwen3edge: {text}", file=sys.stderr)


def _prompt(arguments: argparse.Namespace) -> str:
    """The words of the command line, --file and standard input, joined by empty lines."""
    words = list(arguments.prompt)
    if arguments.file is not None:
        words.append(_without_break(Path(arguments.file).read_bytes()))
    parts = [_standard_input() if word == STDIN else word for word in words or [STDIN]]
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
