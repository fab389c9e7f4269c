"""Folders with the text files of a checkpoint, and what the converter and the runtime make of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from qwen3edge.convert.tokenizer import TextFiles
from qwen3edge.text.template import ChatTemplate
from qwen3edge.text.tokenizer import Tokenizer

TINY = Path(__file__).parent / "data" / "tiny-qwen3"
NAMES = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")
ROWS = 2560  # of the tiny model's embedding


def copy(folder: Path) -> Path:
    """The tiny model's text files, without its weights."""
    for name in NAMES:
        (folder / name).write_bytes((TINY / name).read_bytes())
    (folder / "config.json").write_bytes((TINY / "config.json").read_bytes())
    return folder


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value, ensure_ascii=False))


def metadata(folder: Path, model_type: str = "qwen3") -> dict[str, Any]:
    """As a `.q3e` file would hold it: lists for arrays."""
    keys = TextFiles(folder).metadata(ROWS, model_type, 1024)
    return {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in keys.items()}


def tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.from_metadata(metadata(folder))


def template(folder: Path) -> ChatTemplate:
    keys = metadata(folder)
    return ChatTemplate(keys["tokenizer.chat_template"], Tokenizer.from_metadata(keys).named_tokens)
