"""What a model's file says of it, read once: for clients that choose among models, in memory or not."""

from __future__ import annotations

import functools
import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qwen3edge import _core
from qwen3edge.config import ModelConfig
from qwen3edge.errors import Qwen3EdgeError
from qwen3edge.server.hosted import Served
from qwen3edge.text.reasoning import THINK_OPEN

_AT_THE_ENDS = ("token_embd.weight", "output.weight")  # which have more bits than the layers between them
_UNITS = ((10**9, "B", 1), (10**6, "M", 2), (10**3, "K", 0))


@dataclass(frozen=True)
class Facts:
    """Of one file. weights: their number. format: in which most bytes of the layers are."""

    nbytes: int
    config: ModelConfig
    weights: int
    format: str
    template: str
    sampling: dict[str, Any]

    @property
    def details(self) -> dict[str, Any]:
        """As Ollama has them."""
        family = self.config.model_type
        return {
            "parent_model": "",
            "format": "q3e",
            "family": family,
            "families": [family],
            "parameter_size": _short(self.weights),
            "quantization_level": self.format,
        }

    @property
    def capabilities(self) -> list[str]:
        """In Ollama's words."""
        if self.config.headless:
            return ["embedding"]
        able = {"tools": "tools" in self.template, "thinking": THINK_OPEN in self.template}
        return ["completion", *(name for name, is_able in able.items() if is_able)]


def facts(served: Served) -> Facts | None:
    """None for a file that cannot be read any more."""
    try:
        found = _read(served.path, served.modified)
    except (Qwen3EdgeError, OSError):
        return None
    if served.model is None or served.settings.get("chat_template") is None:
        return found
    given = served.model.prompt_builder.template
    return found if given is None else replace(found, template=given.source)


def digest(served: Served) -> str:
    """By which a client tells one file from another. Not of its content: to read that would take seconds."""
    return hashlib.sha256(f"{served.path.absolute()} {served.modified}".encode("utf-8", "surrogateescape")).hexdigest()


@functools.lru_cache(maxsize=64)
def _read(path: Path, modified: float) -> Facts:
    """modified: another one is another file."""
    file = _core.ModelFile(os.fspath(path))
    nbytes: dict[str, int] = {}
    matrices = [tensor for tensor in file.tensors() if tensor["rows"] > 1]
    for tensor in matrices:
        if tensor["name"] not in _AT_THE_ENDS:
            nbytes[tensor["format"]] = nbytes.get(tensor["format"], 0) + tensor["nbytes"]
    template = file.get("tokenizer.chat_template") if "tokenizer.chat_template" in file else ""
    template = template if isinstance(template, str) else ""
    mode = "thinking" if THINK_OPEN in template else "direct"
    keys = {name: f"qwen3edge.sampling.{mode}.{name}" for name in ("temperature", "top_k", "top_p", "min_p")}
    return Facts(
        file.nbytes,
        ModelConfig.from_metadata(file),
        sum(tensor["rows"] * tensor["columns"] for tensor in matrices),
        max(nbytes, key=nbytes.__getitem__),
        template,
        {name: file.get(key) for name, key in keys.items() if key in file},
    )


def _short(number: int) -> str:
    """Such as 596.05M."""
    for size, letter, digits in _UNITS:
        if number >= size:
            return f"{number / size:.{digits}f}{letter}"
    return str(number)
