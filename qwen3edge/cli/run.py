"""`qwen3edge run MODEL "prompt"`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from qwen3edge.cli import arguments as options
from qwen3edge.cli.screen import Screen, speed
from qwen3edge.errors import RequestError
from qwen3edge.generation.model import load


def run(arguments: argparse.Namespace) -> int:
    """Answers one prompt; content goes to standard output, thoughts only to a terminal or into the JSON."""
    prompt = arguments.prompt
    if prompt is None:
        prompt = sys.stdin.buffer.read().decode("utf-8", "replace")
    if not prompt:
        raise RequestError("expected a prompt, found none")
    with load(arguments.model, **options.loading(arguments)) as model:
        messages = [*options.system(arguments), {"role": "user", "content": prompt}]
        answer = model.generate(messages, **options.answering(arguments))
        if arguments.json:
            answer.read()
            result = {
                "content": answer.content,
                "reasoning": answer.reasoning,
                "finish_reason": answer.finish_reason,
                "usage": asdict(answer.usage),
            }
            print(json.dumps(result))
            return 0
        screen = Screen(sys.stdout)
        try:
            for piece in answer:
                screen.show(piece)
        finally:
            screen.finish()
        screen.note(speed(answer.usage))
    return 0
