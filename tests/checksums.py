"""Checksums of the logits of every small model in all formats and caches: what a change that moves no bit is held by.

    python -m tests.checksums build/before.json              # writes them down
    python -m tests.checksums build/before.json --compare    # status 1, and the cases, where one differs

A case is a model, a recipe or block format and a type of cache. Each is computed by every tier that this machine has,
the scalar one apart, with all weights resident and with the smallest budget; these must agree among themselves.
"""

import argparse
import hashlib
import itertools
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from qwen3edge import _core
from qwen3edge.convert import RECIPES
from qwen3edge.errors import MemoryBudgetError, RequestError
from tests.checkpoints import MOE_SHAPES, SHAPES, make_model, run, save, to_q3e
from tests.conftest import TINY, TINY_MOE, TINY_QWEN2
from tests.runtime.test_streaming import SETTINGS

CACHES = ("int8", "int4", "bf16", "f32")
PROMPT, DECODED = 70, 6  # more than a page of the cache


def models(folder: Path) -> Iterator[tuple[str, Path]]:
    """Names and Hugging Face folders: the trained tiny ones, then random ones of each family."""
    for path in (TINY, TINY_QWEN2, TINY_MOE):
        copy = folder / path.name
        copy.mkdir()
        for file in ("config.json", "generation_config.json", "model.safetensors"):
            (copy / file).write_bytes((path / file).read_bytes())
        yield path.name, copy
    for shape in SHAPES + MOE_SHAPES:
        yield shape.name, save(make_model(shape, 1), folder / shape.name)


def smallest_budget(file: _core.ModelFile, **settings) -> int:
    """With as much streamed as can be."""
    high = _core.plan(file, **settings)["peak"]
    low = 1
    while low < high:
        middle = (low + high) // 2
        try:
            high = min(middle, _core.plan(file, memory=middle, **settings)["peak"])
        except MemoryBudgetError:
            low = middle + 1
    return high


def logits(engine: _core.Engine, tokens: np.ndarray) -> str:
    """A digest of all logits of a prompt in chunks and of a few decoded tokens."""
    digest = hashlib.sha256()
    digest.update(run(engine, tokens[:PROMPT]).tobytes())
    for i in range(PROMPT, len(tokens)):
        digest.update(run(engine, tokens[i : i + 1], start=i).tobytes())
    return digest.hexdigest()[:32]


def cases(folder: Path) -> Iterator[tuple[str, str]]:
    for name, checkpoint in models(folder):
        for quant in RECIPES:
            path = to_q3e(checkpoint, quant)
            file = _core.ModelFile(str(path))
            tokens = np.random.default_rng(2).integers(0, 500, PROMPT + DECODED)
            for cache in CACHES:
                try:
                    smallest = smallest_budget(file, kv=cache, **SETTINGS)
                except RequestError:
                    yield f"{name} {quant} {cache}", "refused"
                    continue
                found = {
                    logits(_core.Engine(file, kv=cache, isa=isa, **SETTINGS, **budget), tokens)
                    for isa, budget in itertools.product(_core.isa_tiers()[1:], ({}, {"memory": smallest}))
                }
                yield f"{name} {quant} {cache}", " ".join(sorted(found))
            path.unlink()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--compare", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = dict(cases(Path(folder)))
    moved = [f"{name}: {sums}" for name, sums in found.items() if " " in sums]  # the tiers or the budgets disagree
    if args.compare:
        before = json.loads(args.file.read_text(encoding="utf-8"))
        names = sorted(before.keys() | found.keys())
        moved += [f"{n}: {before.get(n)} before, {found.get(n)} now" for n in names if before.get(n) != found.get(n)]
    else:
        args.file.write_text(json.dumps(found, indent=0), encoding="utf-8")
    print("\n".join(moved) or f"{len(found)} cases, {len(set(found.values()))} different answers: as they should be")
    return 1 if moved else 0


if __name__ == "__main__":
    sys.exit(main())
