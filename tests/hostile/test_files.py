"""Files that lie. Each gives its typed error, naming what was expected and found; none crashes the process."""

import os
import random
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3edge import _core
from qwen3edge.errors import (
    CorruptFileError,
    FileFormatError,
    ForeignFileError,
    Qwen3EdgeError,
    TruncatedFileError,
    UnsupportedModelError,
)
from tests.hostile.model_image import (
    ARRAY,
    BOOL,
    STRING,
    U32,
    U64,
    array,
    boolean,
    data_start,
    string,
    text,
    u32,
)
from tests.hostile.refusals import GOOD, open_bytes, read_everything, refuse


def test_the_good_file_is_good(tmp_path):
    file = open_bytes(tmp_path, GOOD.build())
    read_everything(file)
    assert file.get("tokenizer.ggml.tokens") == ["a", "", "é"]
    assert data_start(GOOD.build()) % 64 == 0
    with pytest.raises(KeyError):
        file.get("absent")
    with pytest.raises(FileFormatError, match="absent"):
        file.packed("absent")


# ---- The file as a whole ----


def test_cut_at_every_byte_of_the_header(tmp_path):
    data = GOOD.build()
    path = tmp_path / "m.q3e"
    path.write_bytes(data)
    for length in range(data_start(data) + 64, -1, -1):
        os.truncate(path, length)
        with pytest.raises(TruncatedFileError):
            _core.ModelFile(str(path))


def test_cut_in_the_data(tmp_path, seed):
    data = GOOD.build()
    for length in random.Random(seed).sample(range(data_start(data), len(data)), 100):
        refuse(tmp_path, data[:length], TruncatedFileError, "bytes")


def test_every_byte_of_the_header_is_under_its_checksum(tmp_path, seed):
    data, random_bits = bytearray(GOOD.build()), random.Random(seed)
    path = tmp_path / "m.q3e"
    path.write_bytes(data)
    with open(path, "r+b", buffering=0) as file:
        for at in range(data_start(data)):
            os.pwrite(file.fileno(), bytes([data[at] ^ 1 << random_bits.randrange(8)]), at)
            with pytest.raises(Qwen3EdgeError):
                _core.ModelFile(str(path))
            os.pwrite(file.fileno(), data[at : at + 1], at)
    _core.ModelFile(str(path))


def test_every_byte_of_the_data_is_under_a_checksum(tmp_path, seed):
    data = GOOD.build()
    start = data_start(data)
    for at in random.Random(seed).sample(range(start, len(data)), 150):
        changed = bytearray(data)
        changed[at] ^= 0xFF
        with pytest.raises(FileFormatError):
            file = open_bytes(tmp_path, bytes(changed))
            file.verify()


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_headers_with_any_bytes_and_a_right_checksum(tmp_path_factory, data):
    image = bytearray(GOOD.build())
    start = data_start(image)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, start - 8))
        width = data.draw(st.sampled_from([1, 4, 8]))
        edges = [0, 1, 31, 2**7, 2**31, 2**32 - 1, 2**63, 2**64 - 1, 2**64 - 64]
        value = data.draw(st.sampled_from(edges) | st.integers(0, 2**64 - 1)) % 256**width
        image[at : at + width] = value.to_bytes(width, "little")
    image[-4:] = struct.pack("<I", zlib.crc32(image[:start]))
    try:
        file = open_bytes(tmp_path_factory.getbasetemp(), bytes(image))
        read_everything(file)
    except Qwen3EdgeError:
        pass


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 42\n"


@pytest.mark.parametrize(
    ("data", "error", "match"),
    [
        (b"", TruncatedFileError, "empty"),
        (b"GG", TruncatedFileError, "2 bytes"),
        (b"GGUF", TruncatedFileError, "4 bytes"),
        (b"GGUF\3", TruncatedFileError, "version"),
        (LFS, ForeignFileError, "Git LFS"),
        (b"PK\x03\x04 and more", ForeignFileError, "PK"),
        (b"\x80\x00'\"\n" * 9, ForeignFileError, "GGUF"),
        (GOOD.build()[::-1], ForeignFileError, "GGUF"),
        (b"FUGG" + GOOD.build()[4:], ForeignFileError, "FUGG"),
    ],
    ids=range(9),
)
def test_files_of_other_kinds(tmp_path, data, error, match):
    refuse(tmp_path, data, error, match)


def test_things_that_are_no_files(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        _core.ModelFile(str(tmp_path / "absent.q3e"))
    with pytest.raises(ForeignFileError, match="a directory"):
        _core.ModelFile(str(tmp_path))
    os.mkfifo(tmp_path / "pipe.q3e")
    with pytest.raises(ForeignFileError, match="a pipe"):
        _core.ModelFile(str(tmp_path / "pipe.q3e"))
    with pytest.raises(ForeignFileError, match="a device"):
        _core.ModelFile("/dev/zero")
    (tmp_path / "loop.q3e").symlink_to("loop.q3e")
    with pytest.raises(OSError, match="symbolic"):
        _core.ModelFile(str(tmp_path / "loop.q3e"))
    (tmp_path / "x.q3e.part").write_bytes(GOOD.build())
    with pytest.raises(TruncatedFileError, match="not finished"):
        _core.ModelFile(str(tmp_path / "x.q3e.part"))


def test_bytes_after_the_last_tensor(tmp_path):
    image = GOOD.copy()
    image.tail = b"\0"
    refuse(tmp_path, image, FileFormatError, "end after its last tensor")


# ---- Versions and architectures ----


@pytest.mark.parametrize("version", [0, 1, 2, 4, 0x03000000, 2**32 - 1])
def test_other_versions_of_gguf(tmp_path, version):
    image = GOOD.copy()
    image.version = version
    refuse(tmp_path, image, ForeignFileError, f"version 3, found {version}")


def test_other_architectures_and_format_versions(tmp_path):
    refuse(tmp_path, GOOD.copy().set("general.architecture", string("llama")), ForeignFileError, "'llama'")
    refuse(tmp_path, GOOD.copy().set("general.architecture", None), ForeignFileError, "no architecture")
    refuse(tmp_path, GOOD.copy().set("general.architecture", u32(7)), ForeignFileError, "no architecture")
    refuse(tmp_path, GOOD.copy().set("qwen3edge.format_version", u32(2)), ForeignFileError, "version 1, found 2")
    refuse(tmp_path, GOOD.copy().set("qwen3edge.model_type", string("qwen9")), UnsupportedModelError, "'qwen9'")


# ---- Counts and lengths ----

HUGE = [2**16, 2**31, 2**32, 2**61, 2**63, 2**64 - 1]


@pytest.mark.parametrize("count", HUGE)
def test_counts_beyond_the_file(tmp_path, count):
    for name in ("tensor_count", "key_count"):
        image = GOOD.copy()
        setattr(image, name, count)
        refuse(tmp_path, image, TruncatedFileError, str(count))
    for kind in (U32, U64, STRING, BOOL):
        refuse(tmp_path, GOOD.copy().set("x", array(kind, [], count)), TruncatedFileError, str(count))
    refuse(tmp_path, GOOD.copy().set("x", (STRING, struct.pack("<Q", count))), TruncatedFileError, str(count))


def test_counts_that_are_too_small(tmp_path):
    for name in ("tensor_count", "key_count"):
        for count in (0, 1, 5):
            image = GOOD.copy()
            setattr(image, name, count)
            with pytest.raises(FileFormatError):
                open_bytes(tmp_path, image.build())


def test_too_many_keys(tmp_path):
    image = GOOD.copy()
    image.keys += [(b"k%d" % i, boolean(0)) for i in range(70_000)]
    refuse(tmp_path, image, FileFormatError, "at most 65536")


def test_empty_arrays_and_strings_are_fine(tmp_path):
    image = GOOD.copy().set("a", array(STRING, [])).set("b", array(U64, [])).set("c", string(""))
    file = open_bytes(tmp_path, image.build())
    assert [file.get(key) for key in "abc"] == [[], [], ""]


def test_arrays_of_arrays(tmp_path):
    inner = struct.pack("<IQ", ARRAY, 1)
    refuse(tmp_path, GOOD.copy().set("x", array(ARRAY, [])), FileFormatError, "array of arrays")
    refuse(tmp_path, GOOD.copy().set("x", (ARRAY, inner * 100_000)), FileFormatError, "array of arrays")


def test_unknown_types(tmp_path):
    for kind in (13, 99, 2**32 - 1):
        refuse(tmp_path, GOOD.copy().set("x", (kind, bytes(8))), FileFormatError, f"type {kind}")
        refuse(tmp_path, GOOD.copy().set("x", array(kind, [bytes(8)])), FileFormatError, f"type {kind}")


def test_bools_other_than_0_and_1(tmp_path):
    refuse(tmp_path, GOOD.copy().set("x", boolean(2)), FileFormatError, "bool of 2")
    refuse(tmp_path, GOOD.copy().set("x", array(BOOL, [b"\1", b"\xff"])), FileFormatError, "bool of 255")


def test_every_type_is_read(tmp_path):
    values = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 10: "<Q", 11: "<q", 12: "<d"}
    image = GOOD.copy()
    for kind, code in values.items():
        image.set(f"one{kind}", (kind, struct.pack(code, 100))).set(
            f"some{kind}", array(kind, [struct.pack(code, 3)] * 3)
        )
    image.set("flags", array(BOOL, [b"\1", b"\0"]))
    file = open_bytes(tmp_path, image.build())
    assert all(file.get(f"one{kind}") == 100 and file.get(f"some{kind}") == [3, 3, 3] for kind in values)
    assert file.get("flags") == [True, False]


# ---- Names ----

NOT_UTF8 = [b"\xff", b"\xc3", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"a" * 9 + b"\x80"]


@pytest.mark.parametrize("name", NOT_UTF8)
def test_bytes_that_are_no_utf8(tmp_path, name):
    refuse(tmp_path, GOOD.copy().set("x", string(name)), FileFormatError, "UTF-8")
    refuse(tmp_path, GOOD.copy().set("x", array(STRING, [text("a"), text(name)])), FileFormatError, "UTF-8")
    image = GOOD.copy()
    image.keys.append((name, u32(1)))
    refuse(tmp_path, image, FileFormatError, "UTF-8")
    image = GOOD.copy()
    image.tensors[3].name = name
    refuse(tmp_path, image, FileFormatError, "UTF-8")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=12))
def test_utf8_is_judged_as_python_judges_it(tmp_path_factory, name):
    try:
        expected = name.decode()
    except UnicodeDecodeError:
        expected = None
    image = GOOD.copy().set("x", string(name)).build()
    if expected is None:
        refuse(tmp_path_factory.getbasetemp(), image, FileFormatError, "UTF-8")
    else:
        assert open_bytes(tmp_path_factory.getbasetemp(), image).get("x") == expected


def test_duplicates_and_empty_names(tmp_path):
    image = GOOD.copy()
    image.keys.append((b"general.name", string("again")))
    refuse(tmp_path, image, FileFormatError, "'general.name' stands twice")
    image = GOOD.copy()
    image.tensors[3].name = image.tensors[2].name
    refuse(tmp_path, image, FileFormatError, "attn_q.weight' stands twice")
    image = GOOD.copy()
    image.keys.append((b"", u32(1)))
    refuse(tmp_path, image, FileFormatError, "key is empty")
    image = GOOD.copy()
    image.tensors[3].name = b""
    refuse(tmp_path, image, FileFormatError, "name is empty")


def test_long_and_odd_names_do_not_flood_the_message(tmp_path):
    image = GOOD.copy()
    image.keys += [(b"\x1b[31m" + b"y" * 100_000, u32(1))] * 2
    with pytest.raises(FileFormatError) as caught:
        open_bytes(tmp_path, image.build())
    assert len(str(caught.value)) < 500
    assert "\x1b" not in str(caught.value)


# ---- The tensor table ----


@pytest.mark.parametrize("offset", [0, 1, 63, 64, 2**32, 2**63, 2**64 - 64, 2**64 - 1])
def test_offsets_that_are_not_the_next(tmp_path, offset):
    image = GOOD.copy()
    image.tensors[4].offset = offset
    refuse(tmp_path, image, FileFormatError, f"offset {offset}, expected")


def test_swapped_tensors(tmp_path):
    image = GOOD.copy()
    header_order = [t.name for t in image.tensors]
    file = open_bytes(tmp_path, image.build())
    offsets = [t["offset"] - file.tensors()[0]["offset"] for t in file.tensors()]
    image.tensors[2].offset, image.tensors[3].offset = offsets[3], offsets[2]
    assert header_order == [t.name for t in image.tensors]
    refuse(tmp_path, image, FileFormatError, "no overlap, no holes")


@pytest.mark.parametrize("dimensions", [[], [0], [1], [2**63], [2**64 - 1], [32, 32], [1] * 5, [2**32, 2**32]])
def test_dimensions(tmp_path, dimensions):
    image = GOOD.copy()
    image.tensors[4].dimensions = dimensions
    refuse(tmp_path, image, FileFormatError, r"dimensions|bytes")


@pytest.mark.parametrize("kind", [0, 1, 2, 8, 30, 10_000, 2**32 - 1])
def test_types_of_tensors(tmp_path, kind):
    image = GOOD.copy()
    image.tensors[4].kind = kind
    refuse(tmp_path, image, FileFormatError, f"type {kind}, expected 24")


def test_more_dimensions_than_bytes(tmp_path):
    image = GOOD.copy()
    image.tensors[4].dimensions = [1] * 4
    data = image.build().replace(struct.pack("<I", 4) + struct.pack("<Q", 1) * 4, struct.pack("<I", 2**32 - 1), 1)
    refuse(tmp_path, data, FileFormatError, "4294967295 dimensions")


@pytest.mark.parametrize("name", ["formats", "rows", "columns"])
def test_arrays_of_the_table(tmp_path, name):
    kind = STRING if name == "formats" else U64
    item = text("q8") if name == "formats" else struct.pack("<Q", 32)
    for value in (
        None,
        u32(1),
        array(U32, [bytes(4)] * 14),
        array(kind, [item] * 13),
        array(kind, [item] * 15),
        array(kind, []),
    ):
        image = GOOD.copy()
        image.table[name] = value
        refuse(tmp_path, image, FileFormatError, f"qwen3edge.tensor.{name}")


@pytest.mark.parametrize("value", [0, 33, 2**24, 2**31, 2**32, 2**32 + 32, 2**58, 2**63, 2**64 - 32])
@pytest.mark.parametrize("side", ["rows", "columns"])
def test_shapes(tmp_path, side, value):
    """Products of these overflow 64 bits, and some would give the right size if they were cut to 32."""
    for index in range(len(GOOD.tensors)):
        image = GOOD.copy()
        setattr(image.tensors[index], side, value)
        with pytest.raises(FileFormatError):
            open_bytes(tmp_path, image.build())


def test_block_formats(tmp_path):
    for name in (b"q4_0", b"", b"Q8", b"q8\0", b"vector "):
        image = GOOD.copy()
        image.tensors[2].format = name
        refuse(tmp_path, image, FileFormatError, "unknown block format")
    image = GOOD.copy()
    image.tensors[2].format = b"q4g64"  # 32 columns
    refuse(tmp_path, image, FileFormatError, "cannot hold")
    image = GOOD.copy()
    image.tensors[2].format = b"f32"
    refuse(tmp_path, image, FileFormatError, "expected 4096")
    image = GOOD.copy()
    image.tensors[1].format = b"f32"
    refuse(tmp_path, image, FileFormatError, "expected 2048")


def test_a_matrix_as_vector_and_a_vector_as_matrix(tmp_path):
    image = GOOD.copy()
    vector = image.tensor("blk.0.attn_norm.weight")
    vector.format, vector.data = b"f32", _core.quantize("f32", np.ones((1, 32), np.float32)).tobytes()
    refuse(tmp_path, image, FileFormatError, "'f32', expected 'vector'")
    image = GOOD.copy()
    matrix = image.tensor("blk.0.attn_k.weight")
    matrix.format, matrix.rows, matrix.data = b"vector", 2, matrix.data[:128]
    refuse(tmp_path, image, FileFormatError, "2 rows, expected 1")


def test_no_checksums(tmp_path):
    image = GOOD.copy()
    image.last_name = b"checksum"
    refuse(tmp_path, image, FileFormatError, "'checksums' as the last tensor")
    image = GOOD.copy()
    image.checksums = [0] * 13
    refuse(tmp_path, image.build() + b"", TruncatedFileError, "checksums")
    image.tensors = []
    with pytest.raises(FileFormatError):
        open_bytes(tmp_path, image.build())


def test_gaps_that_are_not_zero(tmp_path):
    image = GOOD.copy()
    image.gap = b"\1"
    refuse(tmp_path, image, FileFormatError, "gaps")


def test_checksum_of_the_header(tmp_path):
    image = GOOD.copy()
    image.header_checksum = 12345
    refuse(tmp_path, image, CorruptFileError, "12345")


def test_checksum_of_a_tensor(tmp_path):
    image = GOOD.copy()
    image.checksums = [zlib.crc32(t.data) for t in image.tensors]
    image.checksums[5] ^= 1
    file = open_bytes(tmp_path, image.build())
    with pytest.raises(CorruptFileError, match=r"attn_q_norm\.weight.*checksum"):
        file.verify()


@pytest.mark.parametrize("value", [0, 1, 32, 128, 2**32 - 1])
def test_alignment(tmp_path, value):
    refuse(tmp_path, GOOD.copy().set("general.alignment", u32(value)), FileFormatError, f"64, found {value}")
