"""`qwen3edge embed` and `qwen3edge rerank`."""

import json
from dataclasses import replace

import numpy as np
import pytest

import qwen3edge
from qwen3edge.cli.main import main
from qwen3edge.convert import convert
from tests.runtime.test_embedding import SHAPE, saved

TEXTS = ["Beijing is the capital of China.", "Gravity attracts.", "x"]


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("\ufeff" + "\r\n\n".join(TEXTS))
    return path


def printed(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_embeddings(tiny_int4, lines, capsys):
    with qwen3edge.load(tiny_int4, context=256) as model:
        documents, queries = model.embed(TEXTS), model.embed(TEXTS, "Find it", 32)
    command = ["embed", str(tiny_int4), str(lines), "--context", "256", "--sequences", "2"]
    assert main(command) == 0
    assert np.array_equal(np.float32(printed(capsys)), documents)
    assert main([*command, "--instruction", "Find it", "--dimensions", "32"]) == 0
    assert np.array_equal(np.float32(printed(capsys)), queries)
    lines.write_text("x" * 500000)
    assert main(command) == 2
    heard = capsys.readouterr()
    assert heard.out == "" and "line 1: expected at most" in heard.err
    lines.write_text("hello", "utf-16")
    for verb, what in ((["embed", str(tiny_int4)], "texts"), (["rerank", str(tiny_int4), "hello"], "documents")):
        assert main([*verb, str(lines)]) == 2
        assert f"expected {what} in UTF-8, found a file in UTF-16" in capsys.readouterr().err


def test_scores(tmp_path, lines, capsys):
    folder = saved(tmp_path, replace(SHAPE, tied=False), 12)
    convert(folder, folder / "m.q3e", "int8")
    with qwen3edge.load(folder / "m.q3e", context=256) as model:
        scores = model.rerank("Where is Beijing?", TEXTS)
        others = model.rerank("Where is Beijing?", TEXTS, "Find what is wrong")
    command = ["rerank", str(folder / "m.q3e"), "Where is Beijing?", str(lines), "--context", "256"]
    for expected, options in ((scores, []), (others, ["--instruction", "Find what is wrong"])):
        assert main([*command, *options]) == 0
        found = printed(capsys)
        assert [each["index"] for each in found] == np.argsort(-expected, kind="stable").tolist()
        assert all(each["document"] == TEXTS[each["index"]] for each in found)
        assert all(np.float32(each["score"]) == expected[each["index"]] for each in found)
