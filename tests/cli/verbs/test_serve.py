"""`qwen3edge serve`: what is refused before anything is served."""

import shutil
import socket
import subprocess
import sys

import pytest

from qwen3edge.cli.main import main
from qwen3edge.extras import EXTRAS


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "--host 0.0.0.0: expected --api-key KEY"),
        (["--alias", "x"], "--alias: expected NAME=MODEL, found 'x'"),
        (["--alias", "x=y"], "alias 'x': expected one of int4, found 'y'"),
        (["elsewhere/int4.q3e"], "expected models of different names, found 'int4' twice"),
        (["--api-key", "schlüssel"], "expected an API key of ASCII characters"),
        (["--context", "few"], "argument --context: invalid context_size value: 'few'"),
    ],
)
def test_wrong_arguments(tiny_int4, arguments, said, capsys):
    assert main(["serve", str(tiny_int4), *arguments, "--port", "0"]) == 2
    assert said in capsys.readouterr().err


def test_a_model_that_does_not_fit(tiny_int4, capsys):
    assert main(["serve", str(tiny_int4), "--port", "0", "--memory", "32MiB"]) == 1
    assert "would fit: " in capsys.readouterr().err


def test_a_port_that_is_taken(tiny_int4, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["serve", str(tiny_int4), "--port", str(taken.getsockname()[1])]) == 1
    said = capsys.readouterr()
    assert "in use" in said.err and said.err.count("\n") == 1 and said.out == ""


def test_a_name_that_was_pulled(tiny_int4, tmp_path, monkeypatch, capsys):
    """Is served under that name; here it is told as one that the alias may mean."""
    monkeypatch.setenv("QWEN3EDGE_CACHE", str(tmp_path))
    place = tmp_path / "models" / "huggingface" / "Tiny" / "tiny" / "int4.q3e"
    place.parent.mkdir(parents=True)
    shutil.copyfile(tiny_int4, place)
    assert main(["serve", "Tiny/tiny", "--alias", "x=y", "--port", "0"]) == 2
    assert "expected one of Tiny/tiny, found 'y'" in capsys.readouterr().err


def test_without_the_extra(tiny_int4):
    for lacking in ("fastapi", "uvicorn", "prometheus_client"):
        assert EXTRAS[lacking] == "serve"
    program = (
        "import sys; sys.modules['fastapi'] = None\nfrom qwen3edge.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "serve", str(tiny_int4)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert found.stderr == "qwen3edge: serve needs: pip install 'qwen3edge[serve]' (found no fastapi)\n"


def test_nothing_else_imports_it():
    program = "import qwen3edge, sys; qwen3edge.load; print([n for n in ('fastapi', 'uvicorn') if n in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
