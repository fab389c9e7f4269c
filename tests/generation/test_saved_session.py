"""Conversations in files: found again in another process, and refused where they do not fit."""

import os
import struct
import subprocess
import sys
import zlib

import pytest

import qwen3edge
from qwen3edge.errors import RequestError, SessionFileError
from tests.generation.fakes import FakeCore, make_session

GREEDY = {"thinking": False, "temperature": 0.0}
SETTINGS = {"context": 1024, "threads": 1, "sequences": 2, "seed": 1}
SYSTEM = {"role": "system", "content": "You are a helpful assistant. " * 20}
FIRST = [SYSTEM, {"role": "user", "content": "What is 12 + 7?"}]
SECOND = {"role": "user", "content": "What is 35 + 4?"}
PAGE = 64
CHECKSUM, HEADER = 92, 96  # bytes: where the header has its checksum, and its end


@pytest.fixture(scope="module")
def file(tiny_q3e):
    return tiny_q3e("int8")


@pytest.fixture(scope="module")
def saved(file, tmp_path_factory):
    """A conversation of one turn in a file, the request after it, and that one's tokens without any file."""
    path = tmp_path_factory.mktemp("saved") / "chat.session"
    with qwen3edge.load(file, **SETTINGS) as model:
        session = model.session()
        text = session.generate(FIRST, **GREEDY).read()
        session.save(path, note="turns: ein Gruß 👋")
    request = [*FIRST, {"role": "assistant", "content": text}, SECOND]
    with qwen3edge.load(file, **SETTINGS) as model:
        answer = model.generate(request, **GREEDY)
        answer.read()
        assert answer.usage.cached_tokens == 0
        return path, request, answer.tokens


def test_goes_on_where_it_was(file, saved):
    path, request, expected = saved
    with qwen3edge.load(file, **SETTINGS) as model:
        session = model.load_session(path)
        assert session.note == "turns: ein Gruß 👋"
        answer = session.generate(request, **GREEDY)
        answer.read()
        assert answer.tokens == expected
        held = len(model.tokens_of(FIRST, thinking=False)) // PAGE * PAGE
        assert answer.usage.cached_tokens >= held > 100
        assert model.load_session(path).tokens[:held] == session.tokens[:held]


def test_of_tokens_that_another_session_computed(file, tmp_path):
    """What is saved of them is what is in memory."""
    path = tmp_path / "tokens.session"
    with qwen3edge.load(file, **SETTINGS) as model:
        tokens = model.tokens_of(FIRST, thinking=False)
        model.generate(tokens, max_tokens=1).read()
        model.session(tokens).save(path)
        assert model.session(tokens).tokens == tuple(tokens)
        for bad in ([-1], [10**9], ["a"], [1] * 2000):
            with pytest.raises(RequestError, match="token"):
                model.session(bad)
    with qwen3edge.load(file, **SETTINGS) as model:
        assert list(model.load_session(path).tokens) == tokens
        answer = model.generate(tokens, max_tokens=1)
        answer.read()
        assert answer.usage.cached_tokens >= len(tokens) - 2


def test_in_another_process(file, saved, tmp_path):
    path, request, expected = saved
    program = f"""
import qwen3edge
with qwen3edge.load({str(file)!r}, **{SETTINGS!r}) as model:
    answer = model.load_session({str(path)!r}).generate({request!r}, **{GREEDY!r})
    answer.read()
    print(answer.tokens, answer.usage.cached_tokens > 100)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert result.stdout == f"{expected} True\n", result.stderr


def test_file_is_private_and_whole(file, saved, tmp_path):
    path, _, _ = saved
    assert os.stat(path).st_mode & 0o077 == 0
    assert [p.name for p in path.parent.iterdir()] == ["chat.session"], "nothing is left beside it"
    with qwen3edge.load(file, **SETTINGS) as model:
        session = model.session()
        with pytest.raises(FileNotFoundError) as absent:
            session.save(tmp_path / "absent" / "x")
        assert absent.value.filename == str(tmp_path / "absent" / "x")
        (tmp_path / "folder").mkdir()
        with pytest.raises(OSError, match="folder"):
            session.save(tmp_path / "folder")
        assert [p.name for p in tmp_path.iterdir()] == ["folder"]
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(OSError, match="found something else"):
            session.save(tmp_path / "pipe")
        (tmp_path / "link").symlink_to("target")
        (tmp_path / "target").write_bytes(b"before")
        session.save(tmp_path / "link")
        assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_bytes().startswith(b"Q3ESAVED")
        session.save(tmp_path / "empty")  # of a conversation without a token
        assert model.load_session(tmp_path / "empty").tokens == ()
        with pytest.raises(RequestError, match="surrogate"):
            session.save(tmp_path / "x", note="\ud800")
        with pytest.raises(RequestError, match="note"):
            session.save(tmp_path / "x", note=3)
        session.close()
        for call in (lambda: session.save(tmp_path / "x"), session.fork):
            with pytest.raises(RequestError, match="closed"):
                call()


def test_what_does_not_fit_is_refused(file, tiny_q3e, saved, tmp_path):
    path, request, expected = saved
    for other, settings, words in (
        (tiny_q3e("int4"), SETTINGS, "this model"),
        (file, {**SETTINGS, "kv": "bf16"}, "KV cache in bf16, found int8"),
    ):
        with qwen3edge.load(other, **settings) as model, pytest.raises(SessionFileError, match=words):
            model.load_session(path)
    data = path.read_bytes()

    def resealed(changed: bytes) -> bytes:
        """With the checksum that its header has now."""
        size = HEADER + 4 * struct.unpack_from("<Q", changed, 40)[0] + struct.unpack_from("<Q", changed, 48)[0]
        sealed = bytearray(changed)
        sealed[CHECKSUM:HEADER] = bytes(4)
        struct.pack_into("<I", sealed, CHECKSUM, zlib.crc32(sealed[:size]))
        return bytes(sealed)

    assert resealed(data) == data
    note = data.index(b"turns:")
    with qwen3edge.load(file, **SETTINGS) as model:
        for damaged, words in (
            (b"", "0 bytes"),
            (b"GGUF" + data[4:], "another kind"),
            (data[:8] + b"\x09" + data[9:], "version 4"),
            (data[:12] + b"\x09" + data[13:], "numerics version"),
            (data[:-1], "expected .* bytes"),
            (data + b"x", "expected .* bytes"),
            (data[:HEADER] + bytes([data[HEADER] ^ 1]) + data[HEADER + 1 :], "checksum of its header"),
            (data[:-5] + bytes([data[-5] ^ 1]) + data[-4:], "checksum of page"),
            (resealed(data[:note] + b"\xff" + data[note + 1 :]), "UTF-8"),
            (data[:40] + b"\xff" * 8 + data[48:], "sizes"),
            (data[:56] + b"\xff" * 8 + data[64:], "sizes"),
            (data[:64] + b"\x08" + data[65:], "sizes"),
            (data[:72] + b"\xff" * 8 + data[80:], "sizes"),
        ):
            (tmp_path / "damaged").write_bytes(damaged)
            with pytest.raises(SessionFileError, match=words):
                model.load_session(tmp_path / "damaged")
        with pytest.raises(FileNotFoundError):
            model.load_session(tmp_path / "absent")
        with pytest.raises(OSError, match="expected a file"):
            model.load_session(tmp_path)
        answer = model.generate(request, **GREEDY)  # nothing of the damaged ones is used
        answer.read()
        assert answer.tokens == expected


@pytest.mark.parametrize("kv", ["int8", "int4", "bf16", "f32"])
def test_nothing_of_other_conversations_is_in_it(file, tmp_path, kv):
    """Not even in the rest of its last page, which another conversation filled."""
    common = [7 * i % 500 for i in range(100)]
    for name, others in (("alone", ()), ("beside", ([*common, *range(300, 360)], [*common[:70], *range(99)]))):
        with qwen3edge.load(file, **SETTINGS, kv=kv) as model:
            for other in others:
                model.generate(other, max_tokens=2, ignore_eos=True, temperature=0.0).read()
            session = model.session()
            session.generate(common[:90], max_tokens=2, ignore_eos=True, temperature=0.0).read()
            session.save(tmp_path / name)
    assert (tmp_path / "alone").read_bytes() == (tmp_path / "beside").read_bytes()


def test_load_into_a_cache_that_is_full(file, saved):
    """It takes the place of what was used longest ago, never of what runs."""
    path, request, expected = saved
    with qwen3edge.load(file, **{**SETTINGS, "sequences": 1, "context": 576}) as model:
        for number in range(4):
            model.generate(list(range(number, 400)), max_tokens=4, ignore_eos=True, temperature=0.0).read()
        running = model.generate(list(range(300)), max_tokens=60, ignore_eos=True, temperature=0.0)
        next(running)
        session = model.load_session(path)
        running.read()
        answer = session.generate(request, **GREEDY)
        answer.read()
        assert answer.tokens == expected
        assert running.tokens == model_tokens(file, list(range(300)))


def model_tokens(file, prompt):
    with qwen3edge.load(file, **SETTINGS) as model:
        answer = model.generate(prompt, max_tokens=60, ignore_eos=True, temperature=0.0)
        answer.read()
        return answer.tokens


def test_fork(file):
    """Two go on from one beginning, of which they hold one copy of its whole pages."""
    with qwen3edge.load(file, **SETTINGS) as model:
        core = model.engine.core
        session = model.session()
        text = session.generate(FIRST, **GREEDY).read()
        other = session.fork()
        assert other.tokens == session.tokens
        turns = [*FIRST, {"role": "assistant", "content": text}]
        questions = [[*turns, {"role": "user", "content": text}] for text in ("What is 35 + 4?", "What is 3 + 3?")]
        free = core.available_pages()
        assert free == core.plan["pages"], "nobody runs"
        answers = [
            each.generate(messages, **GREEDY) for each, messages in zip((session, other), questions, strict=True)
        ]
        for answer in answers:
            next(answer)
        prompts = [model.tokens_of(messages, thinking=False) for messages in questions]
        shared = next(at for at, pair in enumerate(zip(*prompts, strict=False)) if pair[0] != pair[1]) // PAGE
        assert shared >= 2
        assert free - core.available_pages() == sum(-(-len(prompt) // PAGE) for prompt in prompts) - shared
        assert [answer.read() for answer in answers] == ["35 + 4 = 39", "3 + 3 = 6"]
        assert all(answer.usage.cached_tokens > len(session.tokens) // 2 for answer in answers)
        assert session.tokens != other.tokens


def test_on_another_device(tmp_path):
    with pytest.raises(RequestError, match="CPU"):
        make_session(FakeCore([])).save(tmp_path / "x")
