"""llama.cpp and transformers agree with us about exports and imports; where a peer is absent its tests say so."""

import secrets

import pytest

from bench import peers
from tests.checkpoints import Shape, make_model, save
from tests.quality.agreement import Agreement, Agreements

TOKENS = 200
EXPORTS = ["f32", "bf16", "q8g32", "int8", "q4g32", "q4a32", "int4"]
FOLDERS = ["q4g32", "q4a32", "int8", "int4"]
IMPORTS = ["Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q3_K_M", "Q2_K", "IQ3_S"]
BOUND = 5e-3  # of the mean divergence: with the same experts, where a router has to choose
UNROUNDED_BOUND = 1e-5  # where neither program rounds anything
MEDIAN_BOUND = 1e-3  # of the trained mixture, whose mean a few tokens make that take another of only four experts

# Matrices with a gain of 1 neither damp nor multiply what is rounded, as trained ones do not; with 1.5 every layer
# multiplies it, and the bound would measure the depth. Routers are sharper, as trained ones are: of 8 experts the last
# has some hundredths of the weight, and it does not matter much which one it is.
RANDOM = {
    "random": Shape("random", hidden=256, ffn=512, tied=False, gain=1.0),
    "random-moe": Shape(
        "random-moe", "qwen3_moe", hidden=256, ffn=256, tied=False, experts=32, top=8, gain=1.0, router_gain=2.0
    ),
    "qwen2": Shape("qwen2", "qwen2", hidden=256, heads=4, kv_heads=2, head_dim=64, ffn=512, gain=1.0),
}


def require(*tools: peers.Tool) -> None:
    for tool in tools:
        if tool.find() is None:
            pytest.skip(tool.absent())


@pytest.fixture(scope="module", params=["tiny", "tiny-moe", *RANDOM])
def agreements(request, tiny_model_path, tiny_moe_path, tmp_path_factory):
    """Of the trained models, and of random ones; rows are whole blocks of 256, but the trained experts', of 64."""
    work = tmp_path_factory.mktemp("agreement")
    if request.param == "tiny":
        return Agreements(tiny_model_path, work, TOKENS)
    if request.param == "tiny-moe":
        return Agreements(tiny_moe_path, work, TOKENS)
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    return Agreements(save(make_model(RANDOM[request.param], seed), work / "hf"), work, TOKENS)


def check(agreements: Agreements, agreement: Agreement) -> None:
    print(agreement)
    if agreement.experts is not None:
        assert agreement.experts.kl <= BOUND
    if agreements.is_moe and agreements.texts.exists():
        assert agreement.median <= MEDIAN_BOUND
    else:
        assert agreement.kl <= BOUND


@pytest.mark.slow
@pytest.mark.parametrize("quant", EXPORTS)
def test_llama_cpp_loads_our_exports(agreements, quant):
    require(peers.LLAMA_CPP_PYTHON)
    found = agreements.export_to_llama(quant)
    check(agreements, found)
    if quant == "f32":
        assert found.kl <= UNROUNDED_BOUND
        assert found.experts is None or found.experts.differing <= 0.02  # ties to the last bits


@pytest.mark.slow
@pytest.mark.parametrize("kind", IMPORTS)
def test_we_load_what_llama_cpp_quantized(agreements, kind):
    require(peers.LLAMA_CPP_PYTHON, peers.LLAMA_QUANTIZE)
    check(agreements, agreements.import_from_llama(kind))


@pytest.mark.slow
@pytest.mark.parametrize("quant", FOLDERS)
def test_transformers_loads_our_folders(agreements, quant):
    pytest.importorskip("compressed_tensors", reason="the compressed-tensors package is not installed")
    if agreements.is_moe:
        pytest.skip("transformers keeps experts in one parameter and does not load packed ones")
    check(agreements, agreements.export_to_transformers(quant))
