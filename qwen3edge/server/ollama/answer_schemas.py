"""What Ollama's endpoints answer where nothing is streamed."""

from __future__ import annotations

from qwen3edge.server.openai.answer_schemas import LOGPROBS
from qwen3edge.server.schema import (
    NUMBER,
    OBJECT,
    TEXT,
    WHOLE,
    Answers,
    Schema,
    constant,
    list_of,
    one_of,
    record,
    record_of,
)

_COUNTS = (
    *("total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration"),
    *("eval_count", "eval_duration"),
)
_CALL = record(id=TEXT, function=record(index=WHOLE, name=TEXT, arguments=OBJECT))


def _answer(optional: dict[str, Schema], **required: Schema) -> Schema:
    """The counts are those of an answer; where a model was loaded or unloaded alone there are none."""
    return record(
        {**optional, "logprobs": LOGPROBS, **dict.fromkeys(_COUNTS, WHOLE)},
        model=TEXT,
        created_at=TEXT,
        **required,
        done=constant(True),
        done_reason=one_of("stop", "length", "load", "unload"),
    )


_DETAILS = record(
    **dict.fromkeys(("parent_model", "format", "family"), TEXT),
    families=list_of(TEXT),
    **dict.fromkeys(("parameter_size", "quantization_level"), TEXT),
)
_LISTED: dict[str, Schema] = {"name": TEXT, "model": TEXT, "size": WHOLE, "digest": TEXT, "details": _DETAILS}

ANSWERS: Answers = {
    ("/api/chat",): (
        "OllamaChat",
        _answer(
            {},
            message=record({"thinking": TEXT, "tool_calls": list_of(_CALL)}, role=constant("assistant"), content=TEXT),
        ),
    ),
    ("/api/generate",): ("OllamaText", _answer({"thinking": TEXT}, response=TEXT)),
    ("/api/embed",): (
        "OllamaEmbeddings",
        record(
            embeddings=list_of(list_of(NUMBER)),
            model=TEXT,
            total_duration=WHOLE,
            load_duration=WHOLE,
            prompt_eval_count=WHOLE,
        ),
    ),
    ("/api/embeddings",): ("OllamaEmbedding", record(embedding=list_of(NUMBER))),
    ("/api/tags",): ("OllamaModels", record(models=list_of(record(**_LISTED, modified_at=TEXT)))),
    ("/api/ps",): (
        "OllamaLoaded",
        record(models=list_of(record(**_LISTED, expires_at=TEXT, size_vram=WHOLE, context_length=WHOLE))),
    ),
    ("/api/show",): (
        "OllamaModel",
        record(
            dict.fromkeys(("modelfile", "parameters", "template", "license"), TEXT),  # of a file that can be read
            details=_DETAILS,
            model_info=OBJECT,
            capabilities=list_of(one_of("completion", "tools", "thinking", "embedding")),
            modified_at=TEXT,
        ),
    ),
    ("/api/version",): ("OllamaVersion", record_of(TEXT, "version", "qwen3edge")),
    ("/api/pull",): ("OllamaPulled", record(status=TEXT)),
}
