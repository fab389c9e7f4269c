"""What the writer writes, GGUF's own library and the core read."""

import zlib

import gguf
import numpy as np
import pytest

from qwen3edge import _core
from qwen3edge.errors import CheckpointError, ForeignFileError
from qwen3edge.formats.q3e import Q3eWriter, TensorSpec
from tests.reference import blocks as reference


def test_crc32_is_that_of_zlib(seed):
    rng = np.random.default_rng(seed)
    for length in (0, 1, 15, 16, 17, 4096, 100_003):
        data = rng.bytes(length)
        assert _core.crc32(data) == zlib.crc32(data)
        assert _core.crc32(data, 7) == zlib.crc32(data, 7)


def test_gguf_tools_list_the_file(tiny_q3e):
    path = tiny_q3e("int4")
    reader = gguf.GGUFReader(path)
    file = _core.ModelFile(str(path))
    assert reader.get_field("general.architecture").contents() == "qwen3edge"
    assert [t.name for t in reader.tensors] == [*(t["name"] for t in file.tensors()), "checksums"]
    for theirs, ours in zip(reader.tensors, file.tensors(), strict=False):
        assert theirs.data_offset == ours["offset"]
        assert theirs.n_bytes == ours["nbytes"]
        assert ours["offset"] % 64 == 0
        assert zlib.crc32(theirs.data.tobytes()) == ours["crc32"]
        np.testing.assert_array_equal(theirs.data.view(np.uint8), file.packed(ours["name"]))
    keys = file.keys()
    for key in keys:
        assert reader.get_field(key).contents() == pytest.approx(file.get(key)), key


def test_packed_is_a_read_only_view(tiny_q3e):
    view = _core.ModelFile(str(tiny_q3e("int8"))).packed("token_embd.weight")  # outlives the file's own name
    assert not view.flags.writeable
    assert int(view[:1000].sum()) >= 0


@pytest.mark.parametrize("quant", ["int4", "int8", "bf16", "f32", "q4a64", "q6z32"])
def test_the_oracle_reads_what_the_core_reads(tiny_q3e, quant):
    file = _core.ModelFile(str(tiny_q3e(quant)))
    file.verify()
    for tensor in file.tensors():
        packed, shape = file.packed(tensor["name"]), (tensor["rows"], tensor["columns"])
        expected = reference.dequantize(tensor["format"], packed, *shape)
        np.testing.assert_array_equal(file.dequantize(tensor["name"]), expected)


SPECS = [TensorSpec("a", "q8", 40, 96), TensorSpec("b", "vector", 1, 5), TensorSpec("c", "q4z32", 16, 32)]


def test_nothing_remains_without_commit(tmp_path):
    with Q3eWriter(tmp_path / "x.q3e", {}, SPECS) as writer:
        writer.write(np.zeros(SPECS[0].nbytes, np.uint8))
        assert len(list(tmp_path.iterdir())) == 1
    assert not list(tmp_path.iterdir())


def test_an_old_file_stays_until_the_new_one_is_complete(tmp_path):
    target = tmp_path / "x.q3e"
    target.write_bytes(b"old")
    with Q3eWriter(target, {}, SPECS) as writer:
        for spec in SPECS:
            writer.write(np.zeros(spec.nbytes, np.uint8))
            assert target.read_bytes() == b"old"
        writer.commit()
    assert target.stat().st_size == writer.nbytes
    assert [p.name for p in tmp_path.iterdir()] == ["x.q3e"]
    with pytest.raises(Exception, match="missing"):  # a container, but no model
        _core.ModelFile(str(target))


def test_pieces_may_be_of_any_size(tmp_path):
    written = []
    for name, step in (("a.q3e", 64), ("b.q3e", 999)):
        with Q3eWriter(tmp_path / name, {}, SPECS) as writer:
            for spec in SPECS:
                data = np.arange(spec.nbytes, dtype=np.uint8)
                for start in range(0, spec.nbytes, step):
                    writer.write(data[start : start + step])
            writer.commit()
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]


@pytest.mark.parametrize("names", [("a_exps.weight", "b", "c_exps.weight"), ("a", "b_exps.weight", "c")])
def test_experts_start_at_pages(tmp_path, names):
    specs = [TensorSpec(name, spec.format, spec.rows, spec.columns) for name, spec in zip(names, SPECS, strict=True)]
    with Q3eWriter(tmp_path / "x.q3e", {"general.name": "x"}, specs) as writer:
        for spec in specs:
            writer.write(np.full(spec.nbytes, 7, np.uint8))
        writer.commit()
    assert (tmp_path / "x.q3e").stat().st_size == writer.nbytes
    for tensor in gguf.GGUFReader(tmp_path / "x.q3e").tensors[:-1]:
        assert tensor.data_offset % (4096 if tensor.name.endswith("_exps.weight") else 64) == 0
        assert (tensor.data == 7).all()


def test_a_link_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link.q3e").symlink_to(tmp_path / "real" / "x.q3e")
    with Q3eWriter(tmp_path / "link.q3e", {}, SPECS) as writer:
        for spec in SPECS:
            writer.write(np.zeros(spec.nbytes, np.uint8))
        writer.commit()
    assert (tmp_path / "link.q3e").is_symlink()
    assert (tmp_path / "real" / "x.q3e").is_file()


def test_targets_that_cannot_be_files(tmp_path):
    with pytest.raises(CheckpointError, match="directory"):
        Q3eWriter(tmp_path, {}, SPECS)
    with pytest.raises(CheckpointError, match="expected a directory"):
        Q3eWriter(tmp_path / "absent" / "x.q3e", {}, SPECS)


def test_a_full_disk_is_noticed_before_the_work(tmp_path):
    with pytest.raises(CheckpointError, match="free space"):
        Q3eWriter(tmp_path / "x.q3e", {}, [TensorSpec("a", "f32", 2**30, 2**16)])
    assert not list(tmp_path.iterdir())


def test_other_gguf_models_are_foreign(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "other.gguf", "qwen3")
    writer.add_tensor("x", np.zeros(32, np.int8))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ForeignFileError, match="'qwen3'"):
        _core.ModelFile(str(tmp_path / "other.gguf"))
