"""A part of the static gate: every kernel of the 0.6B on sm_87, and of the mixture of experts on sm_90."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import triton

from bench import bench_static
from bench.gpu.static_loads import ptx_loads, ptx_stores
from bench.gpu.static_rows import MATRIX, faults, static_rows
from qwen3edge.kernels import attention_step, moe_align, moe_router, rmsnorm
from qwen3edge.kernels.catalog import all_specializations, kernel_modules
from qwen3edge.kernels.compiled import compile_for
from qwen3edge.kernels.moe_router import moe_scores_kernel
from qwen3edge.kernels.specialization import MODEL_SHAPES, TARGETS
from qwen3edge.runtime.aot_shapes import shape_of
from tests.kernels_compiled.releases import bars, expect_spills


@pytest.fixture(scope="module")
def orin(compiles_alone):
    """The rows of the 0.6B on sm_87."""
    with compiles_alone():
        return list(static_rows(["0.6B"], ["sm_87"]))


def test_the_gate_on_orin(orin):
    rows = orin
    assert len(rows) == len(all_specializations(shape_of("0.6B"), "sm_87"))
    assert not [(row["kernel"], fault) for row in rows for fault in faults(row)]
    for part, (instructions, registers) in bars().items():
        found = [row for row in rows if row["kernel"].startswith(part)]
        assert found
        for row in found:
            assert row["instructions"] <= instructions and row["registers"] <= registers, row
    for row in rows:
        assert row["bytes"] > 0 and row["paper_us"]["Orin"] > row["paper_us"]["H100"] - 1e-3
        if row["weights"]:
            assert row["matrix_instructions"] > 0, row


def cells(table: str, target: str) -> dict[tuple[str, str], str]:
    """(kernel, shape) to what the table says of the target; rows without such a kernel are left out."""
    lines = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in table.splitlines() if "|" in line]
    head, _, *rows = [line for line in lines if line]
    column = head.index(target)
    return {(row[0], row[1]): row[column] for row in rows if len(row) > column and row[column]}


def test_the_table_of_the_docs_is_not_stale(orin):
    page = (Path(__file__).resolve().parents[2] / "docs" / "decisions" / "gpu-static.md").read_text()
    version = re.search(r"by Triton (\d+\.\d+\.\d+)", page)
    assert version
    if triton.__version__ != version[1]:
        pytest.skip(f"the table is of Triton {version[1]}, and this is {triton.__version__}")
    documented = cells(page[page.index("| kernel | shape |") :], "sm_87")
    found = cells(bench_static.markdown(orin), "sm_87")
    shown = documented.keys() & found.keys()  # others are the mixture's
    assert len(found) > 30 and len(shown) > 10
    command = "python bench/bench_static.py --markdown --model 0.6B --model 30B-A3B"
    assert {key: documented[key] for key in shown} == {key: found[key] for key in shown}, (
        f"expected what {command} prints"
    )


def test_the_gate_on_hopper(request):
    expect_spills(request, "attention_decode", "sm_90")
    rows = list(static_rows(["30B-A3B"], ["sm_90"], only="attention"))
    found = {row["kernel"].partition("_bf16")[0] for row in rows}
    assert found == {"attention_decode", "attention_prefill", "attention_step"}
    assert not [(row["kernel"], fault) for row in rows for fault in faults(row)]


# What a kernel both reads and writes, and why no warp reads what another is writing.
HANDED_OVER = {
    "rmsnorm_kernel": {"residual"},  # a thread writes what it has read itself
}


@pytest.mark.parametrize("module", [moe_align, rmsnorm], ids=lambda m: m.__name__.rpartition(".")[2])
def test_no_warp_reads_what_another_writes(module):
    """A race that the interpreter cannot show: one program overwrites what its other warps are still reading."""
    for special in module.specializations(replace(shape_of("30B-A3B"), experts=16), "sm_90"):
        ptx = compile_for(special, "sm_90").compiled.asm["ptx"]
        names = [name for name in special.kernel.arg_names if name not in special.constexprs]
        loaded, stored = ptx_loads(ptx), ptx_stores(ptx)
        assert stored and -1 not in stored and -1 not in loaded
        both = {names[index] for index in loaded.keys() & stored.keys()}
        assert both == (HANDED_OVER.get(special.kernel.__name__, set()) & set(names) if both else set()), special.name


def test_a_split_counts_as_done_once_all_of_its_sums_are_written():
    """Every warp's stores, a barrier, then a count that others rely on: the interpreter, which runs one
    program after the other, would not miss any of it.
    """
    special = attention_step.specializations(shape_of("0.6B"), "sm_90")[0]
    lines = compile_for(special, "sm_90").compiled.asm["ptx"].splitlines()
    (count,) = [number for number, line in enumerate(lines) if re.search(r"\batom\.", line)]
    assert "acq_rel" in lines[count] and ".gpu" in lines[count]
    before = [number for number, line in enumerate(lines[:count]) if "st.global" in line]
    barriers = [number for number, line in enumerate(lines[:count]) if "bar.sync" in line]
    assert before and barriers and before[-1] < barriers[-1] < count


def test_the_router_is_float32_on_no_tensor_core():
    """TF32 would take the last bits of its scores, and near ties to other experts."""
    found = [s for s in moe_router.specializations(shape_of("30B-A3B"), "sm_90") if s.kernel is moe_scores_kernel]
    assert len(found) == 2
    for special in found:
        code = compile_for(special, "sm_90")
        assert code.spills == 0 and code.count(*MATRIX) == 0 and code.count("FFMA", loops=True) > 0


def test_what_the_gate_does_not_let_pass():
    good = {"spills": 0, "weights": True, "target": "sm_87", "load_bits": 128, "loop_conversions": 0}
    assert not faults(good)
    assert faults({**good, "spills": 8}) == ["8 spilled"]
    assert faults({**good, "load_bits": 64}) == ["weights loaded by 64 bits"]
    assert faults({**good, "loop_conversions": 2}) == ["2 I2F in loops"]
    assert not faults({**good, "weights": False, "load_bits": 32, "loop_conversions": 2})


def test_the_command_prints_rows(capsys):
    assert bench_static.main(["--model", "0.6B", "--target", "gfx1100", "--kernel", "silu", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    wanted = {"kernel", "target", "shape", "registers", "spills", "shared_bytes", "load_bits", "instructions"}
    assert wanted <= set(row) and row["target"] == "gfx1100" and row["load_bits"] == 128
    assert bench_static.main(["--model", "0.6B", "--target", "sm_80", "--kernel", "silu", "--markdown"]) == 0
    assert "| `silu_mul_bf16` | 3072 columns, 1 row |" in capsys.readouterr().out


def test_every_kernel_is_listed_under_one_name():
    assert {module.__name__.rpartition(".")[2] for module in kernel_modules()} >= {
        "attention", "matmul_a16", "moe_matmul", "rmsnorm", "rope_cache", "sampling", "silu_mul",
    }  # fmt: skip
    for target in TARGETS:
        for model in MODEL_SHAPES:
            names = [found.name for found in all_specializations(shape_of(model), target)]
            assert len(names) == len(set(names)) and all(name.isidentifier() for name in names)


@pytest.mark.slow
def test_no_spills_anywhere():
    rows = list(static_rows(["0.6B", "4B", "8B", "30B-A3B"], TARGETS))
    assert not [(row["kernel"], row["model"], row["target"], fault) for row in rows for fault in faults(row)]
