"""The command `qwen3edge`: the choice of a verb, exit statuses, and how errors are told.

Exit status: 0 done, 1 a file or the machine does not allow it, 2 the arguments are wrong, 130 interrupted. SIGTERM and
SIGHUP end it as they end any program (143 and 129 in a shell), once what it was writing is removed.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from io import TextIOWrapper
from typing import NoReturn

from qwen3edge import __version__
from qwen3edge.cli import verbs
from qwen3edge.cli.output import error_text
from qwen3edge.cli.process import open_standard_streams, unwound_by_signals
from qwen3edge.errors import Qwen3EdgeError, RequestError
from qwen3edge.extras import named_extra


class _Parser(argparse.ArgumentParser):
    """Tells a wrong argument in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"qwen3edge: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb; returns the exit status. Never raises for what a user can cause."""
    open_standard_streams()
    status = 1
    with unwound_by_signals():
        status = _run(arguments)
    return status


def _run(arguments: Sequence[str] | None) -> int:
    try:
        _prepare_streams()
        words = sys.argv[1:] if arguments is None else list(arguments)
        known = verbs.names()
        chosen, rest = parser(words[:1] if words[:1] and words[0] in known else known).parse_known_args(words)
        verb = verbs.verb(chosen.verb)
        if "take_rest" in chosen:
            rest = chosen.take_rest(chosen, rest)
        if rest:
            chosen.parser.error(f"unrecognized arguments: {' '.join(rest)}")
        status = _work(verb, chosen)
        sys.stdout.flush()
        return status
    except SystemExit as error:  # argparse
        return error.code if isinstance(error.code, int) else 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output left
        _drop_output()
        return 141
    except RequestError as error:
        return _fail(str(error), 2)
    except Qwen3EdgeError as error:
        return _fail(str(error), 1)
    except MemoryError:
        return _fail("the memory of this machine is used up", 1)
    except OSError as error:
        try:
            sys.stdout.flush()
        except OSError:
            _drop_output()
        return _fail(error_text(error), 1)


def _drop_output() -> None:
    """What waits in the buffer of standard output: the interpreter would try again at exit, and tell of it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _work(verb: verbs.Verb, chosen: argparse.Namespace) -> int:
    try:
        return verb.run(chosen)
    except ModuleNotFoundError as error:
        raise named_extra(chosen.verb, error) from None


def _prepare_streams() -> None:
    """What an encoding does not have is written and read as a replacement."""
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def parser(names: Iterable[str]) -> argparse.ArgumentParser:
    """The arguments of these verbs: the one that was chosen, or all for the help that lists them."""
    root = _Parser(prog="qwen3edge", description="A quantized edge runtime for Qwen3.")
    root.add_argument("--version", action="version", version=f"qwen3edge {__version__}")
    choices = root.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name in names:
        verb = verbs.verb(name)
        made = choices.add_parser(name, help=verb.HELP, description=f"{verb.HELP[0].upper()}{verb.HELP[1:]}.")
        made.set_defaults(parser=made)
        verb.add_arguments(made)
    return root


def _fail(message: str, status: int) -> int:
    lines = message.strip().splitlines() or ["failed"]
    print(f"qwen3edge: {lines[0]}", *lines[1:], sep="\n", file=sys.stderr)
    return status
