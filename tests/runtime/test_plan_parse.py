import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3edge import _core
from qwen3edge.errors import RequestError
from qwen3edge.runtime.plan import MemoryPlan, format_bytes, parse_bytes, settings


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (1 << 20, 1 << 20), (600 << 20, 600 << 20), ("600MiB", 600 << 20), ("1.5GiB", 3 << 29), ("1.5 gib", 3 << 29),
        (" 2GB ", 2 * 10**9), ("10kB", 10_000), ("10KiB", 10_240), ("1234567", 1_234_567), ("12345B", 12_345),
        ("0.5TiB", 1 << 39), ("2G", 2 << 30), ("512m", 512 << 20), ("1.5g", 3 << 29), ("10k", 10_240),
        ("1T", 1 << 40), ("3Gi", 3 << 30),
    ],
)  # fmt: skip
def test_sizes(size, expected):
    assert parse_bytes(size) == expected


@pytest.mark.parametrize(
    "size",
    [
        0, -1, True, 1.5, None, b"1MiB", "", "MiB", "1.5.5MiB", "-1MiB", "+1MiB", "1e9", "nan", "inf", "1 MiBB",
        "6oMiB", "0MiB", "0.1B", "1i", "1Gib2", "1,5GiB", 1, 10, 600, "600", " 2 ",
        "٣MiB", "9999999TiB", 2**70, "1" * 5000, "1MiB\n2", "0x10MiB", [1],
    ],
)  # fmt: skip
def test_sizes_that_are_none(size):
    with pytest.raises(RequestError, match=r"expected memory as a (size|text such as 600MiB, or bytes)"):
        parse_bytes(size)


@given(
    st.one_of(
        st.text(max_size=20), st.integers(), st.floats(), st.from_regex(r"[0-9.]+ ?[kmgtKMGT]?i?[bB]?", fullmatch=True)
    )
)
def test_a_size_or_an_error(size):
    with contextlib.suppress(RequestError):
        assert parse_bytes(size) > 0


@given(st.integers(1 << 20, 2**62))
def test_ints_are_bytes(size):
    assert parse_bytes(size) == parse_bytes(str(size) + "B") if size < 2**53 else parse_bytes(size) == size
    assert format_bytes(size).split()[1] in ("B", "KiB", "MiB", "GiB")


@pytest.mark.parametrize(
    "asked",
    [
        {"context": 0}, {"context": 2049}, {"context": -1}, {"context": 1.5}, {"context": True}, {"context": 10**30},
        {"threads": 0}, {"threads": 257}, {"sequences": 0}, {"chunk": 0}, {"kv": "int2"}, {"kv": None},
        {"memory": "lots"}, {"min_expert_share": 1.0}, {"min_expert_share": -0.1}, {"min_expert_share": float("nan")},
        {"min_expert_share": "0.1"}, {"min_expert_share": True},
    ],
)  # fmt: skip
def test_settings_out_of_range(asked):
    with pytest.raises(RequestError):
        settings(**asked, trained_context=2048)


def test_settings():
    assert settings(trained_context=2048)["context"] == 2048
    assert settings(trained_context=40960)["context"] == 4096
    assert settings(trained_context=40960, context=40960, memory="1MiB") == {
        "context": 40960, "sequences": 1, "threads": 0, "kv": "int8", "memory": 1 << 20, "chunk": 0, "later": 0,
        "min_expert_share": 0.0, "io_uring": True,
    }  # fmt: skip

    assert settings(trained_context=2048, memory="auto") == settings(trained_context=2048)


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


def test_no_more_threads_than_cores():
    cores = _core.usable_cores()
    assert settings(threads=cores + 7, trained_context=4096)["threads"] == cores
    assert settings(threads=1, trained_context=4096)["threads"] == 1
