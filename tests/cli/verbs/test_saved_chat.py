"""`/save`, `/load` and `--load` of `qwen3edge chat`."""

import json
import re
from pathlib import Path

import pytest

import qwen3edge
from qwen3edge.cli.saved_chat import SavedChat
from qwen3edge.errors import SessionFileError
from tests.cli.command import one_line, run
from tests.cli.terminal import Terminal, plain

NAMES = "Mia Paris, Tom London, Ida Rome, Max Oslo. " * 6
GREEDY = ["--no-thinking", "--temperature", "0", "--context", 512]


@pytest.fixture
def chat(tiny_q3e):
    """chat(text, *flags): a conversation from a pipe."""
    return lambda text, *flags, status=0: checked(run("chat", tiny_q3e("int8"), *GREEDY, *flags, stdin=text), status)


def checked(result, status):
    assert result.returncode == status, result.stderr
    assert "Traceback" not in result.stderr
    return result


@pytest.fixture
def saved(chat, tmp_path) -> Path:
    """One that was told names, and to be brief."""
    path = tmp_path / "a chat.q3s"
    chat(f"/system Be brief.\n{NAMES}\n/set max_tokens 20\n/save {path}\n")
    return path


def test_it_goes_on_as_if_nothing_had_happened(chat, saved):
    asked = "Find Tom in the list.\nWhat is 3 + 4?\n"
    whole = chat(f"/system Be brief.\n{NAMES}\n/set max_tokens 20\n{asked}").stdout.splitlines()
    assert chat(asked, "--load", saved).stdout.splitlines() == whole[-2:]
    loaded = chat(f"What is 1 + 1?\n/load {saved}\n{asked}").stdout.splitlines()
    assert loaded[-2:] == whole[-2:]
    assert "1 turns" in loaded[-3] and "system prompt: Be brief." in loaded[-3]


def test_a_chat_that_fills_its_context(chat, tmp_path):
    """What is asked next lets the oldest turn go, as it would have."""
    path = tmp_path / "full"
    chat(f"What is 3 + 4?\nWhat is 12 + 7?\n/save {path}\n", "--context", 64)
    for begin, flags in ((f"/load {path}\n", []), ("", ["--load", path])):
        result = chat(f"{begin}/set max_tokens 12\nWhat is 3 + 4?\n", "--context", 64, *flags)
        assert "are forgotten" in result.stderr
        assert "max_tokens: 12" in result.stdout and result.stdout.splitlines()[-1].startswith("3 + 4 = ")


def test_what_was_computed_is_there_again(tiny_q3e, saved):
    terminal = Terminal("chat", tiny_q3e("int8"), *GREEDY, "--load", saved)
    first = " ".join(plain(terminal.prompt()).split())
    tokens = int(re.search(r"1 turns, (\d+) of 512 tokens; system prompt: Be brief\.", first)[1])
    terminal.type("/set\r")
    assert "max_tokens 20" in terminal.prompt()
    terminal.type("Find Tom in the list.\r")
    terminal.wait_for("\n")
    note = " ".join(plain(terminal.wait_for("\x1b[0m") + terminal.prompt()).split())
    cached = int(re.search(r"\((\d+) cached\)", note)[1])
    assert max(64, tokens - 128) <= cached <= tokens  # whole pages are kept
    assert terminal.leave() == 0


def test_flags_count_in_place_of_what_was_saved(chat, saved):
    said = chat("/set\n/system\n", "--load", saved, "--max-tokens", 7, "--system", "Be kind.").stdout
    assert "max_tokens 7" in said and "system prompt: Be kind." in said


def test_a_home_folder(chat, saved, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "1 turns" in chat("/load ~/a chat.q3s\n").stdout
    chat("/save ~/b.q3s\n")
    assert (tmp_path / "b.q3s").exists()


def test_what_cannot_be_loaded_leaves_the_conversation_as_it_was(chat, saved, tiny_q3e, tmp_path):
    bad = {"absent": tmp_path / "absent", "folder": tmp_path, "cut": tmp_path / "cut", "text": tmp_path / "text"}
    bad["cut"].write_bytes(saved.read_bytes()[:-100])
    bad["text"].write_text("hello")
    bad["model"] = tiny_q3e("int8")
    notes = [
        "", "hello", "[]", '"qwen3edge chat"', "[" * 100_000,
        note(kind="other"), note(version=1), note(system=3), note(settings=[]), note(settings={"progress": 1}),
        note(settings={"temperature": "hot"}), note(settings={"max_tokens": -1}),
        note(turns={"ab": 1}), note(turns=["ab"]), note(turns=[[]]), note(turns=[["a"]]),
        note(turns=[[message("a"), message(1)]]), note(turns=[[message("a") | {"tool_calls": [{}]}]]),
        note(turns=[[{"role": "tool", "content": "x"}]]),
    ]  # fmt: skip
    with qwen3edge.load(tiny_q3e("int8"), context=512) as model, model.session() as session:
        session.generate("hi", max_tokens=2).read()
        for index, text in enumerate(notes):
            bad[f"note{index}"] = tmp_path / f"note{index}"
            session.save(bad[f"note{index}"], note=text)
    plain = chat("/system Be kind.\nWhat is 12 + 7?\nWhat is 3 + 4?\n/stats\n")
    loads = "".join(f"/load {path}\n" for path in bad.values())
    result = chat(f"/system Be kind.\nWhat is 12 + 7?\n{loads}/load\nWhat is 3 + 4?\n/stats\n", status=2)
    assert result.stdout.splitlines()[:4] == plain.stdout.splitlines()[:4]  # the system prompt, the answers, the turns
    assert "2 turns" in result.stdout.splitlines()[3]
    assert len(re.findall("^qwen3edge: ", result.stderr, re.MULTILINE)) == len(bad) + 1
    for path in (bad["absent"], bad["cut"], bad["note1"]):
        one_line(run("chat", tiny_q3e("int8"), *GREEDY, "--load", path, stdin="hi\n"), 1)


def message(content: object) -> dict[str, object]:
    return {"role": "user", "content": content}


def note(**changed: object) -> str:
    return json.dumps(json.loads(SavedChat(None, {}, []).note()) | changed)


def test_another_model(chat, saved, tiny_q3e):
    error = one_line(run("chat", tiny_q3e("int4"), *GREEDY, "--load", saved), 1)
    assert str(saved) in error
    one_line(run("chat", tiny_q3e("int8"), *GREEDY, "--kv", "f32", "--load", saved), 1)


def test_a_file_that_cannot_be_written(chat, tmp_path):
    other = tmp_path / "other"
    other.write_text("Some text.")
    saves = "".join(f"/save {path}\n" for path in (tmp_path, tmp_path / "no" / "chat", other, ""))
    result = chat(f"What is 3 + 4?\n{saves}What is 3 + 4?\n", status=2)
    assert result.stdout.count("3 + 4 = ") == 2
    assert result.stderr.count("qwen3edge: ") == 4
    assert other.read_text() == "Some text."
    empty = tmp_path / "empty"
    empty.touch()
    assert chat(f"/save {empty}\n/save {empty}\n").stdout.count("saved in") == 2


def test_a_note_tells_what_the_chat_was():
    chat = SavedChat(
        "Be brief.", {"stop": ["x"], "temperature": 0.5, "thinking": False}, [[message("你好"), message("a\nb")]]
    )
    assert SavedChat.read(chat.note(), "x") == chat
    with pytest.raises(SessionFileError, match="x: expected a chat of version 2, found version 1"):
        SavedChat.read(note(version=1), "x")
