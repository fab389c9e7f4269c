"""One sample in a process of its own, printed as JSON: several sequences at once with our engine, or OpenVINO GenAI.

    python bench/models/child.py batch MODEL.q3e --prompt 64 --generate 32 --threads 2 --sequences 8
    python bench/models/child.py openvino FOLDER --prompt 512 --generate 64 --threads 2

OpenVINO's runs under QWEN3EDGE_OPENVINO_PYTHON, so nothing of ours is imported for it. Prompts are random tokens,
decoding is greedy and does not stop.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence

import numpy as np

CHECK_TOKENS = 3
VOCABULARY = 151_000  # ordinary tokens of Qwen3
WARM_TOKENS = 16


def batch(path: str, prompt: int, generate: int, threads: int, sequences: int) -> dict[str, float]:
    """Each sequence gets a prompt, then all decode together. Ends the process where that changes what each says."""
    from qwen3edge import _core  # noqa: PLC0415  (OpenVINO's interpreter has none)

    file = _core.ModelFile(path)
    engine = _core.Engine(file, context=prompt + generate, sequences=sequences, threads=threads, kv="int8")
    tokens = np.random.default_rng(0).integers(0, file.get("qwen3edge.vocab_size"), (sequences, prompt), np.int32)
    last = np.arange(prompt) == prompt - 1

    def prefill() -> list[int]:
        """The next token of each sequence."""
        logits = [
            engine.forward(each, np.arange(prompt, dtype=np.int32), np.full(prompt, number, np.int32), last)
            for number, each in enumerate(tokens)
        ]
        return [int(each[0].argmax()) for each in logits]

    def decode(current: list[int], which: Sequence[int], count: int) -> list[list[int]]:
        """The tokens that follow in those sequences, [count][which]; all at once."""
        taken = []
        for position in range(prompt, prompt + count):
            logits = engine.forward(current, [position] * len(which), which, [True] * len(which))
            current = logits.argmax(axis=1).tolist()
            taken.append(current)
        return taken

    # The weights' pages and the cache's are there from now on.
    every, count = range(sequences), min(CHECK_TOKENS, generate)
    together = decode(prefill(), every, count)
    first = prefill()
    alone = [decode([first[number]], [number], count) for number in every]
    if together != [[alone[number][step][0] for number in every] for step in range(count)]:
        raise SystemExit("sequences that decode together and alone differ")

    started = time.perf_counter()
    first = prefill()
    prefilled = time.perf_counter()
    decode(first, every, generate)
    rates = {
        "prefill": sequences * prompt / (prefilled - started),
        "decode": sequences * generate / (time.perf_counter() - prefilled),
    }
    return rates | {"peak_memory_bytes": _core.peak_resident_bytes()}


def openvino(folder: str, prompt: int, generate: int, threads: int, sequences: int) -> dict[str, float]:
    """One sequence; settings are the library's own, but for the number of threads. A short answer warms up."""
    import openvino as ov  # noqa: PLC0415  (the peer)
    import openvino_genai as genai  # noqa: PLC0415

    def tokens(count: int) -> object:
        ids = np.random.default_rng(0).integers(0, VOCABULARY, (1, count), np.int64)
        return genai.TokenizedInputs(ov.Tensor(ids), ov.Tensor(np.ones_like(ids)))

    if sequences != 1:
        raise SystemExit("OpenVINO GenAI is measured with one sequence only")
    pipeline = genai.LLMPipeline(folder, "CPU", INFERENCE_NUM_THREADS=threads)
    config = genai.GenerationConfig(max_new_tokens=2, ignore_eos=True, do_sample=False, apply_chat_template=False)
    pipeline.generate(tokens(WARM_TOKENS), config)
    config.max_new_tokens = generate + 1  # the first token comes from the prefill
    metrics = pipeline.generate(tokens(prompt), config).perf_metrics
    if metrics.get_num_generated_tokens() != generate + 1:
        raise SystemExit(f"expected {generate + 1} tokens, found {metrics.get_num_generated_tokens()}")
    first, each = metrics.get_ttft().mean / 1e3, metrics.get_tpot().mean / 1e3  # seconds
    return {"prefill": prompt / first, "decode": 1 / each}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["batch", "openvino"])
    parser.add_argument("model")
    for name in ("prompt", "generate", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--sequences", type=int, default=1)
    given = parser.parse_args()
    take = batch if given.what == "batch" else openvino
    print(json.dumps(take(given.model, given.prompt, given.generate, given.threads, given.sequences)))
