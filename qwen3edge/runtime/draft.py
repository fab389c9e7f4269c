"""A draft model: a smaller one of the same vocabulary, in the same budget, whose tokens the model checks."""

from __future__ import annotations

import os
from dataclasses import dataclass

from qwen3edge import _core, checks
from qwen3edge.config import ModelConfig
from qwen3edge.errors import MemoryBudgetError, RequestError
from qwen3edge.runtime.plan import format_bytes
from qwen3edge.settings import CoreSettings

_THREAD, _LOGIT = 160 << 10, 4
"""Bytes of a thread's stack and books, and of a logit."""


@dataclass(frozen=True)
class Draft:
    """One that was planned and not loaded yet. context_length: positions that it knows. nbytes: all that it will
    take."""

    file: _core.ModelFile
    settings: CoreSettings
    context_length: int
    nbytes: int

    @classmethod
    def planned(
        cls, path: str | os.PathLike[str], model: _core.ModelFile, config: ModelConfig, settings: CoreSettings
    ) -> Draft:
        """settings: of the model that it drafts for, whose sequences and context it shares. Raises RequestError for
        another vocabulary, a shorter context or no head, MemoryBudgetError where its weights would not stay in memory,
        FileFormatError and its kinds, OSError.
        """
        file = _core.ModelFile(checks.path("draft", path))
        own = ModelConfig.from_metadata(file)
        if own.headless:
            raise RequestError("draft: expected a model with a head, found one for embeddings alone")
        if own.context_length < settings["context"]:
            raise RequestError(
                f"draft: expected a model that knows {settings['context']} positions, as the context has, found "
                f"{own.context_length}: load with context={own.context_length}"
            )
        if not _core.same_vocabulary(model, file):
            raise RequestError(
                "draft: expected a model with the same tokens, found one with others: take one of the same family"
            )
        shared: CoreSettings = {
            **settings,
            "draft_tokens": 0,
            "program": 1,  # it is counted with the model that it drafts for
            "later": 0,
            "min_expert_share": 0.0,
            "memory": settings["memory"] or _core.default_budget(),
        }
        plan = _core.plan(file, **shared)
        if plan["buffers"]:
            resident = plan["peak"] + plan["streamed"]
            raise MemoryBudgetError(
                f"draft: expected a model that fits the budget of {format_bytes(shared['memory'])} beside the other, "
                f"found one that would take {format_bytes(resident)} by itself"
            )
        rows = settings["sequences"] * max(config.vocab_size, own.vocab_size) * _LOGIT
        nbytes = plan["weights"] + plan["kv_cache"] + plan["scratch"] + plan["threads"] * _THREAD + rows
        return cls(file, shared, own.context_length, nbytes)

    def open(self) -> _core.Engine:
        """It in memory."""
        return _core.Engine(self.file, **self.settings)
