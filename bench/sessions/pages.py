"""Pages of the KV cache that sessions with one beginning hold together: whole pages of it are there once.

    python -m bench.sessions.pages [--model FILE.q3e] [--shared 2000] [--sessions 1 8 32]

`held` are pages that cannot be given up while all the sessions are in the middle of their answers, `least` those that
have to be there: the beginning's whole pages once, and for each session those after them. `apart` are as many pages
as sessions that share nothing would hold. Tokens are compared with those of a session alone. No time is measured.
Default: the tiny model.
"""

from __future__ import annotations

import argparse
import sys

from bench.harness import Report, existing, main, positive
from bench.sessions import files
from bench.sessions.readers import PLAIN, tokens_alone

PAGE = 64
OWN, ANSWER = 8, 4  # tokens of each prompt after the beginning; of each answer


def bench(arguments: argparse.Namespace) -> Report:
    """A row for each number of sessions."""
    report = Report(f"Pages of {PAGE} tokens of sessions whose prompts share {arguments.shared} tokens")
    for count in arguments.sessions:
        with files.load(
            arguments.model or files.kept(files.TINY),
            sequences=count,
            context=arguments.shared + OWN + 8 * ANSWER,  # some go on while others begin
            threads=arguments.threads,
        ) as model:
            core = model.engine.core
            vocabulary = model.tokenizer.vocabulary_size
            shared = [n * 7 % vocabulary for n in range(arguments.shared)]
            prompts = [[*shared, *((number * OWN + i) % vocabulary for i in range(OWN))] for number in range(count)]
            greedy = {**PLAIN, "temperature": 0}
            whole = core.available_pages()  # type: ignore[attr-defined]
            answers = [model.generate(prompt, ignore_eos=True, **greedy) for prompt in prompts]
            while min(len(answer.tokens) for answer in answers) < ANSWER:
                for answer in answers:
                    if len(answer.tokens) < ANSWER:
                        next(answer)
            held = whole - core.available_pages()  # type: ignore[attr-defined]
            pages = [
                -(-(len(prompt) + len(answer.tokens)) // PAGE) for prompt, answer in zip(prompts, answers, strict=True)
            ]
            for answer in answers:
                answer.close()
            expected = [tokens_alone(model, prompt, ANSWER, greedy) for prompt in prompts]
            same = [answer.tokens[:ANSWER] for answer in answers] == expected
        report.accept(f"{count}", same, "sessions side by side give other tokens than alone")
        once = arguments.shared // PAGE
        least = once + sum(pages) - count * once
        report.add(f"{count}", sessions=count, held=held, least=least, apart=sum(pages), of_all=whole)
    return report


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", type=existing, help="a .q3e file")
    options.add_argument("--shared", type=positive, default=2000, help="tokens")
    options.add_argument("--sessions", type=positive, nargs="+", default=[1, 8, 32])
    options.add_argument("--threads", type=positive, default=2)
    options.set_defaults(busy_anyway=True)  # nothing is timed
    return options


if __name__ == "__main__":
    sys.exit(main(bench, parser()))
