"""`qwen3edge serve MODEL ...`."""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from qwen3edge.cli import arguments as options
from qwen3edge.errors import RequestError, shown

HELP = "answer clients of OpenAI, Anthropic and Ollama over HTTP"

_KEY = "QWEN3EDGE_API_KEY"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Models, how they are loaded, and who may ask them."""
    options.add_model(
        parser, nargs="+", help=".q3e files, each served under its name without .q3e; or names, pulled if need be"
    )
    parser.add_argument("--alias", action="append", default=[], metavar="NAME=MODEL", help="another name for a model")
    parser.add_argument("--idle", type=_seconds, metavar="S", help="unload a model that is unused for so long (never)")
    parser.add_argument("--sessions", type=Path, metavar="DIR", help="where clients may save conversations (nowhere)")
    group = parser.add_argument_group("who may ask")
    group.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen (127.0.0.1)")
    group.add_argument("--port", type=_port, default=8080, metavar="N", help="8080; 0: any that is free")
    group.add_argument(
        "--api-key", action="append", default=[], metavar="KEY", help=f"that clients must have (or {_KEY}); repeatable"
    )
    group.add_argument("--insecure", action="store_true", help="no key, though others can reach the host")
    group.add_argument("--allow-host", action="append", default=[], metavar="NAME", help="by which clients may call it")
    group.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="URL",
        help="of web pages and apps that may call it",
    )
    group.add_argument("--log-requests", action="store_true", help="write what clients ask and are answered to the log")
    group.add_argument("--allow-pull", action="store_true", help="clients may have models fetched (Ollama's pull)")
    group.add_argument(
        "--grace", type=_whole_seconds, default=30, metavar="S", help="for answers, once told to end (30)"
    )
    options.add_loading(parser, context="auto")
    options.add_sequences(parser, "answers that are computed together", 8)
    options.add_device(parser)
    parser.add_argument("--chat-template", metavar="FILE", help="a Jinja2 template in place of the models' own")


def run(arguments: argparse.Namespace) -> int:
    """Serves until it is told to stop."""
    with contextlib.ExitStack() as kept:
        with _without_collections():
            from qwen3edge.server import listening, request_log
            from qwen3edge.server.app import make_app
            from qwen3edge.server.hosted import Models
            from qwen3edge.server.metrics import Metrics
            from qwen3edge.server.safety import Access
            from qwen3edge.server.sessions import Sessions

            keys = arguments.api_key or [key for key in (os.environ.get(_KEY),) if key]
            access = Access(
                arguments.host,
                keys,
                arguments.allow_host,
                arguments.allow_origin,
                insecure=arguments.insecure,
                pulls=arguments.allow_pull,
            )
            metrics = Metrics()
            saved = None if arguments.sessions is None else kept.enter_context(Sessions(arguments.sessions))
            socket = kept.enter_context(listening.bound(arguments.host, arguments.port))
            models = Models(
                _paths(arguments.model),
                dict(_pair(alias) for alias in arguments.alias),
                {**options.loading(arguments), "grammars": True},
                idle_seconds=arguments.idle,
                count=metrics.count_answer,
            )
            app = make_app(models, metrics, access, saved=saved)
        if arguments.log_requests:
            request_log.begin()
            print("qwen3edge: --log-requests: what clients ask and are answered is logged", file=sys.stderr, flush=True)
        where = listening.address(socket)
        told = f"qwen3edge: {', '.join(models.names)} at {where} (OpenAI: {where}/v1)"
        listening.run(app, socket, grace_seconds=arguments.grace, ready=lambda: print(told, flush=True))
    return 0


def _port(text: str) -> int:
    return _whole(text, 65535)


def _whole_seconds(text: str) -> int:
    return _whole(text, 10**6)


def _whole(text: str, most: int) -> int:
    if not (text.isdecimal() and text.isascii() and len(text) < 8 and int(text) <= most):
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to {most}, found {shown(text)}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected seconds above 0, found {shown(text)}")
    return value


@contextlib.contextmanager
def _without_collections() -> Iterator[None]:
    """A start makes much and drops nothing: to look for garbage in it, then and later, takes time in vain."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _paths(models: list[str]) -> dict[str, Path]:
    """By the names that clients use."""
    from qwen3edge.hub.child import resolve

    found: dict[str, Path] = {}
    for each in models:
        path = Path(resolve(each))
        name = path.name.removesuffix(".q3e") if path == Path(each) else each
        if name in found:
            raise RequestError(f"expected models of different names, found {shown(name)} twice: rename one")
        found[name] = path
    return found


def _pair(alias: str) -> tuple[str, str]:
    name, equals, model = alias.partition("=")
    if not (name and equals and model):
        raise RequestError(f"--alias: expected NAME=MODEL, found {shown(alias)}")
    return name, model.removesuffix(".q3e")
