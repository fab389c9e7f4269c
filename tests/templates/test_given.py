"""A template that a caller gives: what is read, and what is refused with a way out."""

from pathlib import Path

import pytest

from qwen3edge.errors import RequestError
from qwen3edge.templates.given import read_template

SOURCE = "{% for m in messages %}{{ m.content }}{% endfor %}"


def test_a_file_or_a_text(tmp_path, monkeypatch):
    path = tmp_path / "x.jinja"
    path.write_text(SOURCE + "é", encoding="utf-8")
    assert read_template(path) == read_template(str(path))
    assert (read_template(path).source, read_template(path).origin) == (SOURCE + "é", str(path))
    assert (read_template(SOURCE).source, read_template(SOURCE).origin) == (SOURCE, "chat_template")
    path.write_text(SOURCE, encoding="utf-8-sig")  # as editors on Windows write
    assert read_template(path).source == SOURCE
    monkeypatch.chdir(tmp_path)
    Path("{{messages}}").write_text(SOURCE)
    assert read_template(Path("{{messages}}")).source == SOURCE
    assert read_template("{{messages}}").source == "{{messages}}"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "conversation would be left out"),
        (b"Be kind.", "conversation would be left out"),
        (b"{{ bos_token }}", "conversation would be left out"),
        (b'{"chat_template": "{{ messages }}"}', "found JSON"),
        (b' {\n"a": "{{ messages }}"}', "found JSON"),
        ("{{ messages }} é".encode("latin-1"), "not in UTF-8"),
        ("{{ messages }}".encode("utf-16"), "not in UTF-8"),
        (b"{{ messages }}" + b"x" * (1 << 20), "at most 1048576 characters"),
        (b"{{ messages }}" + "é".encode() * (1 << 22), "at most 1048576 characters"),
    ],
)
def test_files_that_are_none(tmp_path, content, words):
    path = tmp_path / "x.jinja"
    path.write_bytes(content)
    with pytest.raises(RequestError, match=words) as error:
        read_template(path)
    assert str(path) in str(error.value) and len(str(error.value)) < 500


def test_what_is_no_file(tmp_path):
    for name in ("absent.jinja", "chatml", "", "x" * 5000, "a\0b"):
        with pytest.raises(RequestError, match="chat_template: expected a file with a Jinja2 template"):
            read_template(name)
    with pytest.raises(RequestError, match=r"is a folder$"):
        read_template(tmp_path)
    (tmp_path / "chat_template.jinja").write_text(SOURCE)
    with pytest.raises(RequestError, match=r"is a folder: give .*chat_template\.jinja"):
        read_template(tmp_path)
    with pytest.raises(RequestError, match="at most 1048576"):
        read_template("/dev/zero")


@pytest.mark.parametrize("given", [5, b"{{ messages }}", ["{{ messages }}"], True, 1.5])
def test_of_another_type(given):
    with pytest.raises(RequestError, match="expected chat_template as a path or a template's text"):
        read_template(given)


def test_texts_that_are_none():
    for text, words in (("{{ bos_token }}", "left out"), ("{{ messages }}\ud800", "surrogate"), ("a\nb", "left out")):
        with pytest.raises(RequestError, match=words):
            read_template(text)
