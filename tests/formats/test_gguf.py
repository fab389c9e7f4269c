"""The reader of GGUF files against the gguf package's writer, and files that lie: each gives its typed error."""

import os
import random
import resource
import struct

import gguf
import numpy as np
import pytest

from qwen3edge.errors import CheckpointError, MissingShardError, Qwen3EdgeError, UnsupportedModelError
from qwen3edge.formats.gguf import GgufFile
from tests.formats.gguf_image import Entry, GgufImage
from tests.hostile.model_image import ARRAY, BOOL, STRING, U32, array, boolean, string, text, u32

NUMBERS = {
    "u8": gguf.GGUFValueType.UINT8,
    "i16": gguf.GGUFValueType.INT16,
    "u64": gguf.GGUFValueType.UINT64,
    "i64": gguf.GGUFValueType.INT64,
    "f64": gguf.GGUFValueType.FLOAT64,
}


def good() -> GgufImage:
    image = GgufImage(
        [
            (b"general.architecture", string("qwen3")),
            (b"general.alignment", u32(32)),
            (b"flag", boolean(1)),
            (b"words", array(STRING, [text("a"), text("é")])),
            (b"numbers", array(U32, [struct.pack("<I", 7)])),
        ]
    )
    image.add("a", "F32", [32, 2])
    image.add("b", "Q4_0", [64, 3], bytes(range(108)))
    image.add("c", "F16", [5])
    return image


def open_image(folder, image: GgufImage | bytes) -> GgufFile:
    path = folder / "m.gguf"
    path.write_bytes(image if isinstance(image, bytes) else image.build())
    return GgufFile(path)


def refuse(folder, image, error, match):
    with pytest.raises(error, match=match) as caught:
        open_image(folder, image)
    assert caught.type is error


def test_what_the_package_wrote(tmp_path, seed):
    rng = np.random.default_rng(seed)
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "qwen3")
    values = {"u8": 200, "i16": -3, "u64": 2**63, "i64": -(2**40), "f64": 0.1}
    for name, value in values.items():
        writer.add_key_value(name, value, NUMBERS[name])
    writer.add_string("text", "é\n")
    writer.add_bool("yes", True)
    writer.add_array("words", ["a", "", "ü"])
    writer.add_array("ints", [3, -1])
    weights = rng.standard_normal((6, 96)).astype(np.float32)
    raw = gguf.quantize(weights, gguf.GGMLQuantizationType.Q5_1)
    writer.add_tensor("w", weights)
    writer.add_tensor("q", raw, raw_dtype=gguf.GGMLQuantizationType.Q5_1)
    writer.add_tensor("v", weights[0].astype(np.float16))
    writer.add_tensor("e", weights.reshape(2, 3, 96))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with GgufFile(path) as file:
        assert {name: file.metadata[name] for name in values} == values
        assert (file.metadata["text"], file.metadata["yes"]) == ("é\n", True)
        assert file.metadata["words"] == ["a", "", "ü"]
        assert file.metadata["ints"].tolist() == [3, -1]
        assert {name: t.shape for name, t in file.tensors.items()} == {
            "w": (6, 96),
            "q": (6, 96),
            "v": (96,),
            "e": (2, 3, 96),
        }
        np.testing.assert_array_equal(file.read_blocks("w", 1, 4).view(np.float32), weights[1:4])
        np.testing.assert_array_equal(file.read_blocks("q", 2, 6), raw[2:])
        np.testing.assert_array_equal(file.read_blocks("e", 0, 6).view(np.float32), weights)
        assert file.read_blocks("v", 0, 1).shape == (1, 192)


def test_the_good_file_is_good(tmp_path):
    file = open_image(tmp_path, good())
    assert bytes(file.read_blocks("b", 1, 2)[0]) == bytes(range(36, 72))
    assert file.metadata["flag"] is True
    file.close()
    assert open_image(tmp_path, GgufImage(version=2)).tensors == {}


def test_cut_at_every_byte(tmp_path):
    data = good().build()
    path = tmp_path / "m.gguf"
    path.write_bytes(data)
    for length in range(len(data) - 1, -1, -1):
        os.truncate(path, length)
        with pytest.raises(MissingShardError):
            GgufFile(path)


def test_a_file_that_shrinks(tmp_path):
    file = open_image(tmp_path, good())
    os.truncate(tmp_path / "m.gguf", 100)
    with pytest.raises(CheckpointError, match="shrank"):
        file.read_blocks("b", 0, 3)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"magic": b"GGML"}, CheckpointError, "GGUF file"),
        ({"version": 1}, UnsupportedModelError, "version 1"),
        ({"version": 4}, UnsupportedModelError, "version 4"),
        ({"version": 3 << 24}, UnsupportedModelError, "big-endian"),
        ({"key_count": 2**63}, CheckpointError, "at most"),
        ({"key_count": 2**16}, MissingShardError, "found a file of"),
        ({"tensor_count": 2**64 - 1}, CheckpointError, "at most"),
        ({"tensor_count": 2**20}, MissingShardError, "found a file of"),
    ],
)
def test_the_head(tmp_path, change, error, match):
    image = good()
    for name, value in change.items():
        setattr(image, name, value)
    if "count" in next(iter(change)):
        image.tensors = []
    refuse(tmp_path, image, error, match)


@pytest.mark.parametrize(
    ("key", "value", "error", "match"),
    [
        (b"flag", u32(1), CheckpointError, "twice"),
        (b"new", (99, bytes(8)), UnsupportedModelError, "99"),
        (b"new", (BOOL, b"\x02"), CheckpointError, "0 or 1"),
        (b"new", (STRING, struct.pack("<Q", 2**63)), CheckpointError, "at most"),
        (b"new", (STRING, struct.pack("<Q", 2**20)), MissingShardError, "file of"),
        (b"new", string(b"\xff\xfe"), CheckpointError, "UTF-8"),
        (b"\xff", u32(1), CheckpointError, "UTF-8"),
        (b"new", array(ARRAY, []), UnsupportedModelError, "arrays"),
        (b"new", array(STRING, [], 2**62), CheckpointError, "at most"),
        (b"new", array(STRING, [], 2**23), MissingShardError, "strings"),
        (b"new", array(U32, [], 2**24), MissingShardError, "file of"),
        (b"new", array(77, [], 1), UnsupportedModelError, "77"),
        (b"new", array(BOOL, [b"\x01", b"\x07"]), CheckpointError, "0 or 1"),
    ],
)
def test_keys(tmp_path, key, value, error, match):
    image = good()
    image.keys.append((key, value))
    refuse(tmp_path, image, error, match)


@pytest.mark.parametrize("value", [u32(0), u32(3), u32(2**31), string("32"), boolean(1)])
def test_alignments(tmp_path, value):
    image = good()
    image.keys[1] = (b"general.alignment", value)
    refuse(tmp_path, image, CheckpointError, "alignment")


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"name": b"a"}, CheckpointError, "twice"),
        ({"name": b"\xff"}, CheckpointError, "UTF-8"),
        ({"shape": []}, CheckpointError, "dimensions"),
        ({"shape": [1] * 5}, CheckpointError, "dimensions"),
        ({"shape": [32, 0]}, CheckpointError, "sizes"),
        ({"shape": [32, 2**63]}, CheckpointError, "sizes"),
        ({"shape": [2**32, 2**32]}, CheckpointError, "sizes"),
        ({"shape": [2**40]}, MissingShardError, "data up to"),
        ({"shape": [33, 3]}, CheckpointError, "blocks of 32"),
        ({"kind": 200}, UnsupportedModelError, "200"),
        ({"kind": 4}, UnsupportedModelError, "4"),  # Q4_2, removed
        ({"offset": 33}, CheckpointError, "divides"),
        ({"offset": 2**64 - 32}, MissingShardError, "data up to"),
        ({"offset": 224}, CheckpointError, "overlaps"),
        ({"offset": 1 << 20}, MissingShardError, "data up to"),
    ],
)
def test_tensors(tmp_path, change, error, match):
    image = good()
    for name, value in change.items():
        setattr(image.tensors[1], name, value)
    refuse(tmp_path, image, error, match)


def test_lies_about_sizes_allocate_nothing(tmp_path):
    """With little memory left to take, each is still a typed error."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * 4096
    resource.setrlimit(resource.RLIMIT_AS, (now + (64 << 20), before[1]))
    try:
        for value in ((STRING, struct.pack("<Q", 2**24)), array(U32, [], 2**24), array(STRING, [], 2**24)):
            image = good()
            image.keys.append((b"new", value))
            with pytest.raises(MissingShardError):
                open_image(tmp_path, image)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_random_damage(tmp_path, seed):
    """Whatever byte is wrong: a typed error, or a file whose every tensor can be read."""
    rng = random.Random(seed)
    data = good().build()
    header = len(good().header())
    for _ in range(1000):
        broken = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            broken[rng.randrange(header)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        try:
            with open_image(tmp_path, bytes(broken)) as file:
                for name, tensor in file.tensors.items():
                    assert file.read_blocks(name, 0, tensor.rows).nbytes == tensor.nbytes
        except Qwen3EdgeError:
            pass


def test_paths_that_are_no_files(tmp_path):
    with pytest.raises(MissingShardError, match="absent"):
        GgufFile(tmp_path / "m.gguf")
    with pytest.raises(MissingShardError):
        GgufFile(tmp_path)
    (tmp_path / "m.gguf.part").write_bytes(good().build())
    with pytest.raises(CheckpointError, match="still being written"):
        GgufFile(tmp_path / "m.gguf.part")
    refuse(tmp_path, b"version https://git-lfs.github.com/spec/v1\n", MissingShardError, "LFS")


# ---- Split files ----


def shards(count: int = 3) -> list[GgufImage]:
    images = []
    for number in range(count):
        image = GgufImage(
            [(b"split.no", (2, struct.pack("<H", number))), (b"split.count", (2, struct.pack("<H", count)))]
        )
        image.keys.append((b"split.tensors.count", (5, struct.pack("<i", count))))
        image.keys.append((b"shard", u32(number)))
        image.add(f"t{number}", "F32", [32], struct.pack("<32f", *[number] * 32))
        images.append(image)
    return images


def write_shards(folder, images: list[GgufImage], count: int | None = None) -> None:
    for number, image in enumerate(images):
        path = folder / f"m-{number + 1:05}-of-{count or len(images):05}.gguf"
        path.write_bytes(image.build())


def test_shards(tmp_path):
    write_shards(tmp_path, shards())
    file = GgufFile(tmp_path / "m-00001-of-00003.gguf")
    assert file.metadata["shard"] == 0
    for number in range(3):
        assert (file.read_blocks(f"t{number}", 0, 1).view(np.float32) == number).all()


def test_not_the_first_shard(tmp_path):
    write_shards(tmp_path, shards())
    with pytest.raises(CheckpointError, match="first shard, m-00001-of-00003"):
        GgufFile(tmp_path / "m-00002-of-00003.gguf")


def test_a_missing_shard(tmp_path):
    write_shards(tmp_path, shards()[:2], 3)
    with pytest.raises(MissingShardError, match="m-00003-of-00003"):
        GgufFile(tmp_path / "m-00001-of-00003.gguf")


def test_a_shard_by_another_name(tmp_path):
    (tmp_path / "m.gguf").write_bytes(shards()[0].build())
    with pytest.raises(CheckpointError, match="of 3 shards"):
        GgufFile(tmp_path / "m.gguf")


@pytest.mark.parametrize(
    ("break_it", "match"),
    [
        (lambda images: images.__setitem__(1, images[2]), "split.no"),
        (lambda images: images[1].keys.__setitem__(1, (b"split.count", u32(2))), "split.count"),
        (lambda images: images[1].keys.pop(1), "split.count"),
        (lambda images: images[0].keys.__setitem__(2, (b"split.tensors.count", u32(9))), "9 tensors"),
        (lambda images: images[0].keys.__setitem__(1, (b"split.count", string("3"))), "number"),
        (lambda images: images[2].tensors.__setitem__(0, images[1].tensors[0]), "is in m-00002"),
    ],
)
def test_shards_that_contradict_each_other(tmp_path, break_it, match):
    images = shards()
    break_it(images)
    write_shards(tmp_path, images)
    with pytest.raises(CheckpointError, match=match):
        GgufFile(tmp_path / "m-00001-of-00003.gguf")


def test_an_entry_may_come_before_its_data_order(tmp_path):
    """Offsets need not ascend."""
    image = good()
    image.tensors = [Entry(b"x", [8], 0, bytes(32), 32), Entry(b"y", [8], 0, b"\x01" * 32, 0)]
    file = open_image(tmp_path, image)
    assert bytes(file.read_blocks("x", 0, 1)[0]) == b"\x01" * 32
