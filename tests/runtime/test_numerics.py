"""A saved session is read back only by a program that computes the same bits: kNumericsVersion says which those are."""

import hashlib

import pytest

from qwen3edge import _core
from qwen3edge.convert import convert
from tests.checksums import CACHES, logits

# By version, checkpoint and recipe: of the packed weights, and of the logits in all types of cache. Every kind of block
# that a model is made of, and every kind of block format. Where the second changes, raise kNumericsVersion
# (csrc/runtime/numerics.h) and write the new ones beside the old.
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
        "qwen2 int8": ("a252c07ff7007aae", "77970cb5427c2b3d"),
        "qwen2 int4": ("910418c77c6dda81", "a7920c84a8542a98"),
        "hybrid int8": ("da1d31debb4c4812", "70a21037976b69b4"),
        "hybrid int4": ("1aa1f4d172380ade", "ffbf3c469abf21c2"),
        "dense int6": ("d2ca8ac559ec40f2", "e2cb15642bed1838"),
        "dense f32": ("6efb9201b959d690", "6bd189c0cfc33f88"),
        "dense q4g32": ("65ef353a30852297", "ebe2e98387e40e81"),
        "dense q4a32": ("2764d229fce49c04", "660cc2c86755888b"),
        "dense q4z64": ("40e4f88982d2b81e", "491609dd6eb224d7"),
    },
}


@pytest.mark.parametrize("case", DIGESTS[_core.NUMERICS_VERSION])
def test_bits_are_of_the_numerics_version(case, request, tmp_path):
    model, quant = case.split()
    path = tmp_path / "model.q3e"
    convert(request.getfixturevalue(f"tiny_{'model' if model == 'dense' else model}_path"), path, quant)
    file = _core.ModelFile(str(path))
    weights = hashlib.sha256(repr([(t["name"], t["crc32"]) for t in file.tensors()]).encode()).hexdigest()[:16]
    tokens = [(7 * i * i + 3) % 500 for i in range(76)]
    found = hashlib.sha256()
    for kv in CACHES:
        found.update(logits(_core.Engine(file, context=128, chunk=32, threads=2, kv=kv), tokens).encode())
    expected_weights, expected = DIGESTS[_core.NUMERICS_VERSION][case]
    if weights != expected_weights:
        pytest.skip(f"this machine's converter packs other weights ({weights}), which is allowed")
    assert found.hexdigest()[:16] == expected
