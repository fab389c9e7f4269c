"""One set of tokens through the public API: beside others that come and go, sent back to the queue, from a cache that
is cold, warm or given up in the middle, with drafts and without, saved and loaded by another process. Each is what the
request gives alone, by a fresh engine without a scheduler.
"""

import itertools
import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

import qwen3edge
from bench.sessions.files import budget_for
from bench.sessions.readers import PLAIN
from qwen3edge import _core
from qwen3edge.convert import convert
from tests import real_file

CONTEXT, CHUNK = 512, 64
CACHES = ("int8", "int4")  # whose keys are rounded one by one, and by page
DRAFT_TOKENS = 5
DRAFTS = ("none", "looked up", "of a model")
TEXTS = 3  # that prompts begin with
SAMPLED = (
    {"temperature": 1.5, "top_k": 50, "repetition_penalty": 1.1},
    {"temperature": 0.7, "top_p": 0.9, "min_p": 0.05},
)
ALL_TIERS = _core.isa_tiers()

# In another process: what each saved session goes on to say, and how much of it was not computed again.
GO_ON = """
import json, sys
import qwen3edge
path, settings, asked = json.load(sys.stdin)
found = []
with qwen3edge.load(path, **settings) as model:
    for saved, prompt, options in asked:
        answer = model.load_session(saved).generate(prompt, **options)
        answer.read()
        found.append([answer.tokens, answer.usage.cached_tokens])
    print(json.dumps([model.engine.core.isa, found, model.engine.scheduler.counts["drafted"]]))
"""


@dataclass(frozen=True)
class Request:
    prompt: list[int]
    count: int  # tokens of the answer
    sampling: dict

    @property
    def asked(self) -> Any:
        """What `generate` is asked, along with `options`."""
        return self.prompt

    def options(self, *, says_its_length: bool = True) -> dict:
        """For `generate`."""
        return {"max_tokens": self.count if says_its_length else None, "ignore_eos": True, **self.sampling}

    def longer(self, tokens: Sequence[int], said: dict[str, Any], number: int) -> "Request":
        """The next request of a conversation that has these tokens, and in which this was said."""
        return Request([*tokens, number], self.count, self.sampling)


@dataclass(frozen=True)
class Case:
    """A model on a tier and with a type of cache, with so many requests."""

    grammars: ClassVar[bool] = False  # whether memory is planned for them
    path: Path
    draft: Path  # a model that drafts for it
    tier: str
    kv: str
    draw: random.Random
    requests: list[Request]

    @classmethod
    def make(
        cls, path: Path, draft: Path, tier: str, kv: str, seed: int, count: int, longest: int, most: int
    ) -> "Case":
        """Prompts of up to `longest` tokens, many of which begin alike; answers of up to `most`."""
        draw = random.Random(seed)
        vocabulary = tokenizer_size(path)

        def some(length: int) -> list[int]:
            return [draw.randrange(vocabulary) for _ in range(length)]

        texts = [some(longest) for _ in range(TEXTS)]
        requests = []
        for number in range(count):
            prompt = draw.choice(texts)[: draw.randrange(longest - 4)] + some(draw.randrange(1, 5))
            sampling = {**PLAIN, "temperature": 0.0} if number % 2 else {**PLAIN, **draw.choice(SAMPLED)}
            requests.append(Request(prompt, draw.randrange(1, most + 1), {**sampling, "seed": draw.getrandbits(32)}))
        return cls(path, draft, tier, kv, draw, requests)

    def alone(self, request: Request) -> list[int]:
        """By an engine of its own."""
        file = _core.ModelFile(str(self.path))
        engine = _core.Engine(file, context=CONTEXT, threads=1, isa=self.tier, kv=self.kv)
        sampler = _core.Sampler(
            vocabulary=file.get("qwen3edge.vocab_size"),
            usable=tokenizer_size(self.path),
            never=stop_tokens(file),
            **request.sampling,
        )
        for token in request.prompt:
            sampler.accept(token, False)
        new, tokens = request.prompt, []
        while len(tokens) < request.count:
            held, count = engine.length(0), len(new)
            row = engine.forward(new, range(held, held + count), [0] * count, [False] * (count - 1) + [True])[0]
            new = [sampler.sample(row)]
            sampler.accept(new[0], True)
            tokens += new
        return tokens

    def load(self, sequences: int, pages: int | None = None, *, drafts: str) -> qwen3edge.Model:
        """With so many pages for all sequences together, about. drafts: one of DRAFTS."""
        settings = {"context": CONTEXT, "sequences": sequences, "threads": 2, "chunk": CHUNK, "kv": self.kv}
        settings |= {"draft_tokens": 0 if drafts == "none" else DRAFT_TOKENS, "grammars": self.grammars}
        settings["draft"] = self.draft if drafts == "of a model" else None
        if pages is not None:
            settings["memory"] = budget_for(self.path, pages, **settings)
        model = qwen3edge.load(self.path, **settings)
        assert model.engine.core.isa == self.tier
        return model

    def side_by_side(self, model: qwen3edge.Model, batch: list[Request], *, forgets: bool) -> list[list[int]]:
        """The batch, read piece by piece in a random order, beside others that begin and go away; forgets: what was
        cached, now and then, and none says how long it will be.
        """
        draw, others = self.draw, []
        says = [not forgets and draw.random() < 0.5 for _ in batch]
        answers = [
            model.generate(each.asked, **each.options(says_its_length=its))
            for each, its in zip(batch, says, strict=True)
        ]
        going = list(range(len(batch)))
        while going:
            match draw.randrange(12):
                case 0:
                    other = draw.choice(self.requests)
                    others.append(model.generate(other.asked, **other.options()))
                case 1 if others:
                    others.pop(draw.randrange(len(others))).close()
                case 2 if others:
                    del others[draw.randrange(len(others))]  # its reader is gone
                case 3 if others:
                    next(draw.choice(others), None)
                case 4 if forgets:
                    model.engine.core.clear_prefixes()
                case _:
                    number = draw.choice(going)
                    next(answers[number], None)
                    if len(answers[number].tokens) >= batch[number].count or answers[number].finish_reason:
                        answers[number].close()
                        going.remove(number)
        for other in others:
            other.close()
        return [answer.tokens[: each.count] for answer, each in zip(answers, batch, strict=True)]


def tokenizer_size(path: Path) -> int:
    return len(_core.ModelFile(str(path)).get("tokenizer.ggml.tokens"))


def stop_tokens(file: _core.ModelFile) -> list[int]:
    return list(file.get("qwen3edge.stop_token_ids"))


def check(case: Case, folder: Path) -> int:
    """All ways beside alone; how many answers were sent back to the queue."""
    expected = [case.alone(request) for request in case.requests]
    preemptions, accepted, start, drafts = 0, 0, 0, itertools.cycle(DRAFTS)
    while start < len(case.requests):
        sequences = case.draw.randrange(2, 17)
        batch = case.requests[start : start + sequences]
        wanted = expected[start : start + sequences]
        start += sequences
        with case.load(sequences, drafts=next(drafts)) as model:
            for how in ("cold", "warm"):
                assert case.side_by_side(model, batch, forgets=False) == wanted, how
        with case.load(sequences, pages=CONTEXT // 64 + 2, drafts=case.draw.choice(DRAFTS[1:])) as model:
            assert case.side_by_side(model, batch, forgets=True) == wanted, "few pages, and forgotten in the middle"
            counts = model.engine.scheduler.counts
            preemptions += counts["preemptions"]
            accepted += counts["accepted_drafts"]
    assert accepted > 0, "some draft tokens are right"
    saved_elsewhere(case, case.requests[:: max(1, len(case.requests) // 20)], folder)
    return preemptions


def saved_elsewhere(case: Case, requests: list[Request], folder: Path) -> None:
    """A conversation of each that another process goes on with: nothing is computed again that was saved."""
    asked, expected, held = [], [], []
    with case.load(1, drafts="of a model") as model:
        for number, request in enumerate(requests):
            session = model.session()
            answer = session.generate(request.asked, **request.options())
            answer.read()
            session.save(folder / str(number))
            longer = request.longer(session.tokens, answer.message, number)
            expected.append(case.alone(longer))
            asked.append((str(folder / str(number)), longer.asked, longer.options()))
            pairs = zip(session.tokens[:-1], longer.prompt[:-1], strict=False)  # the last token said is not computed
            computed = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
            held.append(computed // 64 * 64 if case.kv == "int4" else computed)
    settings = {"context": CONTEXT, "threads": 2, "chunk": CHUNK, "kv": case.kv}
    settings |= {"draft": str(case.draft), "draft_tokens": DRAFT_TOKENS}
    given = json.dumps([str(case.path), settings, asked])
    environment = os.environ | {"QWEN3EDGE_ISA": case.tier}
    command = [sys.executable, "-c", GO_ON]
    result = subprocess.run(command, input=given, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    tier, found, drafted = json.loads(result.stdout)
    assert tier == case.tier and drafted > 0
    assert [tokens for tokens, _ in found] == expected
    assert [cached for _, cached in found] == held


def sent_back(case: Case) -> None:
    """Two answers on pages for one context that both outgrow what was promised them, an eighth of the context: the
    younger goes back to the queue, and comes to the same tokens.
    """
    promised = CONTEXT // 8
    length, vocabulary = CONTEXT // 2 - promised - 2, tokenizer_size(case.path)
    requests = [
        Request(
            [case.draw.randrange(vocabulary) for _ in range(length)], promised + 12, {**PLAIN, **sampling, "seed": 1}
        )
        for sampling in ({"temperature": 0.0}, SAMPLED[0])
    ]
    with case.load(2, pages=CONTEXT // 64, drafts="looked up") as model:
        answers = [model.generate(each.asked, **each.options(says_its_length=False)) for each in requests]
        while any(len(answer.tokens) < each.count for answer, each in zip(answers, requests, strict=True)):
            for answer, each in zip(answers, requests, strict=True):
                if len(answer.tokens) < each.count:
                    next(answer, None)
                else:
                    answer.close()
        assert model.engine.scheduler.counts["preemptions"] > 0
    for answer, each in zip(answers, requests, strict=True):
        assert answer.tokens[: each.count] == case.alone(each)


@pytest.fixture(scope="module")
def tiny_files(tiny_int4, tiny_q3e, tiny_moe_path, tmp_path_factory) -> dict[str, tuple[Path, Path]]:
    """Each with one that drafts for it."""
    moe = tmp_path_factory.mktemp("moe") / "int4.q3e"
    convert(tiny_moe_path, moe, "int4")
    return {"dense": (tiny_int4, tiny_q3e("int8")), "moe": (moe, tiny_int4)}


@pytest.mark.parametrize("kv", CACHES)
@pytest.mark.parametrize("model", ["dense", "moe"])
def test_twenty_requests(tiny_files, model, kv, seed, tmp_path):
    tier = _core.selected_isa()
    check(Case.make(*tiny_files[model], tier, kv, seed, count=20, longest=150, most=40), tmp_path)


@pytest.mark.parametrize("kv", CACHES)
@pytest.mark.parametrize("model", ["dense", "moe"])
def test_a_request_on_every_tier(tiny_files, model, kv, seed):
    """Greedy and drawn, beyond a page of the cache: elsewhere each tier is compared with itself."""
    cases = [Case.make(*tiny_files[model], tier, kv, seed, count=2, longest=10, most=8) for tier in ALL_TIERS]
    tokens = [cases[0].draw.randrange(tokenizer_size(cases[0].path)) for _ in range(70)]
    for sampling in ({"temperature": 0.0}, SAMPLED[0]):
        request = Request(tokens, 8, {**PLAIN, **sampling, "seed": seed})
        found = {case.tier: case.alone(request) for case in cases}
        assert len(set(map(tuple, found.values()))) == 1, found


@pytest.mark.slow
@pytest.mark.parametrize("tier", ALL_TIERS)
@pytest.mark.parametrize("model", ["dense", "moe"])
@pytest.mark.parametrize("kv", CACHES)
def test_two_hundred_requests(tiny_files, model, tier, kv, seed, tmp_path, monkeypatch):
    monkeypatch.setenv("QWEN3EDGE_ISA", tier)
    sizes = {"longest": 100, "most": 12} if tier == "scalar" else {"longest": 300, "most": 100}  # fifty times as slow
    case = Case.make(*tiny_files[model], tier, kv, seed, count=200, **sizes)
    check(case, tmp_path)
    sent_back(case)


@pytest.fixture(scope="module")
def real_int4(tmp_path_factory) -> Path:
    """The public real model, which is fetched unless QWEN3EDGE_REAL_MODEL names it."""
    named = os.environ.get("QWEN3EDGE_REAL_MODEL")
    try:
        source = Path(named) if named else real_file.fetch()
    except real_file.FetchError as error:
        pytest.skip(str(error))
    real_file.check(source)
    path = tmp_path_factory.mktemp("real") / "int4.q3e"
    convert(source, path, "int4")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("tier", sorted({ALL_TIERS[-1], *(tier for tier in ALL_TIERS if tier == "avx2")}))
@pytest.mark.parametrize("kv", CACHES)
def test_twenty_requests_of_the_real_model(real_int4, tier, kv, seed, tmp_path, monkeypatch):
    monkeypatch.setenv("QWEN3EDGE_ISA", tier)
    case = Case.make(real_int4, real_int4, tier, kv, seed, count=20, longest=150, most=30)
    check(case, tmp_path)
    sent_back(case)
