"""Tokens a second with drafts by prompt look-up, beside plain decoding, on a trained model.

    python -m bench.sessions.drafts [--model FILE.q3e] [--draft-tokens 8] [--generate 256] [--rounds 3]

Four requests: edit this file, summarize with quotes, extract JSON, write freely. Each is answered greedily by one model
with drafts and by another without, in turns, prompts being in the prefix cache, so that decoding is what is timed; both
must give the same tokens. `accepted`: of the tokens that were drafted. `a step`: tokens that a step gives. Default: the
public real model, int4 (`make real` fetches it), with the template of its own file.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable
from pathlib import Path

import qwen3edge
from bench import peers
from bench.harness import Report, describe_machine, existing, interleave, main, positive
from bench.quiet import BenchError
from bench.sessions import files
from bench.tables import number
from qwen3edge.generation.model import Model

CONTEXT = 2048
BAR, FLOOR = 2.0, 0.97  # of an edited file; of anything


def prompts() -> dict[str, str]:
    """What is asked, by name. The texts are this repository's."""
    source = (peers.ROOT / "bench" / "sessions" / "files.py").read_text(encoding="utf-8")
    text = (peers.ROOT / "tests" / "data" / "real-text.txt").read_text(encoding="utf-8")[:2400]
    people = "\n".join(
        f"{name} ({age}) lives in {city} and works as a {job}."
        for name, age, city, job in (
            *(("Ada Novak", 41, "Brno", "welder"), ("Jon Berg", 29, "Oslo", "nurse"), ("Li Wei", 35, "Xi'an", "cook")),
            *(("Eva Roth", 52, "Graz", "judge"), ("Tom Hale", 23, "Leeds", "baker"), ("Ines Sol", 38, "Vigo", "pilot")),
        )
    )
    return {
        "edit": f"Rename the function kept to converted in this file. Give all of it.\n\n```python\n{source}```",
        "quotes": f"Summarize this text in five sentences, and quote a sentence of it word by word for each.\n\n{text}",
        "JSON": f"Give these people as a JSON list with the keys name, age, city and job.\n\n{people}",
        "free": "Write a story about a lighthouse keeper who finds a door at the bottom of the sea.",
    }


def rate(model: Model, prompt: str, count: int, said: list[tuple[int, ...]]) -> float:
    """Tokens a second of an answer from its first token on; adds its tokens to `said`."""
    answer = model.generate(prompt, max_tokens=count, temperature=0, thinking=False)
    answer.read()
    said.append(tuple(answer.tokens))
    return answer.usage.decode_tokens_per_second


def bench(arguments: argparse.Namespace) -> Report:
    """All requests."""
    report = Report(f"Drafts of up to {arguments.draft_tokens} tokens by prompt look-up", describe_machine())
    settings = {"context": CONTEXT, "threads": arguments.threads}
    path = arguments.model or real_model()
    with (
        qwen3edge.load(path, **settings) as plain,
        qwen3edge.load(path, draft_tokens=arguments.draft_tokens, **settings) as drafting,
    ):
        for name, prompt in prompts().items():
            said: list[tuple[int, ...]] = []
            models = {"plain": plain, "drafts": drafting}
            candidates: dict[str, Callable[[], float]] = {
                kind: functools.partial(rate, model, prompt, arguments.generate, said) for kind, model in models.items()
            }
            for sample in candidates.values():
                sample()
            before = drafting.engine.scheduler.counts
            found = interleave(candidates, arguments.rounds, "tok/s")
            counts = drafting.engine.scheduler.counts
            steps, drafted, accepted = (counts[key] - before[key] for key in ("steps", "drafted", "accepted_drafts"))
            report.accept(name, len(set(said)) == 1, "the answers with drafts and without differ")
            ratio = found["drafts"].ratio_to(found["plain"])
            report.add(
                name,
                request=name,
                tokens=len(said[0]),
                plain=found["plain"].text(),
                drafts=found["drafts"].text(),
                ratio=ratio.text(),
                drafted=drafted // arguments.rounds,
                accepted=f"{100 * accepted / max(1, drafted):.0f} %",
                a_step=number(len(said[0]) * arguments.rounds / max(1, steps)),
            )
            least = BAR if name == "edit" else FLOOR
            report.notes.append(f"{name}: {least} x: {'met' if ratio.median >= least else 'missed'}")
    return report


def real_model() -> Path:
    """The public real one in int4. Raises BenchError where it is not."""
    if not files.real().is_file():
        raise BenchError(f"{files.real()}: expected the public real model (make real), or --model FILE")
    return files.kept(files.real())


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", type=existing, help="a .q3e file of a trained model")
    options.add_argument("--draft-tokens", type=positive, default=8)
    options.add_argument("--generate", type=positive, default=256, help="tokens of an answer, at most")
    options.add_argument("--threads", type=positive, default=2)
    options.add_argument("--rounds", type=positive, default=3)
    return options


if __name__ == "__main__":
    sys.exit(main(bench, parser()))
