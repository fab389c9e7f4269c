"""Several sequences at once with our engine: each gets a prompt, then all decode together. Prints JSON.

python bench/own_batch.py MODEL --prompt 64 --generate 32 --sequences 8 --threads 2
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np
from harness import core

CHECK_TOKENS = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    for name in ("prompt", "generate", "sequences", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    arguments = parser.parse_args()
    native, prompt, sequences = core(), arguments.prompt, arguments.sequences
    file = native.ModelFile(arguments.model)
    engine = native.Engine(
        file, context=prompt + arguments.generate, sequences=sequences, threads=arguments.threads, kv="int8"
    )
    tokens = np.random.default_rng(0).integers(0, file.get("qwen3edge.vocab_size"), (sequences, prompt), np.int32)
    last = np.zeros(prompt, np.bool_)
    last[-1] = True

    def prefill() -> list[int]:
        """The next token of each sequence."""
        next_tokens = []
        for slot in range(sequences):
            slots, positions = np.full(prompt, slot, np.int32), np.arange(prompt, dtype=np.int32)
            next_tokens.append(int(engine.forward(tokens[slot], positions, slots, last)[0].argmax()))
        return next_tokens

    def decode(current: list[int], slots: list[int], count: int) -> list[list[int]]:
        """The tokens that follow in those slots, [count][slots]; greedy, all slots at once."""
        taken = []
        for position in range(prompt, prompt + count):
            logits = engine.forward(current, [position] * len(slots), slots, [True] * len(slots))
            current = logits.argmax(axis=1).tolist()
            taken.append(current)
        return taken

    # Together they say what each says alone. The weights' pages and the cache's are there from now on.
    every, count = list(range(sequences)), min(CHECK_TOKENS, arguments.generate)
    together = decode(prefill(), every, count)
    first = prefill()
    alone = [decode([first[slot]], [slot], count) for slot in every]
    if together != [[alone[slot][step][0] for slot in every] for step in range(count)]:
        print("own_batch.py: sequences that decode together and alone differ", file=sys.stderr)
        return 1

    started = time.perf_counter()
    first = prefill()
    prefill_seconds = time.perf_counter() - started
    started = time.perf_counter()
    decode(first, every, arguments.generate)
    decode_seconds = time.perf_counter() - started
    rates = {
        "prefill": sequences * prompt / prefill_seconds,
        "decode": sequences * arguments.generate / decode_seconds,
        "peak_memory_bytes": native.peak_resident_bytes(),
    }
    print(json.dumps(rates))
    return 0


if __name__ == "__main__":
    sys.exit(main())
