"""The command as a user runs it: its output and its exit status."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import qwen3edge
from qwen3edge.cli.output import print_json
from qwen3edge.errors import Qwen3EdgeError
from tests.cli.command import COMMAND, one_line, run, started
from tests.cli.terminal import Terminal
from tests.convert.lora_files import write_adapter


def test_import_is_light():
    """Under 0.15 s, and neither NumPy nor the core nor torch comes along."""
    program = (
        "import sys, time; t = time.perf_counter(); import qwen3edge; "
        "heavy = ('numpy', 'torch', 'tokenizers', 'qwen3edge._core'); "
        "print(time.perf_counter() - t, [name for name in heavy if name in sys.modules])"
    )
    runs = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split(" ", 1)
        for _ in range(5)
    ]
    assert {modules.strip() for _, modules in runs} == {"[]"}
    assert min(float(seconds) for seconds, _ in runs) < 0.15


def test_loading_needs_no_torch(tiny_q3e):
    program = (
        f"import sys, qwen3edge; qwen3edge.load({str(tiny_q3e('int4'))!r}, context=64); print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"


def test_public_names():
    assert set(qwen3edge.__all__) <= set(dir(qwen3edge))
    for name in qwen3edge.__all__:
        assert getattr(qwen3edge, name) is not None
    with pytest.raises(AttributeError):
        _ = qwen3edge.nothing


def test_version_and_help():
    assert started("--version").stdout == f"qwen3edge {qwen3edge.__version__}\n"
    for verb in ("convert", "export", "run", "chat", "info", "plan", "bench"):
        assert run(verb, "--help").stdout.startswith(f"usage: qwen3edge {verb}")


def test_export_and_import(tiny_q3e, tmp_path):
    types = ["--type", "q4z32=Q8_0", "--type", "q4z64=Q8_0"]
    result = run("export", tiny_q3e("int4"), tmp_path / "m.gguf", *types)
    assert (result.returncode, result.stderr) == (0, "")
    assert "m.gguf: " in result.stdout
    report = json.loads(run("convert", tmp_path / "m.gguf", tmp_path / "m.q3e", "--json").stdout)
    assert report["notes"] == ["29 matrices in Q8_0 are stored as q8g32: the same weights"]
    assert "FORMAT=TYPE" in one_line(run("export", tiny_q3e("int4"), tmp_path / "n.gguf", "--type", "Q8_0"), 2)
    assert "q4z32" in run("export", tiny_q3e("int4"), tmp_path / "n.gguf").stdout
    report = json.loads(run("export", tiny_q3e("int4"), tmp_path / "n", "--to", "compressed-tensors", "--json").stdout)
    assert report["notes"] == ["1 matrices in q6z32 are stored as bf16, which does not hold them exactly"]


def test_several_adapters(tiny_model_path, tmp_path):
    """Each --lora counts, in order."""
    module = "base_model.model.model.layers.0.self_attn.q_proj"
    zeros = {f"{module}.lora_A.weight": np.zeros((2, 256)), f"{module}.lora_B.weight": np.zeros((512, 2))}
    arguments = []
    for name in ("a", "b"):
        tensors = {key: value.astype(np.float32) for key, value in zeros.items()}
        arguments += ["--lora", write_adapter(tmp_path / name, tensors)]
    report = json.loads(run("convert", tiny_model_path, tmp_path / "m.q3e", *arguments, "--json").stdout)
    assert [note.rpartition("/")[2] for note in report["notes"] if "have the updates" in note] == ["a", "b"]


def test_convert_and_info(tiny_model_path, tmp_path):
    target = tmp_path / "tiny.q3e"
    report = json.loads(run("convert", tiny_model_path, target, "--quant", "int4", "--json").stdout)
    assert report["nbytes"] == target.stat().st_size
    info = json.loads(run("info", target, "--json", "--verify", "--tensors").stdout)
    assert info["verified"] is True
    assert info["config"]["layers"] == 4
    assert sum(entry["tensors"] for entry in info["formats"].values()) == len(info["tensors"]) == report["tensors"]
    text = run("info", target, "--verify").stdout
    assert "tiny-qwen3" in text and "as they were written" in text
    data = bytearray(target.read_bytes())
    data[-5000] ^= 1
    target.write_bytes(data)
    assert "checksum" in one_line(run("info", target, "--verify"), 1)


def test_json_holds_characters_as_they_are(capsys):
    print_json({"content": "\u4f60\u597d \U0001f600"})
    assert capsys.readouterr().out == '{"content": "\u4f60\u597d \U0001f600"}\n'


def test_a_budget_that_plan_accepts_is_enough_for_run(tiny_q3e):
    model, context = tiny_q3e("int8"), ["--context", 256]
    need = re.search(
        r"found a need of ([0-9.]+) MiB", one_line(started("plan", model, *context, "--memory", "30MiB"), 1)
    )
    memory = f"{int(1024 * (float(need[1]) + 0.6))}KiB"  # a process holds some pages more or fewer each time
    assert started("plan", model, *context, "--memory", memory).returncode == 0
    assert started("run", model, "hi", "--no-thinking", "--max-tokens", 1, *context, "--memory", memory).returncode == 0


def test_plan(tiny_q3e):
    plan = json.loads(started("plan", tiny_q3e("int4"), "--json", "--context", 256, "--memory", "1GiB").stdout)
    assert plan["peak"] == plan["weights"] + plan["kv_cache"] + plan["scratch"] + plan["program"]
    assert (plan["context"], plan["budget"]) == (256, 1 << 30)
    assert "KV cache" in started("plan", tiny_q3e("int4"), "--memory", "auto", "--kv", "int4").stdout
    refusal = one_line(started("plan", tiny_q3e("int4"), "--memory", "20MiB"), 1)
    assert "weights" in refusal and "program" in refusal


def test_info_shows_what_a_model_is_run_with(tiny_q3e):
    text = run("info", tiny_q3e("int4")).stdout
    assert "sampling, thinking       temperature 0.6, top_k 20, top_p 0.95, min_p 0" in text
    assert "sampling, direct         temperature 0.7, top_k 20, top_p 0.8" in text
    assert "which thinks" in text and "million weights" in text and "experts" not in text
    assert re.search(r"rms_epsilon +1e-06", text)
    info = json.loads(run("info", tiny_q3e("int4"), "--json").stdout)
    assert info["sampling"]["direct"]["top_p"] == pytest.approx(0.8)
    assert 4 < info["bits_per_weight"] < 9


def test_info_shows_the_penalty_of_a_small_qwen2(tiny_qwen2_path, tmp_path):
    """Which no file of the checkpoint tells."""
    folder = tmp_path / "hf"
    shutil.copytree(tiny_qwen2_path, folder)
    (folder / "generation_config.json").unlink()
    named = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(named | {"chat_template": "{{ messages[0].content }}"}))
    run("convert", folder, tmp_path / "m.q3e", "--quiet")
    assert (
        "sampling, direct         temperature 0.7, top_k 20, top_p 0.8, min_p 0, presence_penalty 0, "
        + ("frequency_penalty 0, repetition_penalty 1.1")
        in run("info", tmp_path / "m.q3e").stdout
    )


def test_a_checkpoint_without_a_tokenizer(tiny_model_path, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        (bare / name).write_bytes((tiny_model_path / name).read_bytes())
    assert "tokenizer" in one_line(run("convert", bare, tmp_path / "x.q3e"), 1)
    assert run("convert", bare, tmp_path / "x.q3e", "--no-tokenizer").returncode == 0
    assert "no tokenizer: token ids alone" in run("info", tmp_path / "x.q3e").stdout


def test_a_file_that_grew_says_what_makes_it_smaller(tiny_q3e, tmp_path):
    run("export", tiny_q3e("int4"), tmp_path / "m.gguf")
    report = run("convert", tmp_path / "m.gguf", tmp_path / "m.q3e").stdout
    size = [(tmp_path / name).stat().st_size for name in ("m.gguf", "m.q3e")]
    assert ("--quant int4 makes it smaller" in report) == (size[1] > 1.05 * size[0])


def test_a_wrong_flag_names_the_verbs_own_help(tiny_q3e):
    assert "see qwen3edge run --help" in one_line(run("run", tiny_q3e("int4"), "hi", "--foo"), 2)


def test_descriptions_keep_their_names():
    assert "a Hugging Face checkpoint or a GGUF file" in " ".join(run("convert", "--help").stdout.split())


def test_bench_shows_life_on_a_terminal(tiny_q3e):
    terminal = Terminal("bench", tiny_q3e("int4"), "--prompt", 8, "--generate", 2, "--repeat", 1)
    terminal.wait_for("8 tokens of a prompt: 1 of 1")
    terminal.wait_for("turns with reading memory")
    terminal.wait_for("tok/s")
    assert terminal.status() == 0


def test_bench(tiny_q3e):
    result = json.loads(
        started(
            "bench", tiny_q3e("int4"), "--prompt", 64, "--generate", 8, "--threads", 2, "--repeat", 1, "--json"
        ).stdout
    )
    for key in ("prefill_tokens_per_second", "decode_tokens_per_second", "load_seconds", "read_bandwidth_share"):
        assert result[key] > 0
    assert 1 << 20 < result["peak_memory_bytes"] < 1 << 30
    assert result["threads"] == 2
    assert "tok/s" in run("bench", tiny_q3e("int4"), "--prompt", 8, "--generate", 2, "--repeat", 1).stdout


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["frobnicate"], ["run"], ["run", "MODEL", "hi", "--frob"], ["run", "MODEL", "hi", "--max-tokens", "many"],
        ["run", "MODEL", "hi", "--max-tokens", "0"], ["run", "MODEL", "hi", "--temperature", "nan"],
        ["run", "MODEL", ""],
        ["run", "MODEL", "hi", "--memory", "lots"], ["plan", "MODEL", "--memory", "10"],
        ["run", "MODEL", "hi", "--kv", "int2"], ["run", "MODEL"],
        ["plan", "MODEL", "--context", "0"], ["plan", "MODEL", "--context", "9999999"],
        ["bench", "MODEL", "--prompt", "0"],
        ["bench", "MODEL", "--prompt", "5000"], ["run", "MODEL", "x " * 5000],
    ],
)  # fmt: skip
def test_wrong_arguments(tiny_q3e, arguments):
    path = str(tiny_q3e("int4"))
    one_line(run(*(path if argument == "MODEL" else argument for argument in arguments)), 2)


def test_files_that_are_no_model(tmp_path, tiny_model_path):
    foreign = tmp_path / "foreign.q3e"
    foreign.write_bytes(b"\x89PNG" * 100)
    for given in (tiny_model_path,):
        assert "qwen3edge convert" in one_line(run("run", given, "hi"), 1)
    for verb in (["run", foreign, "hi"], ["info", foreign], ["plan", foreign], ["bench", foreign], ["chat", foreign]):
        one_line(run(*verb), 1)
        one_line(run(verb[0], tmp_path / "absent.q3e", *verb[2:]), 1)
        one_line(run(verb[0], tmp_path, *verb[2:]), 1)
    one_line(run("convert", tmp_path / "absent", tmp_path / "x.q3e"), 1)
    one_line(run("convert", tiny_model_path, tmp_path / "no" / "x.q3e"), 1)
    assert run("convert", tiny_model_path, tmp_path / "x.q3e", "--quant", "int5").returncode in (1, 2)


def test_broken_pipe(tiny_q3e):
    process = subprocess.Popen(
        [*COMMAND, "info", str(tiny_q3e("int4")), "--tensors"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(60) == 141


def test_a_file_name_of_any_bytes(tiny_int4, tmp_path):
    """A file's name need not be UTF-8."""
    odd, bad = (os.path.join(os.fsencode(tmp_path), name) for name in (b"\xff.q3e", b"\xfe.q3e"))
    shutil.copyfile(tiny_int4, odd)
    with open(bad, "wb") as file:
        file.write(b"no model" * 100)
    for name in (odd, os.fsdecode(odd)):
        assert qwen3edge.plan(name, context=64).context == 64
    for name in (b"\xfd", "\udcfd"):
        with pytest.raises(FileNotFoundError) as absent:
            qwen3edge.plan(name)
        assert absent.value.filename == "\udcfd"
        with pytest.raises(Qwen3EdgeError, match=r"\udcfe\.q3e: expected"):
            qwen3edge.plan(bad)
    for options in ((), ("--json",), ("--verify",)):
        shown = subprocess.run([*COMMAND, "info", odd, *options], capture_output=True, check=False)
        assert (shown.returncode, shown.stderr) == (0, b"")
        if "--json" in options:
            assert json.loads(shown.stdout)["path"] == os.fsdecode(odd)
    one_line(run("info", os.fsdecode(bad)), 1)
