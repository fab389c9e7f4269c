"""The data of the check: the tiny trained models of the tests in int4 and int8, the mixture in int4; their answers."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from bench.device.tiny_models import prepare
from qwen3edge import load
from qwen3edge.convert import convert
from tests.conftest import TINY, TINY_MOE, with_tokenizer

_PROMPTS = 3
_TOKENS = 64


def prepare_all(folder: Path) -> None:
    """Some seconds; 12 MB."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as whole:
        mixture = with_tokenizer(TINY_MOE, Path(whole) / "moe")
        for source, recipe, name in (
            (TINY, "int4", "dense-int4"),
            (TINY, "int8", "dense-int8"),
            (mixture, "int4", "moe-int4"),
        ):
            convert(source, folder / f"{name}.q3e", recipe)
    items = [json.loads(line) for line in (TINY / "heldout.jsonl").read_text().splitlines()][:_PROMPTS]
    with load(folder / "dense-int4.q3e", context=512) as model:
        prompts = [
            model.tokenizer.encode(
                f"<|im_start|>user\n{item['messages'][-1]['content']}<|im_end|>\n<|im_start|>assistant\n"
            )[:_TOKENS]
            for item in items
        ]
    prepare(folder, prompts)
