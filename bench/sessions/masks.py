"""What a grammar's mask costs, beside a step that decodes a token.

    python -m bench.sessions.masks [--model FILE.q3e] [--suite] [--rounds 5]

For each schema a text that it allows is followed token by token, as in an answer: before each token the follower reads
the one before and fills the mask. `mean` and `worst` are of all masks of a round, the first ones, for which a new
answer's grammar builds its states, included; `of_step`: the mean, relative to a token of an answer without a grammar,
timed in turns with them. The mean over all masks may be 2 % of that. `compile`: once an answer. --suite: also all
schemas of the JSON Schema Test Suite that can be held to, each with its valid instances. Default: the shape of
Qwen3-0.6B and Qwen3's own vocabulary.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import qwen3edge
from bench import peers
from bench.harness import Measured, Report, describe_machine, existing, main, positive
from bench.quiet import BenchError
from bench.sessions import files
from bench.tables import number
from qwen3edge.errors import RequestError
from qwen3edge.generation.grammars import Grammars
from qwen3edge.generation.model import Model
from qwen3edge.grammar.calls import forced_calls, strict_calls
from qwen3edge.grammar.definition import OPTIONS, Definition, defined
from qwen3edge.text.prompt import Prompt
from qwen3edge.text.tokenizer import Tokenizer

MOST_OF_STEP = 0.02
PROMPT = 32  # tokens
LEAST_VOCABULARY = 150_000
"""A smaller one is of the bytes that random weights come with where npm is absent: Qwen3's stands in for it."""

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "member": {"type": "boolean"},
    },
    "required": ["name", "age", "member"],
    "additionalProperties": False,
}
COUNTRIES = [f"{first}{rest}" for first in "BDGKLMNPRT" for rest in ("alia", "eria", "onia", "uria", "yland")]
CHOICES = {
    "type": "object",
    "properties": {name: {"enum": COUNTRIES} for name in ("home", "work", "birth")},
    "required": ["home", "work", "birth"],
    "additionalProperties": False,
}
BOUNDED = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "minLength": 5, "maxLength": 80},
        "code": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4,8}$"},
        "when": {"type": "string", "format": "date-time"},
    },
    "required": ["title", "code", "when"],
    "additionalProperties": False,
}
NESTED = {"type": "array", "items": {"type": "array", "items": PERSON, "maxItems": 8}, "maxItems": 20}
ADA = {"name": "Ada Lovelace, of London", "age": 36, "member": True}
TITLE = "A short report on the weather at sea, with all that was measured"
WEATHER = {"city": "Prague", "days": 3, "unit": "celsius"}
WEATHER_SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer", "minimum": 1, "maximum": 14},
        "unit": {"enum": ["celsius", "fahrenheit"]},
    },
    "required": ["city", "days", "unit"],
    "additionalProperties": False,
}
SCHEMAS: dict[str, tuple[Any, Any]] = {
    "small object": (PERSON, ADA),
    "enums": (CHOICES, {"home": COUNTRIES[0], "work": COUNTRIES[23], "birth": COUNTRIES[-1]}),
    "bounded strings": (BOUNDED, {"title": TITLE, "code": "QW-202605", "when": "2026-05-17T12:30:00Z"}),
    "nested arrays": (NESTED, [[ADA] * 4] * 3),
    "any JSON": ({}, {"people": [ADA] * 3, "note": TITLE, "scale": [1.5, -2e3, None]}),
}
"""By name the schema and what it allows."""


@dataclass
class Walk:
    """Texts that a definition allows, one after the other, each as an answer of its own. rounds: of the seconds of all
    masks.
    """

    name: str
    grammars: Grammars
    texts: list[tuple[Definition, list[int]]]
    rounds: list[list[float]] = field(default_factory=list)
    compiling: list[float] = field(default_factory=list)

    def take(self) -> None:
        """A round. Raises BenchError for a text that is not allowed."""
        seconds: list[float] = []
        for definition, tokens in self.texts:
            began = perf_counter()
            follower = self.grammars.follower(definition, Prompt((), False, False))
            self.compiling.append(perf_counter() - began)
            given: list[int] = []
            for token in tokens:
                began = perf_counter()
                mask = follower(given)
                seconds.append(perf_counter() - began)
                if mask is not None and not mask[token // 32] >> token % 32 & 1:
                    raise BenchError(f"{self.name}: expected a text that is allowed, found {token} that is not")
                given = [token]
        self.rounds.append(seconds)

    @property
    def means(self) -> Measured:
        return Measured(self.name, "s", tuple(statistics.fmean(each) for each in self.rounds))

    @property
    def worst(self) -> float:
        return max(max(each) for each in self.rounds)


def walks(tokenizer: Tokenizer, stop_tokens: tuple[int, ...], suite: bool) -> list[Walk]:
    """Of all schemas, and of a tool call."""
    grammars, end = Grammars(tokenizer, stop_tokens), min(stop_tokens)

    Walk("", grammars, [(schema_of({}), [])]).take()  # else the vocabulary counts with the first

    def text(value: object) -> list[int]:
        return [*tokenizer.encode(json.dumps(value)), end]

    found = [Walk(name, grammars, [(schema_of(schema), text(value))]) for name, (schema, value) in SCHEMAS.items()]
    functions = {"get_time": None, "get_weather": WEATHER_SCHEMA, "find_person": PERSON}
    said = json.dumps({"name": "get_weather", "arguments": WEATHER})
    call = tokenizer.encode(f"<tool_call>\n{said}\n</tool_call>", allow_special=True)
    forced = forced_calls(functions, None, tags_are_tokens=True)
    strict = strict_calls(functions, ["get_weather", "find_person"])
    found.append(Walk("tool call", grammars, [(forced, [*call, end])]))
    found.append(Walk("strict tool call", grammars, [(strict, call)]))
    return [*found, Walk("JSON Schema suite", grammars, of_suite(grammars, text))] if suite else found


def schema_of(schema: object) -> Definition:
    definition = defined({**dict.fromkeys(OPTIONS), "json_schema": schema})
    assert definition is not None
    return definition


def of_suite(grammars: Grammars, text: Any) -> list[tuple[Definition, list[int]]]:
    """All that llguidance can hold an answer to, with the valid instances that it allows in this form."""
    from tests.grammar.suite import read_suite  # noqa: PLC0415 - it is fetched for those who ask for it

    found = []
    with tempfile.TemporaryDirectory() as folder:
        for group in read_suite(Path(folder)).values():
            try:
                definition = schema_of(group["schema"])
                grammars.follower(definition, Prompt((), False, False))
            except RequestError:
                continue
            for test in group["tests"]:
                walk = Walk("", grammars, [(definition, text(test["data"]))])
                try:
                    walk.take()
                except BenchError:
                    continue
                found += walk.texts if test["valid"] else []
    return found


def vocabulary(model: Model, given: bool) -> tuple[Tokenizer, tuple[int, ...]]:
    """The tokenizer to fill masks for, and its stop tokens: the model's own, or Qwen3's where it has bytes."""
    if given or model.tokenizer.vocabulary_size >= LEAST_VOCABULARY:
        return model.tokenizer, tuple(model.config.stop_token_ids)
    from tests.real_tokenizer import QWEN3  # noqa: PLC0415 - it takes the tests' libraries

    peers.run([sys.executable, peers.ROOT / "tests" / "fetch_tokenizer.py"])
    if not QWEN3.ranks_path.is_file():
        raise BenchError(f"{QWEN3.ranks_path}: expected Qwen3's tokenizer (python tests/fetch_tokenizer.py)")
    with tempfile.TemporaryDirectory() as folder:
        return QWEN3.ours(Path(folder)), (QWEN3.added["<|im_end|>"],)


def seconds_of_step(model: Model, count: int) -> float:
    """Of a token of an answer without a grammar."""
    answer = model.generate(list(range(PROMPT)), max_tokens=count, ignore_eos=True, temperature=0)
    answer.read()
    return answer.usage.decode_seconds / (len(answer.tokens) - 1)


def bench(arguments: argparse.Namespace) -> Report:
    """A row for each schema."""
    report = Report("Masks of grammars beside a decode step", describe_machine())
    path = arguments.model or files.random_06b()
    with qwen3edge.load(path, context=512, threads=arguments.threads) as model:
        tokenizer, stop_tokens = vocabulary(model, arguments.model is not None)
        walked = walks(tokenizer, stop_tokens, arguments.suite)
        steps: list[float] = []
        seconds_of_step(model, arguments.generate)
        for _ in range(arguments.rounds):
            for walk in walked:
                steps.append(seconds_of_step(model, arguments.generate))
                walk.take()
    step = Measured("step", "s", tuple(steps))
    for walk in walked:
        report.accept(walk.name, True, "")  # `take` has looked at each token
        report.add(
            walk.name,
            schema=walk.name,
            masks=len(walk.rounds[0]),
            compile_ms=number(1e3 * statistics.median(walk.compiling)),
            mean_us=number(1e6 * walk.means.median),
            worst_us=number(1e6 * walk.worst),
            of_step=f"{100 * walk.means.median / step.median:.2f} %",
            worst_of_step=f"{100 * walk.worst / step.median:.1f} %",
        )
    masks = [seconds for walk in walked for each in walk.rounds for seconds in each]
    mean = statistics.fmean(masks) / step.median
    worst = max(walked, key=lambda walk: walk.worst)
    report.notes += [
        f"{tokenizer.vocabulary_size} tokens; a step: {number(1e3 * step.median)} ms "
        f"({number(1e3 * min(steps))} to {number(1e3 * max(steps))})",
        f"all masks: {100 * mean:.2f} % of a step on average, at most {100 * MOST_OF_STEP:.0f} %: "
        f"{'met' if mean <= MOST_OF_STEP else 'missed'}",
        f"worst: {number(1e6 * worst.worst)} us, {100 * worst.worst / step.median:.1f} % of a step ({worst.name})",
    ]
    return report


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", type=existing, help="a .q3e file, with a tokenizer that the masks are of")
    options.add_argument("--suite", action="store_true", help="with the JSON Schema Test Suite, which pip fetches")
    options.add_argument("--generate", type=positive, default=32, help="tokens of an answer without a grammar")
    options.add_argument("--threads", type=positive, default=2)
    options.add_argument("--rounds", type=positive, default=5)
    return options


if __name__ == "__main__":
    sys.exit(main(bench, parser()))
