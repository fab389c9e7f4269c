"""Parsed arguments as the library wants them."""

from __future__ import annotations

import argparse
from typing import Any

_LOADING = ("memory", "context", "threads", "kv", "min_expert_share", "texts", "chat_template", "device")
_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "presence_penalty", "repetition_penalty")
_ANSWER = ("thinking", "max_tokens", "stop", "seed", *_SAMPLING)


def loading(arguments: argparse.Namespace) -> dict[str, Any]:
    """For `qwen3edge.load` and `qwen3edge.plan`."""
    return {name: getattr(arguments, name) for name in _LOADING if hasattr(arguments, name)}


def answering(arguments: argparse.Namespace) -> dict[str, Any]:
    """For `generate`."""
    return {name: getattr(arguments, name) for name in _ANSWER}


def system(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The messages that a conversation begins with."""
    return [{"role": "system", "content": arguments.system}] if arguments.system else []
