"""Files whose container is right and whose model is not: configs, tensors and values that disagree."""

import struct

import numpy as np
import pytest

from qwen3edge.errors import (
    CorruptFileError,
    FileFormatError,
)
from tests.hostile.model_image import (
    U32,
    U64,
    array,
    boolean,
    f32,
    string,
    u32,
)
from tests.hostile.refusals import GOOD, MOE, data_start_of, open_bytes, read_everything, refuse

# ---- Configs that disagree ----


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("vocab_size", u32(v)) for v in (0, 31, 33, 2**25, 2**32 - 1)),
        *(("context_length", u32(v)) for v in (0, 2**31)),
        *(("embedding_length", u32(v)) for v in (0, 31, 64, 2**31, 2**32 - 32)),
        *(("block_count", u32(v)) for v in (0, 2, 1025, 2**32 - 1)),
        *(("feed_forward_length", u32(v)) for v in (0, 1, 64, 2**32 - 32)),
        *(("attention.head_count", u32(v)) for v in (0, 2, 2**20, 2**32 - 1)),
        *(("attention.head_count_kv", u32(v)) for v in (0, 2, 2**32 - 1)),
        *(("attention.key_length", u32(v)) for v in (0, 16, 64, 288, 2**32 - 32)),
        *(("attention.layer_norm_rms_epsilon", f32(v)) for v in (0, -1, float("nan"), float("inf"), -0.0)),
        ("attention.qk_norm", boolean(0)),
        ("attention.qkv_bias", boolean(1)),
        ("tie_word_embeddings", boolean(0)),
        ("vocab_size", (U64, struct.pack("<Q", 32))),
        ("vocab_size", string("32")),
        ("vocab_size", array(U32, [struct.pack("<I", 32)])),
        ("attention.qk_norm", u32(1)),
        ("attention.layer_norm_rms_epsilon", (12, struct.pack("<d", 1e-6))),
        ("model_type", u32(3)),
    ],
    ids=str,
)
def test_configs_that_disagree(tmp_path, key, value):
    refuse(tmp_path, GOOD.copy().set(f"qwen3edge.{key}", value), FileFormatError, ".")


def test_missing_keys(tmp_path):
    optional = {"general.name", "general.architecture", "qwen3edge.rope.freq_base", "tokenizer.ggml.tokens"}
    for key, _ in GOOD.keys:
        if key.decode() not in optional:
            refuse(tmp_path, GOOD.copy().set(key.decode(), None), FileFormatError, f"{key.decode()}' is missing")


def test_missing_and_unexpected_tensors(tmp_path):
    for index, tensor in enumerate(GOOD.tensors):
        image = GOOD.copy()
        del image.tensors[index]
        refuse(tmp_path, image, FileFormatError, f"{tensor.name.decode()}' is missing")
    image = GOOD.copy()
    extra = image.copy().tensors[2]
    extra.name = b"blk.1.attn_q.weight"
    image.tensors.append(extra)
    refuse(tmp_path, image, FileFormatError, r"unexpected tensor 'blk\.1")


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf, 1.5])
def test_rope_frequencies(tmp_path, value):
    image = GOOD.copy()
    tensor = image.tensor("rope.inverse_frequencies")
    tensor.data = tensor.data[:-4] + struct.pack("<f", value)
    refuse(tmp_path, image, FileFormatError, r"rope\.inverse_frequencies\[15\]")


# ---- Experts ----


def test_the_good_mixture_is_good(tmp_path):
    file = open_bytes(tmp_path, MOE.build())
    read_everything(file)
    places = {t["name"]: t["offset"] for t in file.tensors()}
    assert all(at % 4096 == 0 for name, at in places.items() if name.endswith("_exps.weight"))


@pytest.mark.parametrize("step", [-4096, -64, 64, 4096])
def test_experts_start_at_pages(tmp_path, step):
    image = MOE.copy()
    start = data_start_of(image)
    place = image.places(image.tensors, start)[-1]
    image.tensors[-1].offset = place + step
    refuse(tmp_path, image, FileFormatError, f"offset {place + step}, expected {place}")


def test_gaps_before_experts_are_zeros(tmp_path):
    image = MOE.copy()
    image.gap = b"\1"
    refuse(tmp_path, image, FileFormatError, "gaps")
    data = bytearray(MOE.build())
    file = open_bytes(tmp_path, bytes(data))
    at = next(t["offset"] for t in file.tensors() if t["name"].endswith("_exps.weight"))
    data[at - 1] = 1
    refuse(tmp_path, bytes(data), FileFormatError, "gaps")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("expert_count", u32(v)) for v in (0, 1, 2, 4, 513, 2**32 - 1)),
        *(("expert_used_count", u32(v)) for v in (0, 4, 2**32 - 1)),
        *(("expert_feed_forward_length", u32(v)) for v in (0, 31, 64, 2**31, 2**32 - 32)),
        ("norm_topk_prob", u32(1)),
        ("model_type", string("qwen3")),
        *((key, None) for key in ("expert_count", "expert_used_count", "norm_topk_prob")),
    ],
    ids=str,
)
def test_mixtures_that_disagree(tmp_path, key, value):
    refuse(tmp_path, MOE.copy().set(f"qwen3edge.{key}", value), FileFormatError, ".")


def test_a_router_is_float32(tmp_path):
    image = MOE.copy()
    router = image.tensor("blk.0.ffn_gate_inp.weight")
    router.format, router.data = b"bf16", router.data[: len(router.data) // 2]
    refuse(tmp_path, image, FileFormatError, r"ffn_gate_inp\.weight' has the block format 'bf16', expected 'f32'")


# ---- Values that a checksum cannot judge ----


@pytest.mark.parametrize(
    ("name", "at", "data", "match"),
    [
        ("blk.0.attn_q.weight", 2 * 5, b"\x00\x7e", "scale is not finite in row 5, block 0"),  # NaN
        ("blk.0.attn_q.weight", 2 * 5, b"\x00\xfc", "scale is not finite in row 5"),  # -inf
        ("token_embd.weight", 2 * 3, b"\x00\x7c", "scale is not finite in row 3"),
        ("blk.0.ffn_down.weight", 2 * 3, b"\x00\x7c", "scale is not finite in row 3"),
        ("blk.0.attn_output.weight", 2 * 15, b"\x01\x7c", "scale is not finite in row 15"),
        ("blk.0.ffn_gate.weight", 64 + 2 * 7, b"\x00\x7c", "minimum is not finite in row 7"),
        ("blk.0.attn_k.weight", 4 * 16 * 2 + 4, b"\x00\x00\xc0\x7f", "value is not finite in row 1, column 2"),
        ("blk.0.attn_v.weight", 2 * 16 * 2 + 2, b"\x80\x7f", "value is not finite in row 1, column 2"),
        ("output_norm.weight", 8, b"\x00\x00\x80\xff", "value 2 is not finite"),
    ],
)
def test_values_that_are_not_finite(tmp_path, name, at, data, match):
    image = GOOD.copy()
    tensor = image.tensor(name)
    tensor.data = tensor.data[:at] + data + tensor.data[at + len(data) :]
    file = open_bytes(tmp_path, image.build())
    with pytest.raises(CorruptFileError, match=match):
        file.verify()


def test_codes_that_leave_int8(tmp_path):
    image = GOOD.copy()
    tensor = image.tensor("blk.0.ffn_down.weight")
    panel = bytearray(tensor.data)
    panel[64 + 4 * 9] = 15  # s = 16 for group 0 of row 9
    panel[128 + 4 * 9] = 0  # z = 0
    quants = 128 + 128
    for octet in range(4):
        panel[quants + octet * 64 + 9 * 4 : quants + octet * 64 + 9 * 4 + 4] = bytes(4)
    panel[quants + 9 * 4 + 1] = 0x70  # q = 7: 16 * 7 + 0 fits
    tensor.data = bytes(panel)
    open_bytes(tmp_path, image.build()).verify()
    panel[quants + 9 * 4 + 1] = 0x80  # q = 8: 128 does not
    tensor.data = bytes(panel)
    file = open_bytes(tmp_path, image.build())
    with pytest.raises(CorruptFileError, match=r"is 128 in row 9, group 0"):
        file.verify()


def test_any_code_of_q6z_is_one(tmp_path):
    """But for the scale no byte of q6z can be wrong: docs/format.md."""
    image = GOOD.copy()
    tensor = image.tensor("token_embd.weight")
    panel = len(tensor.data) // 2
    tensor.data = tensor.data[:64] + b"\xff" * (panel - 64) + tensor.data[panel : panel + 64] + bytes(panel - 64)
    open_bytes(tmp_path, image.build()).verify()
