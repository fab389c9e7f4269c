"""The models that these benches use, made once under build/bench/, and loaded with Qwen3's chat template."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import qwen3edge
from bench import peers
from bench.report import BUILD, make_checkpoint, make_own
from qwen3edge.generation.model import Model
from tests.real_file import FOLDER as REAL

WORK = BUILD / "bench"
TINY = peers.ROOT / "tests" / "data" / "tiny-qwen3"


def kept(source: Path, quant: str = "int4", work: Path = WORK) -> Path:
    """A `.q3e` file of a checkpoint, converted when it is first asked for."""
    path = work / f"{source.name}-{quant}.q3e"
    work.mkdir(parents=True, exist_ok=True)
    return path if path.is_file() else make_own(source, work, quant)


def random_06b() -> Path:
    """Qwen3-0.6B's shape with random weights and the real tokenizer."""
    WORK.mkdir(parents=True, exist_ok=True)
    return kept(make_checkpoint(WORK))


def real() -> Path:
    """Where the public real model is once it was fetched (`make real`), or what QWEN3EDGE_REAL_MODEL names."""
    return Path(os.environ.get("QWEN3EDGE_REAL_MODEL") or REAL / "real.gguf")


def trained() -> list[Path]:
    """The tiny model, and the public real one where it is."""
    return [kept(TINY), *([kept(real(), "int8")] if real().is_file() else [])]


def budget_for(path: Path, pages: int, **settings: Any) -> int:
    """The most memory in bytes with which the KV cache has at most so many pages. It follows from what this process
    holds now.
    """
    plan = qwen3edge.plan(path, **settings)
    budget, page = plan.peak, plan.kv_cache // plan.pages
    while (found := qwen3edge.plan(path, memory=budget, **settings).pages) > pages:
        budget -= max(1, (found - pages) // 2) * page
    return budget


def load(path: Path, pages: int | None = None, **settings: Any) -> Model:
    """With Qwen3's template, whatever the file's own is. pages: the most that the KV cache may have."""
    config = json.loads((TINY / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings["chat_template"] = config["chat_template"]
    if pages is not None:
        settings["memory"] = budget_for(path, pages, **settings)
    return qwen3edge.load(path, **settings)
