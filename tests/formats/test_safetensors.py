"""The checkpoint reader: values, shards, and what it refuses."""

import json
import os
import struct

import numpy as np
import pytest

from qwen3edge.errors import CheckpointError, MissingShardError, UnsupportedModelError
from qwen3edge.formats.safetensors import INDEX, SINGLE, SafetensorsFolder, read_json
from tests.formats.safetensors_bytes import encode, write_shards

A = np.arange(60, dtype=np.float32).reshape(12, 5)
B = np.arange(7, dtype=np.float16)
C = np.arange(32, dtype=np.uint16).reshape(4, 8)
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 42\n"


def test_reads_slices_of_every_type(tmp_path):
    (tmp_path / SINGLE).write_bytes(encode({"a": A, "b": B, "c": C}))
    with SafetensorsFolder(tmp_path) as folder:
        assert folder.names() == ["a", "b", "c"]
        assert [folder.shape(name) for name in "abc"] == [(12, 5), (7,), (4, 8)]
        for name, array in (("a", A), ("b", B), ("c", C)):
            for start, stop in ((0, len(array)), (1, 3), (2, 2)):
                rows = folder.read_rows(name, start, stop)
                assert rows.dtype == array.dtype
                np.testing.assert_array_equal(rows, array[start:stop])
        with pytest.raises(CheckpointError, match="'d'"):
            folder.shape("d")


def test_reads_shards(tmp_path):
    write_shards(tmp_path, {"x.safetensors": {"a": A}, "y.safetensors": {"b": B, "c": C}})
    with SafetensorsFolder(tmp_path) as folder:
        np.testing.assert_array_equal(folder.read_rows("c", 1, 4), C[1:])


def test_a_checkpoint_without_weights(tmp_path):
    with pytest.raises(MissingShardError, match="neither"):
        SafetensorsFolder(tmp_path)


def test_a_missing_shard(tmp_path):
    write_shards(tmp_path, {"x.safetensors": {"a": A}, "y.safetensors": {"b": B}})
    os.unlink(tmp_path / "y.safetensors")
    with pytest.raises(MissingShardError, match=r"y\.safetensors"):
        SafetensorsFolder(tmp_path)


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/passwd", "a/b.safetensors", "..", ".", "", "a\0b", 7, None])
def test_an_index_that_leaves_the_folder(tmp_path, name):
    write_shards(tmp_path, {"x.safetensors": {"a": A}}, {"a": name})
    with pytest.raises(CheckpointError, match="in the folder"):
        SafetensorsFolder(tmp_path)


def test_weights_behind_a_link(tmp_path):
    """On another disk, say; the hub's cache has links, too."""
    (tmp_path / "elsewhere").write_bytes(encode({"a": A}))
    inner = tmp_path / "model"
    inner.mkdir()
    (inner / SINGLE).symlink_to("../elsewhere")
    with SafetensorsFolder(inner) as folder:
        np.testing.assert_array_equal(folder.read_rows("a", 0, 12), A)
    (tmp_path / "elsewhere").unlink()
    with pytest.raises(MissingShardError, match="absent"):
        SafetensorsFolder(inner)


def test_the_links_of_the_hub_cache(tmp_path):
    snapshot, blobs = tmp_path / "snapshots" / "abc", tmp_path / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "hash").write_bytes(encode({"a": A}))
    (snapshot / SINGLE).symlink_to("../../blobs/hash")
    with SafetensorsFolder(snapshot) as folder:
        np.testing.assert_array_equal(folder.read_rows("a", 0, 12), A)


def test_a_git_lfs_pointer(tmp_path):
    (tmp_path / SINGLE).write_bytes(LFS)
    with pytest.raises(MissingShardError, match="Git LFS"):
        SafetensorsFolder(tmp_path)
    (tmp_path / INDEX).write_bytes(LFS)
    with pytest.raises(CheckpointError, match="Git LFS"):
        SafetensorsFolder(tmp_path)


def test_duplicate_tensors(tmp_path):
    write_shards(tmp_path, {"x.safetensors": {"a": A, "b": B}, "y.safetensors": {"b": B}})
    with pytest.raises(CheckpointError):
        SafetensorsFolder(tmp_path)


def test_an_index_with_a_key_twice(tmp_path):
    write_shards(tmp_path, {"x.safetensors": {"a": A}})
    (tmp_path / INDEX).write_text('{"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}}')
    with pytest.raises(CheckpointError, match="twice"):
        SafetensorsFolder(tmp_path)


def test_an_index_that_promises_more(tmp_path):
    write_shards(tmp_path, {"x.safetensors": {"a": A, "b": B}}, dict.fromkeys("abz", "x.safetensors"))
    with pytest.raises(CheckpointError, match="'z'"):
        SafetensorsFolder(tmp_path)


def test_an_index_that_lacks_a_tensor(tmp_path):
    """transformers reads all of each shard."""
    write_shards(
        tmp_path,
        {"x.safetensors": {"a": A, "b": B}, "y.safetensors": {"c": C}},
        {"a": "x.safetensors"} | {"c": "y.safetensors"},
    )
    with SafetensorsFolder(tmp_path) as folder:
        np.testing.assert_array_equal(folder.read_rows("b", 0, 7), B)
        assert [note for note in folder.notes if "x.safetensors" in note and "b .." in note]


def test_an_index_beside_the_whole(tmp_path):
    """What is out of date, readers do not agree on; shards that are gone leave no doubt."""
    write_shards(tmp_path, {"x.safetensors": {"a": A}, "y.safetensors": {"b": B}})
    (tmp_path / SINGLE).write_bytes(encode({"a": -A, "b": B}))
    for gone in ((), ("x.safetensors",)):
        for name in gone:
            (tmp_path / name).unlink()
        with pytest.raises(CheckpointError, match=rf"{SINGLE} and {INDEX}.*transformers.*vLLM"):
            SafetensorsFolder(tmp_path)
    (tmp_path / "y.safetensors").unlink()
    with SafetensorsFolder(tmp_path) as folder:
        np.testing.assert_array_equal(folder.read_rows("a", 0, 12), -A)
        assert [note for note in folder.notes if SINGLE in note and INDEX in note]
    write_shards(tmp_path, {}, {"a": SINGLE, "b": SINGLE})
    with SafetensorsFolder(tmp_path) as folder:
        assert folder.notes == []


def test_shards_without_an_index(tmp_path):
    names = [f"model-{i:05}-of-00003.safetensors" for i in (1, 2, 3)]
    for name, tensor in zip(names, "abc", strict=True):
        (tmp_path / name).write_bytes(encode({tensor: {"a": A, "b": B, "c": C}[tensor]}))
    with SafetensorsFolder(tmp_path) as folder:
        assert sorted(folder.names()) == ["a", "b", "c"]
        assert [note for note in folder.notes if names[0] in note and "index" in note]
    (tmp_path / "model-00004-of-00003.safetensors").write_bytes(encode({"d": A}))
    with pytest.raises(MissingShardError, match="expected 3 files"):
        SafetensorsFolder(tmp_path)
    (tmp_path / "model-00004-of-00003.safetensors").rename(tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="several files"):
        SafetensorsFolder(tmp_path)
    (tmp_path / "other.safetensors").unlink()
    (tmp_path / names[1]).unlink()
    with pytest.raises(MissingShardError, match=names[1]):
        SafetensorsFolder(tmp_path)
    for name in (names[0], names[2]):
        (tmp_path / name).unlink()
    (tmp_path / "weights.safetensors").write_bytes(encode({"a": A}))
    with SafetensorsFolder(tmp_path) as folder:
        assert folder.names() == ["a"] and "weights.safetensors" in folder.notes[0]


def test_folders_that_have_other_weights(tmp_path):
    (tmp_path / "pytorch_model-00001-of-00002.bin").write_bytes(b"PK")
    with pytest.raises(MissingShardError, match=r"neither; save_pretrained.*pytorch_model-00001"):
        SafetensorsFolder(tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(encode({"a": A}))
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"found an adapter; .*--lora"):
        SafetensorsFolder(tmp_path)


@pytest.mark.parametrize("name", [INDEX, "config.json"])
def test_json_that_is_no_file(tmp_path, name):
    """A pipe would be waited for; links are followed here as for weights."""
    os.mkfifo(tmp_path / name)
    with pytest.raises(CheckpointError, match="expected a file"):
        read_json(tmp_path / name, 100)
    (tmp_path / SINGLE).write_bytes(encode({"a": A}))
    if name == INDEX:
        with pytest.raises(CheckpointError, match="expected a file"):
            SafetensorsFolder(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"weight_map": []}', '{"weight_map": {}}', "[" * 100_000, "\xff"])
def test_an_index_that_is_none(tmp_path, text):
    (tmp_path / INDEX).write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError):
        SafetensorsFolder(tmp_path)


def test_files_that_are_no_safetensors(tmp_path, seed):
    good = encode({"a": A, "b": B})
    cuts = [good[:n] for n in range(0, len(good), 7)]
    lengths = [struct.pack("<Q", n) + good[8:] for n in (0, 1, 2**31, 2**63, 2**64 - 1)]
    text = json.dumps({"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}).encode()
    overflow = struct.pack("<Q", len(text)) + text + bytes(4)
    for data in [*cuts, *lengths, overflow, np.random.default_rng(seed).bytes(500), good + b"tail"]:
        (tmp_path / SINGLE).write_bytes(data)
        with pytest.raises(MissingShardError):
            SafetensorsFolder(tmp_path)


def test_shards_that_are_no_files(tmp_path):
    (tmp_path / SINGLE).mkdir()
    with pytest.raises(MissingShardError):
        SafetensorsFolder(tmp_path)
    (tmp_path / SINGLE).rmdir()
    os.mkfifo(tmp_path / SINGLE)
    with pytest.raises(MissingShardError):
        SafetensorsFolder(tmp_path)


def test_other_element_types(tmp_path):
    (tmp_path / SINGLE).write_bytes(encode({"a": A.astype(np.int8)}))
    with pytest.raises(UnsupportedModelError, match="I8"):
        SafetensorsFolder(tmp_path)


def test_a_shard_that_shrinks_while_it_is_read(tmp_path):
    (tmp_path / SINGLE).write_bytes(encode({"a": A}))
    with SafetensorsFolder(tmp_path) as folder:
        os.truncate(tmp_path / SINGLE, 100)
        with pytest.raises(CheckpointError, match="shrank"):
            folder.read_rows("a", 0, 12)
