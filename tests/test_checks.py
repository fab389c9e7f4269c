"""Sizes in bytes, as people write them."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3edge.checks import byte_size
from qwen3edge.errors import RequestError


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
    assert byte_size("memory", size) == expected


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
        byte_size("memory", size)


@given(
    st.one_of(
        st.text(max_size=20), st.integers(), st.floats(), st.from_regex(r"[0-9.]+ ?[kmgtKMGT]?i?[bB]?", fullmatch=True)
    )
)
def test_a_size_or_an_error(size):
    with contextlib.suppress(RequestError):
        assert byte_size("memory", size) > 0


@given(st.integers(1 << 20, 2**62))
def test_ints_are_bytes(size):
    assert byte_size("memory", size) == size
    if size < 2**53:
        assert byte_size("memory", f"{size}B") == size
