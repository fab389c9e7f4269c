"""`qwen3edge aot`: what is written agrees with the code in it, compiles as C, and appears whole or not at all."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from qwen3edge.cli.main import main
from qwen3edge.kernels.catalog import all_specializations
from qwen3edge.kernels.compiled import NVIDIA_TOOLS
from qwen3edge.runtime import aot
from qwen3edge.runtime.aot_header import Kernel

ROOT = Path(__file__).resolve().parents[2]
BYTES = {"i32": 4, "fp32": 4, "i64": 8}


def first_of_each(shape, target):
    """Of each kernel the specialization that is listed first; test_static compiles all."""
    return list({special.kernel: special for special in reversed(all_specializations(shape, target))}.values())


@pytest.fixture(scope="module", params=[first_of_each, pytest.param(all_specializations, marks=pytest.mark.slow)])
def folder(tmp_path_factory, request, compiles_alone):
    """Kernels of the 0.6B on sm_87, by the command."""
    out = tmp_path_factory.mktemp("aot") / "kernels"
    with pytest.MonkeyPatch.context() as patch, compiles_alone():
        patch.setattr(aot, "all_specializations", request.param)
        assert main(["aot", "--target", "sm_87", "--model", "0.6B", "--out", str(out)]) == 0
    return out


def tool(option: str, cubin: Path) -> str:
    done = subprocess.run([NVIDIA_TOOLS / "cuobjdump", option, cubin], capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def parameters(cubin: Path) -> list[int]:
    """Sizes of a cubin's kernel parameters in order, from its ELF."""
    elf = tool("-elf", cubin)
    found = re.findall(r"Ordinal : 0x([0-9a-f]+)\s+Offset\s+: 0x[0-9a-f]+\s+Size\s+: 0x([0-9a-f]+)", elf)
    return [size for _, size in sorted((int(ordinal, 16), int(size, 16)) for ordinal, size in found)]


def manifest(folder: Path) -> list[Kernel]:
    return [Kernel(**entry) for entry in json.loads((folder / aot.MANIFEST).read_text())["kernels"]]


def test_the_manifest_says_what_the_code_is(folder):
    kernels = manifest(folder)
    assert {kernel.file for kernel in kernels} == {path.name for path in folder.glob("*.cubin")}
    assert {"attention_decode_bf16_i8_128x2", "rope_cache_bf16_i8_128", "sample_f32"} <= {k.name for k in kernels}
    for kernel in {kernel.file: kernel for kernel in kernels}.values():
        cubin = folder / kernel.file
        assert parameters(cubin) == [8 if a["type"].startswith("*") else BYTES[a["type"]] for a in kernel.arguments]
        usage = tool("-res-usage", cubin)
        found = re.search(r"Function (\w+):\s+REG:(\d+) STACK:(\d+)", usage)
        assert found and found[1] == kernel.symbol
        assert (int(found[2]), int(found[3])) == (kernel.registers, 0)
        assert kernel.threads == 32 * kernel.warps


def test_the_header_says_what_the_manifest_says(folder, tmp_path):
    """A C program that knows only the header prints the table, a grid, and where its pointers lead."""
    (tmp_path / "main.c").write_text(
        """
        #include <stdio.h>
        #include "qwen3edge_kernels.h"
        int main(void) {
          for (int i = 0; i < QWEN3EDGE_KERNEL_COUNT; ++i) {
            const qwen3edge_kernel *k = &qwen3edge_kernels[i];
            printf("%s %s %s %u %u %u\\n", k->name, k->file, k->symbol, k->threads, k->shared_bytes, k->arguments);
          }
          qwen3edge_grid g = qwen3edge_attention_decode_bf16_i8_128x2_grid(1000, 8, 3);
          qwen3edge_silu_mul_bf16_arguments a = {0};
          void *pointers[QWEN3EDGE_MAX_ARGUMENTS];
          qwen3edge_silu_mul_bf16_pointers(&a, pointers);
          printf("%u %u %u %d\\n", g.x, g.y, g.z, pointers[2] == (void *)&a.columns);
          return qwen3edge_kernels[qwen3edge_sample_f32].arguments == 0;
        }
        """
    )
    program = tmp_path / "main"
    subprocess.run(
        ["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-I", folder, tmp_path / "main.c", "-o", program], check=True
    )
    *table, last = subprocess.run([program], capture_output=True, text=True, check=True).stdout.splitlines()
    expected = [
        f"{k.name} {k.file} {k.symbol} {k.threads} {k.shared_bytes} {len(k.arguments)}" for k in manifest(folder)
    ]
    assert table == expected
    assert last == "4 8 3 1"
    subprocess.run(["g++", "-Wall", "-Werror", "-fsyntax-only", "-x", "c++", folder / aot.HEADER], check=True)


def test_the_example_is_built_and_finds_no_driver(folder, tmp_path):
    program = tmp_path / "main"
    source = ROOT / "examples" / "c-kernels" / "main.c"
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-I", folder]
    subprocess.run(["gcc", *flags, source, "-ldl", "-lm", "-o", program], check=True)
    done = subprocess.run([program, folder], capture_output=True, text=True, check=False)
    assert "silu_mul_bf16: 5 arguments, 128 threads" in done.stdout
    # With a device of that architecture it is 0; without a driver it says so.
    assert (done.returncode, done.stderr) in ((0, ""), (3, "expected a CUDA driver and device, found none\n"))


def test_a_folder_of_ours_is_replaced_and_another_is_not(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(aot, "all_specializations", lambda *_: [])  # what is compiled is not the matter
    target = tmp_path / "kernels"
    aot.build("sm_87", "0.6B", target)
    first = json.loads((target / aot.MANIFEST).read_text())
    assert manifest(target) == []
    aot.build("gfx942", "8B", target)
    assert (json.loads((target / aot.MANIFEST).read_text())["model"], first["model"]) == ("8B", "0.6B")
    other = tmp_path / "other"
    other.mkdir()
    (other / "precious").write_text("kept")
    assert main(["aot", "--target", "sm_87", "--model", "0.6B", "--out", str(other)]) == 2
    assert "found something else" in capsys.readouterr().err
    assert (other / "precious").read_text() == "kept"
    assert {path.name for path in tmp_path.iterdir()} == {"kernels", "other"}


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    def fails(*_):
        raise RuntimeError("the compiler broke down")

    monkeypatch.setattr(aot, "compile_for", fails)
    with pytest.raises(RuntimeError, match="broke down"):
        aot.build("sm_87", "0.6B", tmp_path / "kernels")
    assert not list(tmp_path.iterdir())


def test_wrong_arguments(tmp_path, capsys):
    assert main(["aot", "--target", "sm_61", "--model", "0.6B", "--out", str(tmp_path / "k")]) == 2
    assert "target: expected one of sm_80" in capsys.readouterr().err
    assert main(["aot", "--target", "sm_87", "--model", "7B", "--out", str(tmp_path / "k")]) == 2
    assert "model: expected one of 0.6B" in capsys.readouterr().err


def test_without_triton_it_says_what_is_missing(tmp_path):
    code = (
        "import sys; sys.modules['triton'] = None; from qwen3edge.cli.main import main; "
        f"sys.exit(main(['aot', '--target', 'sm_87', '--model', '0.6B', '--out', {str(tmp_path / 'k')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "pip install 'qwen3edge[gpu]'" in done.stderr
