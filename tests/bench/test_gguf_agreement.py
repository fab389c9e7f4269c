"""llama.cpp and transformers agree with us about exports and imports; where a peer is absent its tests say so."""

import secrets
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import gguf_agreement as ga
import peers

from tests.checkpoints import Shape, make_model, save

TOKENS = 200
RANDOM_BOUND = 3e-2  # random weights are so large that attention is sharp: roundings that differ are multiplied
EXPERTS_BOUND = 0.1  # and a token near a tie between experts takes another one
UNROUNDED_BOUND = 1e-5  # where neither program rounds anything


def require(*tools: peers.Tool) -> None:
    for tool in tools:
        if tool.find() is None:
            pytest.skip(tool.absent())


@pytest.fixture(scope="module", params=["tiny", "tiny-moe", "random", "qwen2"])
def agreements(request, tiny_model_path, tiny_moe_path, tmp_path_factory):
    """Of the trained models, and of random ones; rows are whole blocks of 256, but an expert's, which are of 64."""
    work = tmp_path_factory.mktemp("agreement")
    if request.param == "tiny":
        return ga.Agreements(tiny_model_path, work, TOKENS)
    if request.param == "tiny-moe":
        return ga.Agreements(tiny_moe_path, work, TOKENS)
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    shape = {
        "random": Shape("random", hidden=256, ffn=512, tied=False),
        "qwen2": Shape("qwen2", family="qwen2", hidden=256, heads=4, kv_heads=2, head_dim=64, ffn=512),
    }[request.param]
    return ga.Agreements(save(make_model(shape, seed), work / "hf"), work, TOKENS)


def check(agreements: ga.Agreements, agreement: ga.Agreement) -> None:
    print(agreement)
    trained = EXPERTS_BOUND if agreements.is_moe else ga.BOUND
    assert agreement.kl <= (trained if agreements.texts.exists() else RANDOM_BOUND)


@pytest.mark.slow
@pytest.mark.parametrize("quant", ga.EXPORTS)
def test_llama_cpp_loads_our_exports(agreements, quant):
    require(peers.LLAMA_CPP_PYTHON)
    found = agreements.export_to_llama(quant)
    check(agreements, found)
    if quant == "f32":
        assert found.kl <= UNROUNDED_BOUND


@pytest.mark.slow
@pytest.mark.parametrize("kind", ga.IMPORTS)
def test_we_load_what_llama_cpp_quantized(agreements, kind):
    require(peers.LLAMA_CPP_PYTHON, peers.LLAMA_QUANTIZE)
    check(agreements, agreements.import_from_llama(kind))


@pytest.mark.slow
@pytest.mark.parametrize("quant", ga.FOLDERS)
def test_transformers_loads_our_folders(agreements, quant):
    pytest.importorskip("compressed_tensors", reason="the compressed-tensors package is not installed")
    if agreements.is_moe:
        pytest.skip("transformers keeps experts in one parameter and does not load packed ones")
    check(agreements, agreements.export_to_transformers(quant))
