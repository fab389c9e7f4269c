"""examples/c-tokens: the same tokens as Python for the same seed; and what its objects export."""

import re
import shutil
import subprocess

import numpy as np
import pytest

from qwen3edge import _core
from tests.conftest import ROOT, build_example

PROMPT = [11, 22, 33, 44]


def run(c_build, *arguments):
    return subprocess.run(
        [c_build / "c-tokens", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_same_tokens_as_python(c_build, tiny_int4, seed):
    result = run(c_build, tiny_int4, seed, 24, *PROMPT)
    assert result.returncode == 0, result.stderr
    assert "KV cache" in result.stderr

    file = _core.ModelFile(str(tiny_int4))
    engine = _core.Engine(file, context=512)
    vocabulary = file.get("qwen3edge.vocab_size")
    usable = len(file.get("tokenizer.ggml.tokens"))
    assert usable < vocabulary
    sampler = _core.Sampler(vocabulary=vocabulary, usable=usable, seed=seed)
    stops = set(file.get("qwen3edge.stop_token_ids"))
    tokens, position, expected = PROMPT, 0, []
    while len(expected) < 24 and not (expected and expected[-1] in stops):
        n = len(tokens)
        logits = engine.forward(tokens, np.arange(position, position + n), np.zeros(n, int), np.arange(n) == n - 1)
        position += n
        tokens = [sampler.sample(logits[0])]
        sampler.accept(tokens[0])
        expected += tokens
    assert [int(t) for t in result.stdout.split()] == expected


def test_errors_are_statuses(c_build, tmp_path, tiny_int4):
    (tmp_path / "foreign.q3e").write_bytes(b"not a model" * 100)
    for model, words in [(tmp_path / "absent.q3e", "absent.q3e"), (tmp_path / "foreign.q3e", "expected")]:
        result = run(c_build, model, 0, 4, 1)
        assert result.returncode == 1 and words in result.stderr
    result = run(c_build, tiny_int4, 0, 4, 99999999)
    assert result.returncode == 1 and "from 0 to" in result.stderr and "forward: forward" not in result.stderr
    assert result.stdout == "\n"


@pytest.mark.parametrize("place", [0, 1, 2, 3])
@pytest.mark.parametrize("word", ["abc", "", "-1", "1x", " 1", "+1", "0x1", "1.0", "99999999999999999999999"])
def test_what_is_no_number_is_refused(c_build, tiny_int4, place, word):
    arguments = [1, 4, 20, 21]
    arguments[place] = word
    result = run(c_build, tiny_int4, *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("c-tokens: expected a whole number from 0 to ")
    assert result.stderr.count("\n") == 1 and f"'{word}'" in result.stderr


def test_the_context_is_what_is_asked_for(c_build, tiny_int4):
    """More than 512 tokens; and beyond what the model knows the refusal, before anything is loaded."""
    result = run(c_build, tiny_int4, 0, 4, *[20] * 700)
    assert result.returncode == 0 and 1 <= len(result.stdout.split()) <= 4, result.stderr
    trained = _core.ModelFile(str(tiny_int4)).get("qwen3edge.context_length")
    result = run(c_build, tiny_int4, 0, trained, 20)
    assert (result.returncode, result.stdout) == (1, "")
    assert "context" in result.stderr and str(trained) in result.stderr and result.stderr.count("\n") == 1


def test_the_shared_library_exports_the_header_alone(c_build):
    nm = shutil.which("nm") or pytest.skip("no nm")
    library = next(c_build.rglob("libqwen3edge.so"))
    lines = subprocess.run([nm, "-D", "--defined-only", library], capture_output=True, text=True, check=True).stdout
    header = (ROOT / "csrc" / "include" / "qwen3edge.h").read_text()
    declared = re.findall(r"^Q3E_API .*?(q3e_\w+)\(", header, re.MULTILINE)
    assert len(declared) > 10
    assert sorted(line.split()[-1] for line in lines.splitlines()) == sorted(declared)


@pytest.mark.slow
def test_it_builds_by_cmake_alone(tmp_path, tiny_int4):
    """The whole core from its sources, as docs/c.md says, without what Python's build left."""
    alone = build_example(tmp_path)
    result = run(alone, tiny_int4, 0, 4, *PROMPT)
    assert result.returncode == 0 and len(result.stdout.split()) == 4, result.stderr


def test_tiers_export_their_kernels_only(core_build):
    """A weak symbol in a file compiled for AVX-512 could be the copy that every machine runs."""
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("no nm")
    tiers = ("avx2", "avxvnni", "avx512", "amx", "amx_emulated")
    objects = [p for p in core_build.rglob("*.o") if p.name.endswith(tuple(f"_{t}.cpp.o" for t in tiers))]
    assert objects or _core.isa_tiers() == ["scalar"]
    for path in objects:
        lines = subprocess.run(
            [nm, "-C", "--defined-only", path], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        shared = [line for line in lines if line.split()[1] in "wWvVuB"]
        assert not shared, f"{path.name}: {shared}"
