"""All logits of llama.cpp for some tokens, as a .npy file.

Runs under QWEN3EDGE_LLAMA_CPP_PYTHON, so it imports nothing of ours.

python bench/llama_logits.py MODEL.gguf TOKENS.npy LOGITS.npy

One prompt, one thread, an f32 KV cache; the calls are the C API's, as a file may have no tokenizer.
"""

from __future__ import annotations

import argparse

import llama_cpp.llama_cpp as llama
import numpy as np

F32 = 0  # GGML_TYPE_F32


def logits(path: str, tokens: np.ndarray) -> np.ndarray:
    """tokens int32 [n] -> float32 [n, vocabulary]."""
    llama.llama_backend_init()
    model_settings = llama.llama_model_default_params()
    model_settings.n_gpu_layers = 0
    model = llama.llama_model_load_from_file(path.encode(), model_settings)
    if not model:
        raise SystemExit(f"llama.cpp cannot load {path}")
    count = len(tokens)
    settings = llama.llama_context_default_params()
    settings.n_ctx = settings.n_batch = settings.n_ubatch = count
    settings.n_threads = settings.n_threads_batch = 1
    settings.type_k = settings.type_v = F32
    context = llama.llama_init_from_model(model, settings)
    batch = llama.llama_batch_init(count, 0, 1)
    batch.n_tokens = count
    for i, token in enumerate(tokens):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = int(token), i, 1, 1
        batch.seq_id[i][0] = 0
    if llama.llama_decode(context, batch) != 0:
        raise SystemExit("llama_decode failed")
    vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
    found = np.ctypeslib.as_array(llama.llama_get_logits(context), shape=(count * vocabulary,))
    return found.reshape(count, vocabulary).copy()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("tokens")
    parser.add_argument("logits")
    arguments = parser.parse_args()
    np.save(arguments.logits, logits(arguments.model, np.load(arguments.tokens).astype(np.int32)))
