"""`qwen3edge chat MODEL`: a conversation on a terminal."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from qwen3edge.cli import arguments as options
from qwen3edge.cli.output import error_text
from qwen3edge.errors import GrammarError, Qwen3EdgeError, RequestError, TemplateError

if TYPE_CHECKING:
    from qwen3edge.cli.conversation import Conversation

HELP = "talk with a model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A model, how to load it, how it answers."""
    options.add_model(parser, help="a .q3e file, or a name such as Qwen/Qwen3-0.6B, which is pulled if need be")
    parser.add_argument("--load", metavar="FILE", help="go on with a conversation that /save kept")
    options.add_answering(parser)
    options.add_loading(parser)
    options.add_device(parser)


def run(arguments: argparse.Namespace) -> int:
    """Reads messages until the end of the input. From a pipe: 2 if one of them was refused."""
    from qwen3edge.cli.commands import GoOn, Leave, loaded, run_command
    from qwen3edge.cli.conversation import Conversation
    from qwen3edge.cli.keyboard import Keyboard
    from qwen3edge.cli.screen import Screen
    from qwen3edge.generation.model import load
    from qwen3edge.hub.child import resolve

    path = resolve(arguments.model)
    keyboard, refused = Keyboard(), False
    with load(path, **options.loading(arguments)) as model:
        settings, screen = options.answering(arguments), Screen(sys.stdout)
        conversation = Conversation(model, model.session(), arguments.system, settings)
        screen.note(f"{model.name}, context of {model.plan.context} tokens. /help lists the commands.")
        if arguments.load is not None:
            conversation.load(arguments.load, system=arguments.system, settings=settings)
            screen.note(loaded(conversation))
        while True:
            try:
                message = keyboard.read()
                if not message.strip():
                    continue
                asked: str | None = message
                try:
                    said = run_command(message, conversation)
                except GoOn:
                    asked = said = None
                except (Qwen3EdgeError, OSError) as error:  # of a file
                    print(f"qwen3edge: {error_text(error)}", file=sys.stderr)
                    refused = True
                    continue
            except EOFError:
                if keyboard.terminal:
                    print()
                break
            except Leave:
                break
            except KeyboardInterrupt:
                print()
                continue
            if said is not None:
                print(said)
            else:
                with keyboard.unechoed():
                    refused |= not _turn(conversation, asked)
    return 2 if refused and not keyboard.terminal else 0


def _turn(conversation: Conversation, message: str | None) -> bool:
    """One question, or the results of calls, and its answer; False if it was refused."""
    from qwen3edge.cli.screen import Screen, broken_calls, ending, speed
    from qwen3edge.cli.status import PromptProgress

    screen, progress = Screen(sys.stdout), PromptProgress()
    try:
        answer, forgotten = conversation.ask(message, progress)
    except (RequestError, TemplateError) as error:
        print(f"qwen3edge: {error}", file=sys.stderr)
        return False
    except KeyboardInterrupt:  # before the answer began
        print()
        return True
    if forgotten:
        screen.tell(
            f"the context of {conversation.context} tokens is full: the oldest {forgotten} of the questions are "
            "forgotten, with their answers (--context N holds more)"
        )
    with progress:
        try:
            for piece in answer:
                screen.show(piece)
        except KeyboardInterrupt:
            answer.close()
        except GrammarError as error:  # of this answer alone
            screen.finish()
            print(f"qwen3edge: {error}", file=sys.stderr)
            conversation.keep_nothing()
            return False
    screen.finish()
    conversation.keep(answer)
    for call in answer.tool_calls:
        screen.show_call(call)
    for problem in broken_calls(answer):
        screen.tell(problem)
    short = ending(answer, conversation.context)
    screen.note(speed(answer.usage) + (f", {short}" if short else ""))
    if answer.tool_calls:
        screen.note("/result TEXT tells what a call gave; the model goes on once each has its result.")
    return True
