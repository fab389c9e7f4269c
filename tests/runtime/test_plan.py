"""What a plan gives up first, and how it is shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3edge import _core
from qwen3edge.convert import convert
from qwen3edge.errors import MemoryBudgetError
from qwen3edge.runtime.plan import MemoryPlan, format_bytes


@given(st.integers(1 << 20, 2**62))
def test_bytes_have_a_unit(size):
    assert format_bytes(size).split()[1] in ("MiB", "GiB")


@pytest.mark.parametrize("streams", [False, True])
def test_table_has_every_number(streams):
    sizes = {"weights": 300, "buffers": 20, "kv_cache": 40, "scratch": 5, "program": 6, "peak": 351, "budget": 400}
    if not streams:
        del sizes["buffers"]
    mib = {name: size << 20 for name, size in sizes.items()}
    plan = MemoryPlan(
        **mib, context=512, sequences=2, chunk=64, threads=3, kv="int8", kv_bytes_per_token=2048, layers=8,
        streamed_layers=3 * streams, streams_head=streams, streamed=7 << 20,
    )  # fmt: skip
    lines = plan.table().splitlines()
    names = ["weights", "buffers", "KV cache", "scratch", "program", "peak", "budget"]
    assert [line.split("  ")[0].strip() for line in lines] == [n for n in names if streams or n != "buffers"]
    assert all(f"{size}.0 MiB" in line for size, line in zip(sizes.values(), lines, strict=True))
    assert "2.0 KiB a token" in plan.table()
    assert ("3 layers and the head: 7.0 MiB" in plan.table()) == streams
    assert "5 of 8 layers" in lines[0] if streams else "8 of 8 layers and the head" in lines[0]


@pytest.mark.parametrize("model", ["tiny_model_path", "tiny_moe_path"])
def test_pages_are_given_up_before_chunks_of_128_tokens(request, tmp_path, model):
    """Down to one context; then chunks get shorter, and last of all weights are streamed."""
    convert(request.getfixturevalue(model), tmp_path / "m.q3e", "int4")
    file = _core.ModelFile(str(tmp_path / "m.q3e"))
    settings = {"context": 512, "sequences": 4, "threads": 1, "program": 1 << 20}

    def resident(memory: int, **changed: int) -> dict | None:
        try:
            plan = _core.plan(file, memory=memory, **settings, **changed)
        except MemoryBudgetError:
            return None
        assert plan["peak"] <= memory and 8 <= plan["pages"] <= 32
        return None if plan["buffers"] else plan

    memory = _core.plan(file, memory=1 << 30, **settings)["peak"]
    found = []
    while plan := resident(memory):
        found.append((plan["chunk"], plan["pages"]))
        if plan["chunk"] < 128:
            assert resident(memory, chunk=128) is None, "a context would have fitted beside such a chunk"
        elif plan["pages"] < 32:
            assert plan["kv_cache"] // plan["pages"] > memory - plan["peak"], "there was room for one more"
        memory -= 16 << 10
    assert {chunk for chunk, _ in found} >= {128, 64, 32, 16}
    assert {pages for chunk, pages in found if chunk >= 128} >= {8, 12, 16, 32}
    assert resident(memory, chunk=16) is None
