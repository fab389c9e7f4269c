"""All logits of llama.cpp for some tokens, as a .npy file.

Runs under QWEN3EDGE_LLAMA_CPP_PYTHON, so it imports nothing of ours.

python tests/reference/llama_logits.py MODEL.gguf TOKENS.npy LOGITS.npy [--probabilities FILE.npy] [--experts FILE.npy]
    [--kv q8_0] [--threads 2]

One prompt, one thread and an f32 KV cache unless told otherwise; the calls are the C API's, as a file may have no
tokenizer. Of a mixture the routers' probabilities can be written, float32 [layers, tokens, experts], and the order of
the experts of each token, best first, be given: int32 [layers, tokens, experts]. Their weights remain llama.cpp's own.
"""

from __future__ import annotations

import argparse
import ctypes

import llama_cpp.llama_cpp as llama
import numpy as np

CACHES = {"f32": 0, "q8_0": 8}  # GGML_TYPE_F32, GGML_TYPE_Q8_0
FLASH_ATTENTION = 1  # LLAMA_FLASH_ATTN_TYPE_ENABLED: without it values may not be quantized


class Routers:
    """Reads and overwrites what llama.cpp's graph computes of the routers."""

    def __init__(self, tokens: int, order: np.ndarray | None) -> None:
        self.probabilities: dict[int, np.ndarray] = {}  # [tokens, experts] by layer
        self._tokens, self._order = tokens, order
        self._ggml = llama._lib  # which depends on ggml's libraries, so their symbols are found in it
        self._ggml.ggml_get_name.restype = ctypes.c_char_p
        self._ggml.ggml_get_name.argtypes = [ctypes.c_void_p]
        for access in (self._ggml.ggml_backend_tensor_get, self._ggml.ggml_backend_tensor_set):
            access.restype = None
            access.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t]
        self._ggml.ggml_nbytes.restype = ctypes.c_size_t
        self._ggml.ggml_nbytes.argtypes = [ctypes.c_void_p]
        self.callback = llama.ggml_backend_sched_eval_callback(self._see)

    def _see(self, tensor: int, asked: bool, _: object) -> bool:
        """Asked: whether the tensor is wanted. Later: with its values."""
        kind, _, layer = self._ggml.ggml_get_name(tensor).decode().rpartition("-")
        if not layer.isdigit() or kind not in ("ffn_moe_probs", "ffn_moe_argsort"):
            return not asked
        if asked:
            return True
        size = self._ggml.ggml_nbytes(tensor)
        if kind == "ffn_moe_probs":
            values = np.empty(size // 4, np.float32)
            self._ggml.ggml_backend_tensor_get(tensor, values.ctypes.data, 0, size)
            self.probabilities[int(layer)] = values.reshape(self._tokens, -1)
        elif self._order is not None:
            order = np.ascontiguousarray(self._order[int(layer)], np.int32)
            if order.nbytes != size:
                raise SystemExit(f"{kind}-{layer}: expected {size} bytes of experts, found {order.nbytes}")
            self._ggml.ggml_backend_tensor_set(tensor, order.ctypes.data, 0, size)
        return True


def logits(
    path: str, tokens: np.ndarray, routers: Routers | None = None, kv: str = "f32", threads: int = 1
) -> np.ndarray:
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
    settings.n_threads = settings.n_threads_batch = threads
    settings.type_k = settings.type_v = CACHES[kv]
    if kv != "f32":
        settings.flash_attn_type = FLASH_ATTENTION
    if routers is not None:
        settings.cb_eval = routers.callback
    context = llama.llama_init_from_model(model, settings)
    if not context:
        raise SystemExit(f"llama.cpp makes no context with a {kv} cache")
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("tokens")
    parser.add_argument("logits")
    parser.add_argument("--probabilities", help="where the routers' go; the model must be a mixture of experts")
    parser.add_argument("--experts", help="the order to take instead of the routers' own")
    parser.add_argument("--kv", choices=list(CACHES), default="f32", help="the cache's type (%(default)s)")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    tokens = np.load(arguments.tokens).astype(np.int32)
    routers = None
    if arguments.probabilities or arguments.experts:
        routers = Routers(len(tokens), np.load(arguments.experts) if arguments.experts else None)
    np.save(arguments.logits, logits(arguments.model, tokens, routers, arguments.kv, arguments.threads))
    if routers is not None and not routers.probabilities:
        raise SystemExit("llama.cpp's graph has no router")
    if routers is not None and arguments.probabilities:
        found = routers.probabilities
        np.save(arguments.probabilities, np.stack([found[layer] for layer in sorted(found)]))


if __name__ == "__main__":
    main()
