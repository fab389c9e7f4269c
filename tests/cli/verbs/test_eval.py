"""`qwen3edge eval` as a user runs it."""

import json
import subprocess
import sys

import pytest

from tests.cli.command import one_line, run, started


def test_text_with_a_reference(tiny_q3e, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("The capital of France is Paris. " * 20, encoding="utf-8")
    model, reference, state = tiny_q3e("int4"), tiny_q3e("bf16"), tmp_path / "state.npz"
    arguments = ["eval", model, "--text", text, "--reference", reference, "--window", 64, "--threads", 1]
    first = run(*arguments, "--resume", state, "--json")
    assert first.returncode == 0, first.stderr
    found = json.loads(first.stdout)["text"]
    assert found["kl"] > 0
    assert 0 < found["top1"] < 1
    assert json.loads(run(*arguments, "--resume", state, "--json").stdout)["text"] == found
    one_line(run(*arguments, "--stride", 9, "--resume", state), 2)
    table = run(*arguments, "--plot", tmp_path / "plot.png").stdout
    assert "KL mean" in table and "int4.q3e" in table
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_a_plot_without_matplotlib_names_the_extra(tiny_int4, tmp_path):
    """Before the work begins."""
    program = "import sys; sys.modules['matplotlib'] = None; from qwen3edge.cli.main import main; sys.exit(main())"
    arguments = [
        "eval",
        tiny_int4,
        "--text",
        tmp_path / "x.txt",
        "--reference",
        tiny_int4,
        "--plot",
        tmp_path / "p.png",
    ]
    result = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert one_line(result, 1) == "qwen3edge: eval needs: pip install 'qwen3edge[plot]' (found no matplotlib)\n"


def test_loss_by_layer(tiny_q3e, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("The capital of France is Paris. " * 5, encoding="utf-8")
    arguments = ["eval", tiny_q3e("int4"), "--text", text, "--reference", tiny_q3e("f32"), "--window", 32]
    arguments += ["--by-layer", "--threads", 1]
    layers = json.loads(run(*arguments, "--json").stdout)["layers"]
    assert [found["part"] for found in layers] == ["embedding", "layer 0", "layer 1", "layer 2", "layer 3"]
    result = run(*arguments, "--plot", tmp_path / "plot.png")
    assert result.returncode == 0, result.stderr
    for found in layers:
        row = next(line for line in result.stdout.splitlines() if line.startswith(found["part"]))
        assert row.split()[-2:] == [f"{found['kl_alone']:.5f}", f"{found['kl_up_to']:.5f}"]
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_items(tiny_int4, tiny_model_path, tmp_path):
    items = tmp_path / "items.jsonl"
    items.write_text("\n".join((tiny_model_path / "heldout.jsonl").read_text("utf-8").splitlines()[:3]), "utf-8")
    result = started("eval", tiny_int4, "--tasks", items, "--json", "--answers", "--threads", 1)
    tasks = json.loads(result.stdout)["tasks"]
    assert tasks["all"]["items"] == len(tasks["answers"]) == 3


@pytest.mark.parametrize("arguments", [[], ["--text", "x.txt", "--plot", "p.png"], ["--text", "x.txt", "--by-layer"]])
def test_arguments_that_do_not_fit(tiny_int4, arguments):
    one_line(run("eval", tiny_int4, *arguments), 2)


def test_limit_of_items(tiny_q3e, tiny_model_path):
    asked = ["eval", tiny_q3e("int4"), "--tasks", tiny_model_path / "heldout.jsonl", "--threads", 1, "--json"]
    found = json.loads(run(*asked, "--limit", 2, "--answers").stdout)["tasks"]
    assert len(found["answers"]) == 2
    one_line(run(*asked, "--limit", 0), 2)
