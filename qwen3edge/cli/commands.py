"""The slash commands of `qwen3edge chat`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

from qwen3edge.cli.arguments import SAMPLING, file_text, tool_choice, tools
from qwen3edge.cli.conversation import Conversation
from qwen3edge.cli.screen import speed
from qwen3edge.errors import RequestError, TemplateError
from qwen3edge.generation.model import Model
from qwen3edge.runtime.plan import format_bytes

_HELP = """\
/reset              forget the conversation
/system [TEXT|off]  show or change the system prompt
/set [NAME VALUE]   show or change a setting: thinking on|off|auto, thinking_budget, max_tokens, stop, seed, top_k, ...
                    schema FILE, tools FILE, tool_choice auto|none|required|NAME; default leaves it to the model
/result TEXT        what a call of the model gave, the first that has none; it goes on when all have
/save FILE          keep the conversation, with what was computed for it
/load FILE          go on with one that was kept
/stats              what the conversation takes, and how fast it is
/help               this list
/exit, Ctrl-D       leave
"""
_SWITCHES = "/think, /no_think in a message switch the model's reasoning on and off\n"
_KEYS = '''\
""" begins and ends a message of several lines; a line that ends in \\ goes on; a paste is one message
Ctrl-C stops an answer. A space before a / sends the line as it is.'''
_SWITCHED = ("qwen3", "qwen3_moe")
"""The models that were trained on `/think` and `/no_think`, if their templates switch the thinking: not those of July
2025, which have one way, nor Qwen3.5."""

_COMMAND = re.compile(r"/([A-Za-z_]+|\?)(?:\s+(.*))?", re.DOTALL)
_FOR_THE_MODEL = ("think", "no_think")
_LEAVE = ("exit", "quit", "bye")

_KINDS: dict[str, Callable[[str], Any]] = {
    "thinking_budget": int,
    "thinking_budget_message": str,
    "max_tokens": int,
    "stop": str,
    "seed": int,
    "schema": lambda path: file_text(os.path.expanduser(path)),
    "tools": lambda path: tools(os.path.expanduser(path)),
    "tool_choice": tool_choice,
    **{name: kind for name, (kind, _) in SAMPLING.items()},
}
_ARGUMENTS = {"schema": "json_schema"}
"""Of `generate`, where a setting has another name."""
_THINKING = {"on": True, "off": False, "auto": None}


class Leave(Exception):
    """The user wants to go."""


class GoOn(Exception):
    """All calls of the model have their results."""


def run_command(line: str, conversation: Conversation) -> str | None:
    """What a command says; None for a line that is none and is for the model. Raises Leave, GoOn; Qwen3EdgeError and
    OSError for a file that cannot be saved or loaded.
    """
    if line.strip() in _LEAVE[:2]:  # as in Python's own prompt
        raise Leave
    match = _COMMAND.fullmatch(line.rstrip())
    if match is None or match[1] in _FOR_THE_MODEL:
        return None
    name, rest = match[1], (match[2] or "").strip()
    if name in _LEAVE:
        raise Leave
    if name == "reset":
        conversation.reset()
        return "the conversation is forgotten"
    if name in ("help", "?"):
        return help_text(conversation.model)
    if name == "system":
        return _system(rest, conversation)
    if name == "set":
        return _set(rest, conversation)
    if name == "result":
        return _result(rest, conversation)
    if name in ("save", "load"):
        return _file(name, rest, conversation)
    if name == "stats":
        return _stats(conversation)
    return f"unknown command /{name}: /help lists them; a space before the / sends the line to the model"


def help_text(model: Model) -> str:
    """All commands, and what else a message to this model can have."""
    template = model.prompt_builder.template
    switched = template is not None and template.switches_thinking and model.config.model_type in _SWITCHED
    return _HELP + _SWITCHES * switched + _KEYS


def _system(text: str, conversation: Conversation) -> str:
    if text:
        before, conversation.system = conversation.system, None if text == "off" else text
        try:
            conversation.check(conversation.settings)
        except (RequestError, TemplateError) as error:
            conversation.system = before
            return str(error)
    return f"system prompt: {conversation.system or 'none'}"


def _result(text: str, conversation: Conversation) -> str:
    conversation.add_result(text)
    left = len(conversation.open_calls)
    if not left:
        raise GoOn
    return f"{left} more of the calls have no result yet"


def _file(name: str, path: str, conversation: Conversation) -> str:
    if not path:
        raise RequestError(f"/{name}: expected a file, found none")
    path = os.path.expanduser(path)
    if name == "save":
        conversation.save(path)
        return f"saved in {path}"
    conversation.load(path)
    return loaded(conversation)


def loaded(conversation: Conversation) -> str:
    """What is told of one that goes on."""
    return (
        f"{len(conversation.turns)} turns, {len(conversation.session.tokens)} of {conversation.context} tokens; system "
        f"prompt: {conversation.system or 'none'}"
    )


def _set(text: str, conversation: Conversation) -> str:
    if not text:
        return _settings(conversation)
    name, _, value = text.partition(" ")
    name, value = name.replace("-", "_"), value.strip()
    try:
        found = _value(name, value)
        changed = {**conversation.settings, _ARGUMENTS.get(name, name): found}
        if found is None and name in ("tool_choice", "thinking_budget_message"):  # whose default is no None
            del changed[name]
        conversation.check(changed)
    except (RequestError, TemplateError) as error:
        return str(error)
    conversation.settings = changed
    return f"{name}: {value}"


def _value(name: str, text: str) -> Any:
    if name == "thinking":
        if text not in _THINKING:
            raise RequestError(f"thinking: expected on, off or auto, found {text!r:.60}")
        return _THINKING[text]
    if name not in _KINDS:
        raise RequestError(f"unknown setting {name:.60}: expected thinking, {', '.join(_KINDS)}")
    if text == "default":
        return None
    try:
        return _KINDS[name](text)
    except RequestError:
        raise
    except ValueError:
        raise RequestError(f"{name}: expected a number, or default, found {text!r:.60}") from None


def _settings(conversation: Conversation) -> str:
    """Those that were chosen, and the defaults of the rest."""
    words = {True: "on", False: "off", None: "auto"}
    chosen = [f"thinking {words[conversation.settings.get('thinking')]}"]
    for name in _KINDS:
        value = conversation.settings.get(_ARGUMENTS.get(name, name))
        if value is not None:
            chosen.append(f"{name} {_said(name, value)}")
    defaults = conversation.model.sampling_defaults
    lines = [", ".join(chosen), f"the model's own when answering directly: {defaults.direct}"]
    if conversation.model.thinks:
        lines.append(f"the model's own when thinking: {defaults.thinking}")
    return "\n".join(lines)


def _said(name: str, value: Any) -> str:
    """A setting as /set takes it, but of a file what it is about."""
    if name == "tools":
        return f"({len(value)})"
    if name == "schema":
        return "(given)"
    return str(value["function"]["name"] if isinstance(value, dict) else value)


def _stats(conversation: Conversation) -> str:
    plan = conversation.model.plan
    lines = [
        f"{len(conversation.turns)} turns; {len(conversation.session.tokens)} of {plan.context} tokens of the context",
        f"memory: {format_bytes(plan.peak)} at most, KV cache {format_bytes(plan.kv_cache)} in {plan.kv}, "
        f"{plan.threads} threads",
    ]
    if conversation.last is not None:
        lines.append(f"last answer: {speed(conversation.last)}; seed {conversation.last.seed}")
    return "\n".join(lines)
