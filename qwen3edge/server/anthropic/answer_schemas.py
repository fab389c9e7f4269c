"""What Anthropic's endpoints answer, whole."""

from __future__ import annotations

from qwen3edge.server.schema import OBJECT, TEXT, WHOLE, Answers, constant, either, list_of, nullable, one_of, record

_BLOCK = either(
    record(type=constant("text"), text=TEXT),
    record(type=constant("thinking"), thinking=TEXT, signature=TEXT),
    record(type=constant("tool_use"), id=TEXT, name=TEXT, input=OBJECT),
)

ANSWERS: Answers = {
    ("/v1/messages",): (
        "Message",
        record(
            id=TEXT,
            type=constant("message"),
            role=constant("assistant"),
            model=TEXT,
            content=list_of(_BLOCK),
            stop_reason=one_of("end_turn", "stop_sequence", "tool_use", "max_tokens", "model_context_window_exceeded"),
            stop_sequence=nullable(TEXT),
            usage=record(
                input_tokens=WHOLE,
                cache_creation_input_tokens=WHOLE,
                cache_read_input_tokens=WHOLE,
                output_tokens=WHOLE,
                output_tokens_details=record(thinking_tokens=WHOLE),
            ),
        ),
    ),
    ("/v1/messages/count_tokens",): ("TokenCount", record(input_tokens=WHOLE)),
}
