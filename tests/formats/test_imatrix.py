"""llama.cpp's importance matrices, old and new, whole and damaged."""

import struct

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3edge.errors import FileFormatError
from qwen3edge.formats.imatrix import read_imatrix, write_imatrix

NAMES = ("blk.0.attn_q.weight", "blk.0.ffn_down_exps.weight")


def write_gguf(path, entries):
    writer = gguf.GGUFWriter(path, "imatrix", use_temp_file=False)
    writer.add_type("imatrix")
    for name, (sums, counts) in entries.items():
        writer.add_tensor(f"{name}.in_sum2", sums.astype(np.float32))
        writer.add_tensor(f"{name}.counts", counts.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_old_files_are_read_as_written(tmp_path, seed):
    rng = np.random.default_rng(seed)
    entries = {name: rng.random((1, 64)).astype(np.float32) for name in NAMES}
    for chunks in (1, 7):
        write_imatrix(tmp_path / "a.dat", entries, chunks)
        found = read_imatrix(tmp_path / "a.dat")
        assert found.keys() == entries.keys()
        for name in NAMES:
            np.testing.assert_allclose(found[name], entries[name], rtol=1e-6)


def test_new_files_count_every_expert(tmp_path):
    sums = np.arange(12, dtype=np.float32).reshape(3, 4)
    write_gguf(tmp_path / "a.gguf", {NAMES[1]: (sums, np.array([[2.0], [0.0], [4.0]]))})
    (found,) = read_imatrix(tmp_path / "a.gguf").values()
    np.testing.assert_allclose(found, sums / np.array([[2], [1], [4]]))


def test_new_files_without_counts(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "imatrix")
    writer.add_tensor("x.in_sum2", np.ones(4, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(FileFormatError, match="counts"):
        read_imatrix(tmp_path / "a.gguf")


@pytest.mark.parametrize("count", [1 << 24, 1 << 62])
def test_a_new_file_that_claims_more_than_it_has(tmp_path, count):
    path = tmp_path / "a.gguf"
    key = struct.pack("<Q7sIIQ", 7, b"general", 9, 8, count)  # an array of strings
    path.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + key)
    with pytest.raises(FileFormatError):
        read_imatrix(path)


def test_a_new_file_of_other_numbers(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "imatrix")
    writer.add_tensor("x.in_sum2", np.ones(4, np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(FileFormatError, match="expected float32, found F16"):
        read_imatrix(tmp_path / "a.gguf")


@given(cut=st.integers(0, 200), flip=st.integers(0, 199), byte=st.integers(0, 255))
def test_damaged_old_files(tmp_path_factory, cut, flip, byte):
    path = tmp_path_factory.mktemp("imatrix") / "a.dat"
    write_imatrix(path, {"a": np.ones((1, 16), np.float32), "b": np.ones((1, 16), np.float32)})
    data = bytearray(path.read_bytes())
    if flip < len(data):
        data[flip] = byte
    path.write_bytes(bytes(data[: max(0, len(data) - cut)]))
    try:
        found = read_imatrix(path)
    except FileFormatError:
        return
    assert all(np.isfinite(values).all() and (values >= 0).all() for values in found.values())


@pytest.mark.parametrize(
    "data", [b"", b"\1\0\0\0", struct.pack("<i", -1), struct.pack("<ii", 1, 1 << 30), struct.pack("<iii", 1, 0, 1)]
)
def test_what_is_none(tmp_path, data):
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(FileFormatError):
        read_imatrix(tmp_path / "a")
