"""What outlives an answer, through the C API: saved conversations and metrics; and other ways to load."""

import ctypes
import os
from ctypes import byref, c_int32, c_size_t, c_void_p, create_string_buffer, sizeof

import pytest

from qwen3edge.errors import SessionFileError
from tests.capi.asking import answered, heard, new_answer
from tests.capi.library import BAD_ARGUMENT, FOREIGN_FILE, IO_ERROR, OK, CallError, Metrics, integers

LONG = [{"role": "user", "content": "What is 12 + 7? " * 20}]


def restored(api, model, path):
    """The tokens and the note of a saved conversation."""
    tokens, note, count, length = (c_int32 * 1024)(), create_string_buffer(100), c_size_t(), c_size_t()
    api.restore(model, os.fsencode(path), tokens, 1024, byref(count), note, 100, byref(length))
    return tokens[: count.value], note.raw[: length.value].decode()


def saved(api, model, path, note="", **options):
    answer = new_answer(api, model, LONG, **options)
    status, found = heard(api, answer)
    assert status == OK
    api.answer_save(answer, note.encode(), os.fsencode(path))
    api.library.q3e_answer_free(answer)
    return found


def test_a_saved_conversation_goes_on(api, both, tmp_path, tiny_int4, seed):
    """In another model of the same file nothing of it is computed again; and in Python."""
    path = tmp_path / "saved"
    first = saved(api, both.c, path, "Köln", seed=seed, max_tokens=20)
    other = api.load(tiny_int4, context=1024, threads=2)
    tokens, note = restored(api, other, path)
    assert note == "Köln" and tokens[-len(first.tokens) :] == first.tokens
    assert len(tokens) == first.usage.prompt_tokens + len(first.tokens)
    again = answered(api, other, LONG, seed=seed, max_tokens=20)
    assert again.tokens == first.tokens
    assert again.usage.cached_tokens >= again.usage.prompt_tokens // 64 * 64 > 64
    api.save(other, integers(tokens), len(tokens), None, os.fsencode(path))
    api.library.q3e_model_free(other)
    with both.python.load_session(path) as session:
        assert session.tokens == tuple(tokens) and session.note == ""


def test_files_that_are_none(api, both, tmp_path):
    path = tmp_path / "saved"
    for make, status in ((lambda: None, IO_ERROR), (lambda: path.write_bytes(b"x" * 200), FOREIGN_FILE)):
        make()
        with pytest.raises(CallError, match="saved") as raised:
            restored(api, both.c, path)
        assert raised.value.status == status
    with pytest.raises(SessionFileError):
        both.python.load_session(path)
    with pytest.raises(CallError) as raised:
        api.save(both.c, integers([1]), 1, None, os.fsencode(tmp_path / "absent" / "saved"))
    assert raised.value.status == IO_ERROR
    with pytest.raises(CallError, match="at least one token"):
        api.save(both.c, None, 0, None, os.fsencode(path))


def metrics(api, model):
    found = Metrics()
    api.model_metrics(model, byref(found), sizeof(found))
    return found


def test_metrics(api, tiny_int4, seed):
    model = api.load(tiny_int4, context=1024, threads=1)
    before = metrics(api, model)
    assert 0 < before.resident_bytes <= before.peak_bytes and before.steps == 0
    usages = [answered(api, model, LONG, seed=seed, max_tokens=5).usage for _ in range(2)]
    after = metrics(api, model)
    assert after.prompt_tokens == sum(usage.prompt_tokens for usage in usages)
    assert after.cached_tokens == sum(usage.cached_tokens for usage in usages) > 0
    assert after.answer_tokens == sum(usage.completion_tokens for usage in usages) > 0
    assert after.steps >= 5 and (after.running, after.waiting, after.streamed_bytes) == (0, 0, 0)
    part = (ctypes.c_uint64 * 3)(0, 0, 7)  # as a program asks that knows the first two fields
    api.model_metrics(model, part, 16)
    assert part[0] > 0 and part[1] > 0 and part[2] == 7
    api.library.q3e_model_free(model)


def test_an_open_file(api, both, tiny_int4, tmp_path, seed):
    """Also one that has no name any more."""
    path = tmp_path / "model.q3e"
    path.write_bytes(tiny_int4.read_bytes())
    descriptor, model, settings = os.open(path, os.O_RDONLY), c_void_p(), api.made("settings", context=1024)
    path.unlink()
    api.load_descriptor(descriptor, settings, byref(model))
    os.close(descriptor)
    api.library.q3e_settings_free(settings)
    assert (
        answered(api, model, LONG, seed=seed, max_tokens=5).tokens
        == answered(api, both.c, LONG, seed=seed, max_tokens=5).tokens
    )
    api.library.q3e_model_free(model)
    assert api.library.q3e_load_descriptor(-1, None, byref(model)) == BAD_ARGUMENT
    assert api.library.q3e_load_descriptor(descriptor, None, byref(model)) == IO_ERROR
