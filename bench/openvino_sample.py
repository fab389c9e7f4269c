"""Prefill and decode of OpenVINO GenAI, printed as JSON.

Runs under QWEN3EDGE_OPENVINO_PYTHON, so it imports nothing of ours.

python bench/openvino_sample.py FOLDER --prompt 512 --generate 64 --threads 2

Random tokens, greedy, no stop; settings are the library's own, but for the number of threads. A short answer warms up.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
import openvino as ov
import openvino_genai as genai

VOCABULARY = 151_000  # ordinary tokens of Qwen3
WARM_TOKENS = 16


def tokens(count: int) -> genai.TokenizedInputs:
    ids = np.random.default_rng(0).integers(0, VOCABULARY, (1, count), np.int64)
    return genai.TokenizedInputs(ov.Tensor(ids), ov.Tensor(np.ones_like(ids)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    for name in ("prompt", "generate", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    arguments = parser.parse_args()
    pipeline = genai.LLMPipeline(arguments.folder, "CPU", INFERENCE_NUM_THREADS=arguments.threads)
    config = genai.GenerationConfig(max_new_tokens=2, ignore_eos=True, do_sample=False, apply_chat_template=False)
    pipeline.generate(tokens(WARM_TOKENS), config)
    config.max_new_tokens = arguments.generate + 1  # the first token comes from the prefill
    metrics = pipeline.generate(tokens(arguments.prompt), config).perf_metrics
    if metrics.get_num_generated_tokens() != arguments.generate + 1:
        raise SystemExit(f"expected {arguments.generate + 1} tokens, found {metrics.get_num_generated_tokens()}")
    first, each = metrics.get_ttft().mean / 1e3, metrics.get_tpot().mean / 1e3  # seconds
    rates = {"prefill": arguments.prompt / first, "decode": 1 / each}
    print(json.dumps(rates))


if __name__ == "__main__":
    main()
