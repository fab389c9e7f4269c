"""What OpenAI's endpoints answer, whole."""

from __future__ import annotations

from qwen3edge.server.openai.rerank import COHERE
from qwen3edge.server.schema import (
    ANY,
    FLAG,
    NULL,
    NUMBER,
    OBJECT,
    TEXT,
    WHOLE,
    Answers,
    Schema,
    constant,
    either,
    list_of,
    mapping_of,
    nullable,
    one_of,
    record,
    record_of,
)

_USAGE = record(
    prompt_tokens=WHOLE,
    completion_tokens=WHOLE,
    total_tokens=WHOLE,
    prompt_tokens_details=record(cached_tokens=WHOLE),
    completion_tokens_details=record(reasoning_tokens=WHOLE),
)
_READ = record(prompt_tokens=WHOLE, total_tokens=WHOLE)
_TIMINGS = record(
    queue_seconds=NUMBER,
    prefill_seconds=NUMBER,
    decode_seconds=NUMBER,
    prefill_tokens_per_second=NUMBER,
    decode_tokens_per_second=NUMBER,
    seed=WHOLE,
    broken_calls=WHOLE,
)
_TOKEN = {"token": TEXT, "logprob": NUMBER, "bytes": list_of(WHOLE)}
LOGPROBS = list_of(record(**_TOKEN, top_logprobs=list_of(record(**_TOKEN))))
"""Of an answer's tokens, as chats have them."""
_REASON = one_of("stop", "length", "tool_calls")


def _completion(kind: str, choice: Schema) -> Schema:
    return record(
        id=TEXT,
        object=constant(kind),
        created=WHOLE,
        model=TEXT,
        system_fingerprint=TEXT,
        choices=list_of(choice),
        usage=_USAGE,
        timings=_TIMINGS,
    )


_CHAT_CHOICE = record(
    index=WHOLE,
    message=record(
        {
            "tool_calls": list_of(
                record(id=TEXT, type=constant("function"), function=record_of(TEXT, "name", "arguments"))
            )
        },
        role=constant("assistant"),
        content=nullable(TEXT),
        refusal=NULL,
        reasoning_content=nullable(TEXT),
        reasoning=nullable(TEXT),
    ),
    logprobs=nullable(record(content=LOGPROBS, refusal=NULL)),
    finish_reason=_REASON,
)
_TEXT_CHOICE = record(
    index=WHOLE,
    text=TEXT,
    logprobs=nullable(
        record(
            tokens=list_of(TEXT),
            token_logprobs=list_of(nullable(NUMBER)),
            top_logprobs=list_of(nullable(mapping_of(NUMBER))),
            text_offset=list_of(WHOLE),
        )
    ),
    finish_reason=_REASON,
)

_STATUS = one_of("completed", "incomplete")
_MESSAGE = record(
    id=TEXT,
    type=constant("message"),
    role=constant("assistant"),
    content=list_of(record(type=constant("output_text"), text=TEXT, annotations=list_of(ANY), logprobs=LOGPROBS)),
    status=_STATUS,
)
_THOUGHTS = record(
    {"content": list_of(record(type=constant("reasoning_text"), text=TEXT))},
    id=TEXT,
    type=constant("reasoning"),
    summary=list_of(record(type=constant("summary_text"), text=TEXT)),
    encrypted_content=NULL,
    status=_STATUS,
)
_CALL = record(
    id=TEXT,
    type=constant("function_call"),
    call_id=TEXT,
    name=TEXT,
    arguments=TEXT,
    status=constant("completed"),
)
_RESPONSE = record(
    id=TEXT,
    object=constant("response"),
    created_at=WHOLE,
    completed_at=nullable(WHOLE),
    status=_STATUS,
    background=constant(False),
    error=NULL,
    incomplete_details=nullable(record(reason=TEXT)),
    instructions=nullable(TEXT),
    max_output_tokens=nullable(WHOLE),
    model=TEXT,
    output=list_of(either(_MESSAGE, _THOUGHTS, _CALL)),
    parallel_tool_calls=FLAG,
    previous_response_id=NULL,
    reasoning=record_of(nullable(TEXT), "effort", "summary"),
    store=constant(False),
    temperature=nullable(NUMBER),
    text=record(format=record({"name": ANY, "description": ANY, "strict": ANY, "schema": OBJECT}, type=TEXT)),
    tool_choice=either(TEXT, OBJECT),
    tools=list_of(OBJECT),
    top_logprobs=WHOLE,
    top_p=nullable(NUMBER),
    truncation=constant("disabled"),
    usage=record(
        input_tokens=WHOLE,
        input_tokens_details=record_of(WHOLE, "cached_tokens", "cache_write_tokens"),
        output_tokens=WHOLE,
        output_tokens_details=record(reasoning_tokens=WHOLE),
        total_tokens=WHOLE,
    ),
    timings=_TIMINGS,
    user=NULL,
    metadata=ANY,
)

_EMBEDDING = record(object=constant("embedding"), index=WHOLE, embedding=either(list_of(NUMBER), TEXT))
_SCORE = record({"document": record(text=TEXT)}, index=WHOLE, relevance_score=NUMBER)
_MODEL = record(
    id=TEXT, object=constant("model"), created=WHOLE, owned_by=TEXT, loaded=FLAG, context_length=WHOLE
)  # fmt: skip

ANSWERS: Answers = {
    ("/v1/chat/completions", "/chat/completions"): ("ChatCompletion", _completion("chat.completion", _CHAT_CHOICE)),
    ("/v1/completions", "/completions"): ("Completion", _completion("text_completion", _TEXT_CHOICE)),
    ("/v1/responses", "/responses"): ("Response", _RESPONSE),
    ("/v1/embeddings", "/embeddings"): (
        "Embeddings",
        record(object=constant("list"), data=list_of(_EMBEDDING), model=TEXT, usage=_READ),
    ),
    ("/v1/rerank", "/rerank", "/v1/reranking", "/reranking", COHERE): (
        "Reranking",
        record(
            id=TEXT,
            object=constant("list"),
            model=TEXT,
            results=list_of(_SCORE),
            usage=_READ,
            meta=record(
                api_version=record(version=TEXT),
                billed_units=record(search_units=WHOLE),
                tokens=record_of(WHOLE, "input_tokens", "output_tokens"),
            ),
        ),
    ),
    ("/v1/models", "/models"): (
        "Models",
        record(object=constant("list"), data=list_of(_MODEL), models=list_of(_MODEL)),
    ),
    ("/v1/models/{name}",): ("Model", _MODEL),
}
