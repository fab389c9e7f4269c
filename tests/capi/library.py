"""The C API's shared library as ctypes calls it: signatures are read from the header."""

import ctypes
import os
import re
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    byref,
    c_char_p,
    c_double,
    c_float,
    c_int,
    c_int32,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
    string_at,
)

from tests.conftest import ROOT

OK, BAD_ARGUMENT, IO_ERROR, FOREIGN_FILE, CORRUPT_FILE, BAD_FILE, UNSUPPORTED_MODEL, CANCELLED = 0, 1, 2, 4, 5, 6, 7, 11
TEMPLATE_ERROR = 13
AUTO, OFF, ON = range(3)
KINDS = ("prompt", "token", "reasoning", "content", "begin", "arguments", "end of call", "end", "prompt token")
CALL_ENDS = ("complete", "broken", "cut")
FINISHES = (None, "stop", "tool_calls", "max_tokens", "context", "cancelled", "failed")

_TYPES = {
    "int": c_int,
    "float": c_float,
    "int32_t": c_int32,
    "uint32_t": c_uint32,
    "uint64_t": c_uint64,
    "size_t": c_size_t,
    "void": None,
    "const char*": c_char_p,
}


class SamplingValues(Structure):
    _fields_ = [
        ("repetition_penalty", c_float),
        ("frequency_penalty", c_float),
        ("presence_penalty", c_float),
        ("temperature", c_float),
        ("top_k", c_uint32),
        ("top_p", c_float),
        ("min_p", c_float),
    ]


class Plan(Structure):
    _fields_ = [
        (name, c_uint64)
        for name in ("weights", "buffers", "kv_cache", "scratch", "program", "peak", "budget", "streamed", "draft")
    ]


class Usage(Structure):
    _fields_ = [
        ("seed", c_uint64),
        *((f"{name}_tokens", c_uint32) for name in ("prompt", "cached", "computed", "completion", "reasoning")),
        *((f"{name}_seconds", c_double) for name in ("queue", "prefill", "decode")),
    ]


class Metrics(Structure):
    _fields_ = [
        *((name, c_uint64) for name in ("resident_bytes", "peak_bytes")),
        *((f"{name}_tokens", c_uint64) for name in ("prompt", "cached", "answer")),
        *((name, c_uint64) for name in ("steps", "streamed_bytes")),
        ("streamed_wait_seconds", c_double),
        *((name, c_uint64) for name in ("expert_hits", "expert_misses")),
        *((name, c_uint32) for name in ("running", "waiting")),
        *((name, c_uint64) for name in ("drafted_tokens", "accepted_draft_tokens")),
    ]


class Logprob(Structure):
    _fields_ = [("token", c_int32), ("logprob", c_double)]


class Event(Structure):
    _fields_ = [
        ("kind", c_int),
        ("call", c_uint32),
        ("text", c_void_p),
        ("length", c_size_t),
        ("call_end", c_int),
        ("finish", c_int),
        ("stop_string", c_char_p),
        ("token", Logprob),
        ("top", POINTER(Logprob)),
        ("top_count", c_size_t),
        ("usage", POINTER(Usage)),
    ]

    @property
    def bytes(self):
        return string_at(self.text, self.length) if self.text else None


ON_PROGRESS = CFUNCTYPE(c_int, c_void_p, c_uint64, c_uint64)
ON_EVENT = CFUNCTYPE(c_int, c_void_p, POINTER(Event))
MASK = CFUNCTYPE(c_int, c_void_p, POINTER(c_int32), c_size_t, POINTER(c_uint32), c_size_t)


def _type(text):
    text = text.strip()
    pointer = "*" in text
    if pointer and (text.count("*") > 1 or not text.startswith("const char*")):
        return c_void_p
    return _TYPES["const char*"] if pointer else _TYPES.get(text.split(" ")[0], c_int)


def open_library(path):
    """The library with the header's signatures; enums are ints, callbacks and handles pointers."""
    library = ctypes.CDLL(str(path))
    header = (ROOT / "csrc" / "include" / "qwen3edge.h").read_text()
    declared = re.findall(r"^Q3E_API ([\w ]+?\*?) (q3e_\w+)\(([^)]*)\);", header, re.MULTILINE)
    assert len(declared) > 50
    for result, name, arguments in declared:
        function = getattr(library, name)
        function.restype = _type(result)
        given = [] if arguments == "void" else arguments.split(",")
        function.argtypes = [
            c_void_p if re.search(r"\bq3e_(mask|on_event|on_progress) ", each) else _type(each) for each in given
        ]
    return library


class CallError(Exception):
    """A status other than OK."""

    def __init__(self, status, text):
        super().__init__(f"{status}: {text}")
        self.status, self.text = status, text


class Api:
    """Calls of the library that raise CallError."""

    def __init__(self, library):
        self.library = library

    def __getattr__(self, name):
        function = getattr(self.library, f"q3e_{name}")

        def call(*arguments):
            status = function(*arguments)
            if function.restype is c_int and status != OK and name != "is_stop_token":
                raise CallError(status, self.library.q3e_error_text().decode())
            return status

        return call

    def made(self, kind, *arguments, **values):
        """A handle from q3e_KIND_new, with the values set by its setters."""
        handle = c_void_p()
        getattr(self, f"{kind}_new")(*arguments, byref(handle))
        for name, value in values.items():
            getattr(self, f"{kind}_set_{name}")(handle, value)
        return handle

    def plan(self, path, **settings):
        handle, plan = self.made("settings", **settings), Plan()
        try:
            self.__getattr__("plan")(os.fsencode(path), handle, byref(plan), ctypes.sizeof(plan))
        finally:
            self.library.q3e_settings_free(handle)
        return plan

    def load(self, path, **settings):
        handle, model = self.made("settings", **settings), c_void_p()
        try:
            self.__getattr__("load")(os.fsencode(path), handle, byref(model))
        finally:
            self.library.q3e_settings_free(handle)
        return model

    def model_sampling(self, model, thinking):
        values = SamplingValues()
        self.__getattr__("model_sampling")(model, thinking, byref(values), ctypes.sizeof(values))
        return values


def integers(tokens):
    return (c_int32 * len(tokens))(*tokens)
