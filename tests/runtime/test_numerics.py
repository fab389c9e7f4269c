"""A saved session is read back only by a program that computes the same bits: kNumericsVersion says which those are."""

import hashlib

import pytest

from qwen3edge import _core
from qwen3edge.convert import convert
from tests.checksums import CACHES, logits

# By version, checkpoint and recipe: of the packed weights, and of the logits in all types of cache. Where the second
# changes, raise kNumericsVersion (csrc/runtime/numerics.h) and write the new ones beside the old.
DIGESTS = {
    1: {
        "dense int8": ("bf764e18f7331bf6", "e9108e8bb372b718"),
        "dense int4": ("67b850c0ad87eef2", "a0d0ac98a8bc291d"),
        "moe int8": ("6e6b914aa6c7140d", "0c1dd6a836f7a81e"),
        "moe int4": ("b17e3f43358bc2de", "0efdb2cdf499623f"),
    },
    2: {  # keys of an int4 cache by channel and page
        "dense int8": ("bf764e18f7331bf6", "9cec6126afc50884"),
        "dense int4": ("67b850c0ad87eef2", "5d5e04e21a800e81"),
        "moe int8": ("6e6b914aa6c7140d", "6d7b56724f8c55fe"),
        "moe int4": ("b17e3f43358bc2de", "ba917a19c34fbfc1"),
    },
}


@pytest.mark.parametrize("model", ["dense", "moe"])
@pytest.mark.parametrize("quant", ["int8", "int4"])
def test_bits_are_of_the_numerics_version(model, quant, tiny_model_path, tiny_moe_path, tmp_path):
    path = tmp_path / "model.q3e"
    convert(tiny_model_path if model == "dense" else tiny_moe_path, path, quant)
    file = _core.ModelFile(str(path))
    weights = hashlib.sha256(repr([(t["name"], t["crc32"]) for t in file.tensors()]).encode()).hexdigest()[:16]
    tokens = [(7 * i * i + 3) % 500 for i in range(76)]
    found = hashlib.sha256()
    for kv in CACHES:
        found.update(logits(_core.Engine(file, context=128, chunk=32, threads=2, kv=kv), tokens).encode())
    expected_weights, expected = DIGESTS[_core.NUMERICS_VERSION][f"{model} {quant}"]
    if weights != expected_weights:
        pytest.skip(f"this machine's converter packs other weights ({weights}), which is allowed")
    assert found.hexdigest()[:16] == expected
