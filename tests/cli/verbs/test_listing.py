"""Verbs are found by listing the folder, and cost nothing until they work."""

import subprocess
import sys

import pytest

from qwen3edge.cli import verbs
from qwen3edge.cli.main import main

HEAVY = ("numpy", "torch", "triton", "rich", "jinja2", "tokenizers", "gguf", "safetensors", "qwen3edge._core")

GREET = '''
"""`qwen3edge greet NAME`."""
HELP = "say hello"

def add_arguments(parser):
    parser.add_argument("name")

def run(arguments):
    print(f"hello {arguments.name}")
    return 7
'''


def test_those_that_users_meet_first_come_first():
    names = verbs.names()
    assert names[:3] == ["convert", "export", "run"]
    assert names[7:] == sorted(names[7:])


def test_a_file_is_a_verb(tmp_path, monkeypatch, capsys):
    (tmp_path / "greet.py").write_text(GREET)
    monkeypatch.setattr(verbs, "__path__", [*verbs.__path__, str(tmp_path)])
    assert main(["greet", "you"]) == 7
    assert capsys.readouterr().out == "hello you\n"
    assert main(["greet", "--help"]) == 0
    assert "Say hello." in capsys.readouterr().out
    assert main(["--help"]) == 0
    assert "greet say hello" in " ".join(capsys.readouterr().out.split())
    assert main(["greet"]) == 2
    monkeypatch.delitem(sys.modules, "qwen3edge.cli.verbs.greet")


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in verbs.names())], ids=" ".join)
def test_help_is_light(words):
    program = (
        "import sys; from qwen3edge.cli.main import main; status = main(sys.argv[1:]); "
        f"print(status, [name for name in {HEAVY!r} if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
    assert result.stdout.endswith("\n0 []\n"), result.stdout + result.stderr


def test_another_verb_is_not_imported(tmp_path):
    program = (
        "import sys; from qwen3edge.cli.main import main; main(sys.argv[1:]); "
        "print([name for name in sys.modules if name.startswith('qwen3edge.cli.verbs.')])"
    )
    command = [sys.executable, "-c", program, "info", tmp_path / "absent.q3e"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == "['qwen3edge.cli.verbs.info']\n"
