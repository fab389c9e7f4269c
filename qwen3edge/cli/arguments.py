"""Arguments that several verbs share, and parsed ones as the library wants them."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import qwen3edge
from qwen3edge.errors import RequestError, shown
from qwen3edge.hub.cache import find
from qwen3edge.settings import AUTO, KV_TYPES, Settings
from qwen3edge.text.tools import strict_functions

_LOADING = (
    *("memory", "context", "threads", "kv", "sequences", "draft_tokens", "draft", "min_expert_share", "texts"),
    *("chat_template", "device"),
)
SAMPLING: dict[str, tuple[Callable[[str], float], str]] = {
    "temperature": (float, "0: greedy; 0.6 thinking, 0.7 direct"),
    "top_k": (int, "20"),
    "top_p": (float, "0.95 thinking, 0.8 direct"),
    "min_p": (float, "0"),
    "presence_penalty": (float, "0"),
    "frequency_penalty": (float, "0"),
    "repetition_penalty": (float, "1; Qwen2.5: 1.05 or 1.1"),
}
"""How each is read from text, and what the models' own mostly are."""
ANSWERING = (
    *("thinking", "thinking_budget", "thinking_budget_message", "max_tokens", "stop", "seed"),
    *("json_schema", "tools", "tool_choice"),
    *SAMPLING,
)
"""What `answering` gives."""


_READ = ("thinking_budget_message", "json_schema", "tools", "tool_choice")
"""Of these what `answering` makes of the text or the file."""


class Arguments(Protocol):
    """A parser, or a group of its arguments."""

    def add_argument(self, *flags: str, **settings: Any) -> argparse.Action:
        """As argparse has it."""


def add_model(parser: Arguments, **settings: Any) -> None:
    """MODEL. settings: as of `add_argument`."""
    parser.add_argument("model", metavar="MODEL", **{"help": "a .q3e file, or a name that was pulled", **settings})


def add_device(parser: Arguments) -> None:
    """--device."""
    parser.add_argument("--device", default="cpu", help="cpu (default), or cuda or cuda:N for a GPU")


def add_threads(parser: Arguments) -> None:
    """--threads."""
    parser.add_argument("--threads", type=int, metavar="N", help="default: all that the process may use")


def add_kv(parser: Arguments, types: Sequence[str], note: str = "") -> None:
    """--kv, one of these types."""
    parser.add_argument("--kv", default="int8", choices=types, help=f"type of the KV cache (int8){note}")


def add_sequences(parser: Arguments, what: str, usual: int = 1) -> None:
    """--sequences. what: is done so many at a time."""
    parser.add_argument("--sequences", type=int, default=usual, metavar="N", help=f"{what} ({usual})")


def add_quiet(parser: Arguments, progress: str) -> None:
    """--quiet; progress: what is not shown then."""
    parser.add_argument("--quiet", action="store_true", help=f"no progress {progress}")


def add_json(parser: Arguments) -> None:
    """--json."""
    parser.add_argument("--json", action="store_true", help="for programs")


def add_loading(parser: argparse.ArgumentParser, *, context: str | None = None) -> None:
    """How a model is loaded; `loading` reads them. context: of which it is made by default, if not of 4096 tokens."""
    group = parser.add_argument_group("memory and threads")
    group.add_argument(
        "--memory", metavar="SIZE", help="budget such as 600MiB or 2G, or auto (the default): what the system leaves"
    )
    usual = context or "4096"
    group.add_argument(
        "--context",
        type=context_size,
        default=context,
        metavar="N",
        help=f"tokens that a conversation can hold, or auto: as many as fit ({usual})",
    )
    add_threads(group)
    add_kv(group, KV_TYPES, "; f16 on a GPU alone")
    group.add_argument(
        "--min-expert-share",
        type=float,
        default=0.0,
        metavar="X",
        help="of a mixture, lossy: a token leaves out experts of a smaller share of its weights (0: none)",
    )
    group.add_argument(
        "--draft-tokens",
        type=int,
        metavar="N",
        help="check up to N tokens a step that followed the same words before, or that --draft gives (0; with it 8)",
    )
    group.add_argument(
        "--draft",
        metavar="MODEL",
        help="a smaller model with the same tokens, which drafts: a file, or a name that was pulled (none)",
    )


def context_size(text: str) -> int | str:
    """Of --context. Raises ValueError."""
    return text if text == AUTO else int(text)


def add_answering(parser: argparse.ArgumentParser) -> None:
    """How an answer is made; `answering` and `system` read them."""
    group = parser.add_argument_group("the answer", "`qwen3edge info` shows the defaults that a model file holds.")
    mode = group.add_mutually_exclusive_group()
    mode.add_argument("--thinking", action="store_true", default=None, help="reason before answering")
    mode.add_argument("--no-thinking", dest="thinking", action="store_false", help="answer directly")
    group.add_argument(
        "--thinking-budget", type=int, metavar="N", help="answer after so many tokens of thoughts (no limit)"
    )
    group.add_argument(
        "--thinking-budget-message",
        nargs="?",
        const=True,
        metavar="TEXT",
        help="what thoughts end with at their budget (nothing); alone, before another option: Qwen's own",
    )
    group.add_argument("--system", metavar="TEXT", help="system prompt")
    group.add_argument("--chat-template", metavar="FILE", help="a Jinja2 template in place of the model's own")
    group.add_argument("--max-tokens", type=int, metavar="N", help="default: until the context is full")
    group.add_argument(
        "--stop", action="append", metavar="TEXT", help="end the answer before this text; may be repeated"
    )
    group.add_argument("--seed", type=int, metavar="N", help="for the same answer again")
    group.add_argument("--schema", metavar="FILE", help="a JSON schema: the answer is JSON that it allows")
    group.add_argument("--tools", metavar="FILE", help="a JSON list of tools that the model may call, in OpenAI's form")
    group.add_argument(
        "--tool-choice",
        metavar="CHOICE",
        help="auto (default): the model may call; none: it cannot; required: it must; or the tool that it must call",
    )
    for name, (kind, usual) in SAMPLING.items():
        flag = f"--{name.replace('_', '-')}"
        group.add_argument(flag, type=kind, metavar="X", help=f"default: the model's own ({usual})")


def model_path(model: str) -> str:
    """Of MODEL: a file's path as it is, or that of a name in the cache. Raises RequestError, FileNotFoundError."""
    return os.fspath(find(model))


def file_text(path: str) -> str:
    """What a file says in UTF-8. Raises OSError."""
    return Path(path).read_bytes().decode("utf-8", "replace")


def loading(arguments: argparse.Namespace) -> Settings:
    """For `qwen3edge.load` and `qwen3edge.plan`. Raises OSError, RequestError for a file that is no list of tools."""
    found = {name: getattr(arguments, name) for name in _LOADING if hasattr(arguments, name)}
    choice, declared = (getattr(arguments, name, None) for name in ("tool_choice", "tools"))
    held = getattr(arguments, "schema", None) is not None or _forces(choice)
    held = held or (declared is not None and bool(strict_functions(tools(declared))))
    found["grammars"] = getattr(arguments, "grammars", held)
    return cast(Settings, found)


def answering(arguments: argparse.Namespace) -> dict[str, Any]:
    """For `generate`; None where nothing was said. Raises OSError, RequestError for a file that is no list of tools."""
    read: dict[str, Any] = {
        "json_schema": None if arguments.schema is None else file_text(arguments.schema),
        "tools": None if arguments.tools is None else tools(arguments.tools),
    }
    if arguments.tool_choice is not None:
        read["tool_choice"] = tool_choice(arguments.tool_choice)
    if (message := arguments.thinking_budget_message) is not None:
        if arguments.thinking_budget is None:
            raise RequestError("--thinking-budget-message: expected --thinking-budget N beside it, found none")
        read["thinking_budget_message"] = qwen3edge.BUDGET_MESSAGE if message is True else message
    return {name: getattr(arguments, name) for name in ANSWERING if name not in _READ} | read


def tools(path: str) -> list[dict[str, Any]]:
    """Those that a file declares. Raises OSError, RequestError."""
    try:
        found = json.loads(file_text(path))
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{path}: expected a JSON list of tools, found no JSON ({error})") from None
    if not isinstance(found, list) or not all(isinstance(tool, dict) for tool in found):
        raise RequestError(f"{path}: expected a JSON list of tools, found {shown(found)}")
    return found


def tool_choice(text: str) -> str | dict[str, Any]:
    """As `generate` takes it."""
    return {"type": "function", "function": {"name": text}} if _names_tool(text) else text


def _names_tool(text: str) -> bool:
    return text not in ("auto", "none", "required")


def _forces(choice: str | None) -> bool:
    return choice is not None and (choice == "required" or _names_tool(choice))


def system(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The messages that a conversation begins with."""
    return [{"role": "system", "content": arguments.system}] if arguments.system else []
