"""How much of each request is found in the prefix cache, beside the most that can be found there.

    python -m bench.sessions.reuse [--model FILE.q3e] [--scene chat]

The model's own answers are what conversations are made of (default: the tiny model and, where it is here, the public
real one). `least` is what has to be computed of the prompts given their tokens alone: all after the longest beginning
that any request before has in common with it, or one that still runs; the last token always. `more` is what was
computed above that. `of_prompt` and `of_all` are the smallest share of a conversation's last prompt, without and with
its answer, that its next request found. Answers are compared with those of a model that reuses nothing. No time is
measured.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from bench.harness import Report, existing, main, positive
from bench.sessions import files
from bench.sessions.ledger import Asked, Ledger
from bench.sessions.scenes import SCENES, Scene
from bench.tables import Cell

LEAST_OF_LOOP = 0.99
PAGE = 64


def cells(scene: Scene, asked: Sequence[Asked]) -> dict[str, Cell]:
    """A row."""
    following = [each for each in asked if each.last is not None]
    least, computed = (sum(getattr(each, name) for each in asked) for name in ("least", "computed"))
    shares = {name: min((each.of_last(answer=whole) for each in following), default=None)
              for name, whole in (("of_prompt", False), ("of_all", True))}  # fmt: skip
    return {
        "scene": scene.name,
        "requests": len(asked),
        "tokens": sum(len(each.prompt) for each in asked),
        "least": least,
        "computed": computed,
        "more": computed - least,
        **{name: None if share is None else f"{100 * share:.1f} %" for name, share in shares.items()},
    }


def bars(scene: Scene, asked: Sequence[Asked]) -> str | None:
    """What is asked of the scene, and whether it holds."""
    following = [each for each in asked if each.last is not None]
    if scene.loop:
        met = all(each.of_last(answer=True) >= LEAST_OF_LOOP for each in following)
        return f"{scene.name}: {LEAST_OF_LOOP:.0%} of the last request found again: {'met' if met else 'missed'}"
    if scene.sent_back is not None and not scene.thinking:
        met = all(each.computed == each.least for each in asked)
        return f"{scene.name}: only what stands behind its empty thoughts computed: {'met' if met else 'missed'}"
    if scene.thinking and scene.sent_back is None:
        met = all(each.computed == each.least for each in asked) and all(
            each.reused >= len(each.last.prompt) for each in following if each.last is not None
        )
        return f"{scene.name}: only the stripped answer and what is new computed: {'met' if met else 'missed'}"
    return None


def bench(arguments: argparse.Namespace) -> Report:
    """All scenes on all models."""
    models = arguments.model or files.trained()
    report = Report("Tokens of prompts that are computed, beside the least possible")
    chosen = [scene for scene in SCENES if not arguments.scene or scene.name in arguments.scene]
    for path in models:
        settings = {"context": arguments.context, "threads": arguments.threads}
        with files.load(path, **settings, sequences=8) as model, files.load(path, **settings) as plain:
            able = model.prompt_builder.tokenizer.token_id("<think>") is not None
            for scene in chosen:
                if scene.thinking and not able:
                    report.notes.append(f"{path.name}: {scene.name}: the model does not think")
                    continue
                ledger = Ledger(model)
                scene.play(ledger)
                case = f"{path.name}, {scene.name}"
                wrong = ledger.wrong(plain)
                report.accept(case, not wrong, f"{len(wrong)} answers differ from those of a model that reuses nothing")
                report.add(case, model=path.stem, **cells(scene, ledger.asked))
                lost = [each for each in ledger.asked if each.computed > each.least]
                pages = sum(each.reused % PAGE == 0 for each in lost)
                report.notes += [f"{path.stem}: {bar}" for bar in [bars(scene, ledger.asked)] if bar]
                if lost:
                    found = f"{len(lost)} requests computed more than the least; {pages} of them found whole pages only"
                    report.notes.append(f"{case}: {found}")
                print(case, file=sys.stderr)
    return report


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", type=existing, action="append", help="a .q3e file; may be repeated")
    options.add_argument("--scene", action="append", choices=[scene.name for scene in SCENES], help="default: all")
    options.add_argument("--context", type=positive, help="tokens (default: as `load`)")
    options.add_argument("--threads", type=positive, default=2)
    options.set_defaults(busy_anyway=True)  # nothing is timed
    return options


if __name__ == "__main__":
    sys.exit(main(bench, parser()))
