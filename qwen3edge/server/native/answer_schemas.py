"""What the server's own endpoints answer, and those of llama.cpp's."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from qwen3edge.config import ModelConfig
from qwen3edge.runtime.plan import MemoryPlan
from qwen3edge.server.route import SCHEMAS
from qwen3edge.server.schema import (
    FLAG,
    NUMBER,
    TEXT,
    WHOLE,
    Answers,
    Schema,
    constant,
    either,
    list_of,
    mapping_of,
    nullable,
    record,
    record_of,
)


def _of(kind: Any) -> Schema:
    """A dataclass as `asdict` has it."""
    return TypeAdapter(kind).json_schema(mode="serialization", ref_template=SCHEMAS + "{model}")


_CONFIG = _of(ModelConfig)
PARTS: dict[str, Schema] = _CONFIG.pop("$defs", {})
"""That the answers refer to, by their names in the document."""

_SAMPLING = mapping_of(NUMBER)
_MODEL = record(
    {"switches_thinking": FLAG, "counts": mapping_of(WHOLE), "config": _CONFIG},  # of one in memory
    loaded=FLAG,
    context=WHOLE,
    sequences=WHOLE,
    plan=_of(MemoryPlan),
    sampling=record_of(nullable(_SAMPLING), "thinking", "direct"),
    chat_template=nullable(TEXT),
    thinks=nullable(FLAG),
)
_SAVED: dict[str, Schema] = {"name": TEXT, "bytes": WHOLE, "modified": NUMBER}
_MEMORY = record(
    budget=WHOLE,
    resident=WHOLE,
    peak=WHOLE,
    planned=record_of(WHOLE, "weights", "kv_cache", "scratch", "buffers", "draft", "program", "server"),
)

ANSWERS: Answers = {
    ("/health", "/v1/health"): ("Health", record(status=constant("ok"))),
    ("/props",): (
        "Properties",
        record(
            build_info=TEXT,
            total_slots=WHOLE,
            default_generation_settings=record(n_ctx=WHOLE, params=nullable(_SAMPLING)),
            chat_template=nullable(TEXT),
            memory=_MEMORY,
            models=mapping_of(_MODEL),
        ),
    ),
    ("/sessions",): ("SavedSessions", record(sessions=list_of(record(**_SAVED)))),
    ("/sessions/{name}/save",): (
        "SavedSession",
        record(**_SAVED, model=TEXT, tokens=WHOLE, cached_tokens=WHOLE),
    ),
    ("/sessions/{name}/load",): ("LoadedSession", record(name=TEXT, model=TEXT, tokens=WHOLE)),
    ("/sessions/{name}",): ("DeletedSession", record(name=TEXT, deleted=constant(True))),
    ("/tokenize",): ("Tokens", record(tokens=either(list_of(WHOLE), list_of(record(id=WHOLE, piece=TEXT))))),
    ("/detokenize",): ("Content", record(content=TEXT)),
    ("/apply-template",): ("RenderedPrompt", record(prompt=TEXT, tokens=WHOLE)),
}
