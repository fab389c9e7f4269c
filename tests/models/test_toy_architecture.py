"""An architecture that is none of ours, from its blocks to logits: only models/ knows what it is made of."""

import shutil
import subprocess

import numpy as np

from qwen3edge import _core
from qwen3edge.formats.q3e import Q3eWriter, TensorSpec
from tests.conftest import ROOT

# A head of 20 MiB: what two buffers of it leave free is worth streaming.
HIDDEN, VOCABULARY, HEADS, HEAD = 256, 80_000, 8, 32
NUMBERS = {
    "vocab_size": VOCABULARY,
    "context_length": 128,
    "embedding_length": HIDDEN,
    "block_count": 2,
    "attention.head_count": HEADS,
    "attention.head_count_kv": 1,
    "attention.key_length": HEAD,
}
METADATA = {
    "qwen3edge.model_type": "toy",
    **{f"qwen3edge.{key}": value for key, value in NUMBERS.items()},
    "qwen3edge.attention.layer_norm_rms_epsilon": 1e-6,
    "qwen3edge.attention.qk_norm": False,
    "qwen3edge.attention.qkv_bias": False,
    "qwen3edge.tie_word_embeddings": True,
}
MATRICES = {
    "token_embd": (VOCABULARY, HIDDEN),
    "blk.0.attn_q": (HEADS * HEAD, HIDDEN),
    "blk.0.attn_k": (HEAD, HIDDEN),
    "blk.0.attn_v": (HEAD, HIDDEN),
    "blk.0.attn_output": (HIDDEN, HEADS * HEAD),
    "blk.1.decay_mix": (HIDDEN, HIDDEN),
}
VECTORS = {
    "output_norm.weight": np.ones(HIDDEN, np.float32),
    "rope.inverse_frequencies": (1e4 ** -np.linspace(0, 1, HEAD // 2, endpoint=False)).astype(np.float32),
    "blk.0.attn_norm.weight": np.ones(HIDDEN, np.float32),
    "blk.1.decay_norm.weight": np.ones(HIDDEN, np.float32),
}


def write_model(path, seed):
    rng = np.random.default_rng(seed)
    packed = [
        (TensorSpec(f"{name}.weight", "q8g32", *shape), _core.quantize("q8g32", rng.standard_normal(shape, np.float32)))
        for name, shape in MATRICES.items()
    ]
    packed += [(TensorSpec(name, "vector", 1, len(v)), v.view(np.uint8)) for name, v in VECTORS.items()]
    with Q3eWriter(path, METADATA, [spec for spec, _ in packed]) as writer:
        for _, data in packed:
            writer.write(data)
        writer.commit()


def test_attention_and_a_state_that_cannot_go_back(tmp_path, seed, core_build):
    """Two sequences through plan, load, streaming, forward, snapshot and truncate (toy_architecture.cpp)."""
    write_model(tmp_path / "toy.q3e", seed)
    compiler = shutil.which("c++")
    assert compiler, "expected a C++ compiler, as the core needs one"
    program = tmp_path / "toy"
    source = ROOT / "tests" / "models" / "toy_architecture.cpp"
    command = [compiler, "-std=c++20", "-ffp-contract=off", "-I", ROOT / "csrc", source]
    subprocess.run([*command, core_build / "libqwen3edge_core.a", "-pthread", "-o", program], check=True)
    result = subprocess.run([program, tmp_path / "toy.q3e"], capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout == "resident and streamed agree\n"
