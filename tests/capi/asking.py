"""A request and its answer through the C API, as a host in Python writes them."""

from __future__ import annotations

import json
from ctypes import POINTER, byref, c_int32, c_size_t, cast, sizeof
from dataclasses import dataclass, field
from typing import Any

from tests.capi.library import AUTO, CALL_ENDS, FINISHES, KINDS, OFF, ON, ON_EVENT, Usage, integers

CHOICES = ("auto", "none", "required")
THINKING = {None: AUTO, False: OFF, True: ON}


@dataclass
class Heard:
    """What an answer's events said."""

    events: list[str] = field(default_factory=list)  # kinds in their order
    tokens: list[int] = field(default_factory=list)
    logprobs: list[tuple[float, list[tuple[int, float]]]] = field(default_factory=list)
    prompt_tokens: list[int] = field(default_factory=list)  # from the second on, where their probabilities are told
    prompt_logprobs: list[tuple[float, list[tuple[int, float]]]] = field(default_factory=list)
    content: str = ""
    reasoning: str = ""
    calls: list[list[str]] = field(default_factory=list)  # name, arguments, how it ended
    finish: str | None = None
    stop_string: str | None = None
    usage: Usage | None = None


def new_request(api, request, **options):
    """A handle. request: messages, a text that is continued, or token ids. options: of setters; as Python's `generate`
    has them `tools`, `tool_choice`, `thinking`, `stop`, `logprobs`; `prompt_logprobs` (how many of the most probable),
    `budget` (tokens, message), `sampling`.
    """
    handle = api.made("request")
    if isinstance(request, str):
        api.request_set_text(handle, request.encode())
    elif isinstance(request[0], int):
        api.request_set_tokens(handle, integers(request), len(request))
    else:
        api.request_add_messages(handle, json.dumps(request).encode())
    if (tools := options.pop("tools", None)) is not None:
        api.request_set_tools(handle, json.dumps(tools).encode())
    if (choice := options.pop("tool_choice", None)) is not None:
        name = None if isinstance(choice, str) else choice["function"]["name"].encode()
        api.request_set_tool_choice(handle, 2 if name else CHOICES.index(choice), name)
    api.request_set_thinking(handle, THINKING[options.pop("thinking", None)])
    for stop in options.pop("stop", ()):
        api.request_add_stop(handle, stop.encode())
    if (top := options.pop("logprobs", None)) is not None:
        api.request_set_logprobs(handle, 1, top)
    if (top := options.pop("prompt_logprobs", None)) is not None:
        api.request_set_prompt_logprobs(handle, 1, top)
    if (budget := options.pop("budget", None)) is not None:
        api.request_set_thinking_budget(handle, budget[0], budget[1].encode())
    if (variables := options.pop("variables", None)) is not None:
        api.request_set_variables(handle, json.dumps(variables).encode())
    if (mask := options.pop("mask", None)) is not None:
        api.request_set_mask(handle, mask, None)
    if sampling := options.pop("sampling", None):
        made = api.made("sampling", **sampling)
        api.request_set_sampling(handle, made)
        api.library.q3e_sampling_free(made)
    for name, value in options.items():
        getattr(api, f"request_set_{name}")(handle, value)
    return handle


def prompt_tokens(api, model, request, **options) -> list[int]:
    """Of the prompt that an answer has."""
    handle, count = new_request(api, request, **options), c_size_t()
    try:
        api.request_tokens(model, handle, None, 0, byref(count))
        tokens = (c_int32 * count.value)()
        api.request_tokens(model, handle, tokens, count.value, byref(count))
    finally:
        api.library.q3e_request_free(handle)
    return list(tokens)


def new_answer(api, model, request, **options):
    handle = new_request(api, request, **options)
    try:
        return api.made("answer", model, handle)
    finally:
        api.library.q3e_request_free(handle)


def heard(api, answer, go_on=lambda heard: True) -> tuple[int, Heard]:
    """Runs it: the status, and what was heard. go_on: asked after each event."""
    found = Heard()

    def hear(_: Any, pointer: Any) -> int:
        event = pointer.contents
        kind = KINDS[event.kind]
        found.events.append(kind)
        text = event.bytes.decode() if event.bytes is not None else ""
        if kind in ("token", "prompt token"):
            top = [(event.top[i].token, event.top[i].logprob) for i in range(event.top_count)]
            of_prompt = kind == "prompt token"
            (found.prompt_tokens if of_prompt else found.tokens).append(event.token.token)
            (found.prompt_logprobs if of_prompt else found.logprobs).append((event.token.logprob, top))
        elif kind in ("content", "reasoning"):
            assert text
            setattr(found, kind, getattr(found, kind) + text)
        elif kind == "begin":
            assert event.call == len(found.calls)
            found.calls.append([text, "", "open"])
        elif kind == "arguments":
            found.calls[event.call][1] += text
        elif kind == "end of call":
            found.calls[event.call][2] = CALL_ENDS[event.call_end]
        elif kind == "end":
            found.finish = FINISHES[event.finish]
            found.stop_string = event.stop_string.decode() if event.stop_string is not None else None
        return 0 if go_on(found) else 1

    status = api.library.q3e_answer_run(answer, ON_EVENT(hear), None)
    found.usage = Usage()
    api.answer_usage(answer, byref(found.usage), sizeof(found.usage))
    count = c_size_t()
    address = api.library.q3e_answer_tokens(answer, byref(count))
    kept = cast(address, POINTER(c_int32))[: count.value] if count.value else []
    assert kept == found.tokens or status != 0
    assert api.library.q3e_answer_content(answer).decode() == found.content or "\0" in found.content or status != 0
    return status, found


def answered(api, model, request, **options) -> Heard:
    """The answer to its end. Raises CallError where it cannot begin."""
    answer = new_answer(api, model, request, **options)
    try:
        status, found = heard(api, answer)
        assert status == 0, api.library.q3e_error_text()
        return found
    finally:
        api.library.q3e_answer_free(answer)
