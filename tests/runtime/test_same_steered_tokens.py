"""`test_same_tokens` with thinking budgets, schemas, regexes and tools mixed into the requests. Alone is an engine and
a loop of this file, without a scheduler.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from qwen3edge import _core
from qwen3edge.generation.grammars import Grammars
from qwen3edge.grammar.calls import forced_calls, strict_calls
from qwen3edge.grammar.definition import OPTIONS, Definition, defined
from qwen3edge.text.tools import checked_tool_choice, declared_functions, declared_types, strict_functions
from tests.reference.chats import Texts
from tests.runtime.test_same_tokens import (
    ALL_TIERS,
    CACHES,
    CONTEXT,
    PLAIN,
    SAMPLED,
    Case,
    Request,
    check,
    stop_tokens,
    tiny_files,
    tokenizer_size,
)  # fmt: skip

__all__ = ["tiny_files"]

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}, "days": {"type": "integer", "maximum": 99}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "of a city", "parameters": CITY}}]
STRICT = [{"type": "function", "function": {**TOOLS[0]["function"], "strict": True}}]
NUMBERS = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9999}, "minItems": 70, "maxItems": 90}
ONE = {"type": "function", "function": {"name": "get_weather"}}
STEERED: tuple[dict[str, Any], ...] = (
    {"thinking": True, "thinking_budget": 0},
    {"thinking": True, "thinking_budget": 6},
    {"thinking": True, "thinking_budget": 12, "thinking_budget_message": " Enough."},
    {"thinking": True},
    {"json_schema": NUMBERS, "thinking": False},
    {"json_schema": NUMBERS, "thinking": True, "thinking_budget": 5},
    {"regex": "[a-f ]{60,120}\\.", "thinking": False},
    {"tools": TOOLS, "thinking": True},
    {"tools": TOOLS, "thinking": False, "tool_choice": "required"},
    {"tools": TOOLS, "thinking": True, "thinking_budget": 4, "tool_choice": ONE},
    {"tools": TOOLS, "thinking": False, "json_schema": NUMBERS},
    {"tools": TOOLS, "thinking": False, "tool_choice": "none"},
    {"tools": STRICT, "thinking": True, "thinking_budget": 8},
)
QUESTIONS = ("What is the weather in Prague?", "What is 12 + 7?", "Count from 3 to 19.", "Repeat: Mia Tom Ida Max Tom.")


@dataclass(frozen=True)
class SteeredRequest(Request):
    """prompt: what the messages become."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    steering: dict[str, Any] = field(default_factory=dict)
    texts: Texts | None = None

    @classmethod
    def make(cls, texts: Texts, messages: list[dict[str, Any]], count: int, sampling: dict, steering: dict):
        prompt = texts.prompt_builder.prompt(messages, thinking=steering.get("thinking"), tools=steering.get("tools"))
        return cls(list(prompt.tokens), count, sampling, messages, steering, texts)

    @property
    def asked(self) -> Any:
        return self.messages

    def options(self, *, says_its_length: bool = True) -> dict:
        return {"max_tokens": self.count if says_its_length else None, **self.sampling, **self.steering}

    def longer(self, tokens: Sequence[int], said: dict[str, Any], number: int) -> Request:
        messages = [*self.messages, said, {"role": "user", "content": QUESTIONS[number % len(QUESTIONS)]}]
        return self.make(self.texts, messages, self.count, self.sampling, self.steering)


@cache
def texts_of(path: Path) -> Texts:
    return Texts(_core.ModelFile(str(path)))


class SteeredCase(Case):
    grammars = True

    @classmethod
    def make(
        cls, path: Path, draft: Path, tier: str, kv: str, seed: int, count: int, longest: int, most: int
    ) -> "SteeredCase":
        """Prompts with up to `longest` letters before the question, many of which begin alike."""
        draw = random.Random(seed)
        texts = texts_of(path)
        begins = ["".join(draw.choices("abc def\n", k=longest)) for _ in range(3)]
        requests: list[Request] = []
        for number in range(count):
            system = {"role": "system", "content": draw.choice(begins)[: draw.randrange(1, longest)]}
            messages = [system, {"role": "user", "content": draw.choice(QUESTIONS)}]
            sampling = {**PLAIN, "temperature": 0.0} if number % 2 else {**PLAIN, **draw.choice(SAMPLED)}
            sampling["seed"] = draw.getrandbits(32)
            steering = STEERED[number * 5 % len(STEERED)] if number < len(STEERED) else draw.choice(STEERED)
            requests.append(
                SteeredRequest.make(texts, messages, draw.randrange(most // 2, most + 1), sampling, steering)
            )
        return cls(path, draft, tier, kv, draw, requests)

    def alone(self, request: Request) -> list[int]:
        assert isinstance(request, SteeredRequest)
        file, builder, steering = _core.ModelFile(str(self.path)), texts_of(self.path).prompt_builder, request.steering
        tools, ends = steering.get("tools"), stop_tokens(file)
        choice = checked_tool_choice(steering.get("tool_choice", "auto"))
        reads = bool(tools) and choice.mode != "none"
        prompt = builder.prompt(request.messages, thinking=steering.get("thinking"), tools=tools)
        definition = self.definition(steering, forced_name=choice.name, forced=choice.mode == "required", reads=reads)
        follower = None if definition is None else Grammars(builder.tokenizer, ends).follower(definition, prompt)
        engine = _core.Engine(file, context=CONTEXT, threads=1, isa=self.tier, kv=self.kv)
        sampler = _core.Sampler(
            vocabulary=file.get("qwen3edge.vocab_size"), usable=tokenizer_size(self.path), **request.sampling,
            never=[builder.call_token()] if choice.mode == "none" else [],
        )  # fmt: skip
        for token in request.prompt:
            sampler.accept(token, False)
        text = _core.AnswerText(
            builder.tokenizer.bpe, reasoning=prompt.reasoning, tools=declared_types(tools) if reads else None
        )
        budget, message = steering.get("thinking_budget"), steering.get("thinking_budget_message", "")
        new, tokens, unseen = list(request.prompt), [], []
        most = min(request.count, CONTEXT - len(request.prompt))
        while len(tokens) < most and not (tokens and tokens[-1] in ends):
            if budget is not None and text.reasoning and text.reasoning_tokens >= budget:
                said = builder.end_of_thoughts(message)[: most - len(tokens)]
            else:
                held, count = engine.length(0), len(new)
                row = engine.forward(new, range(held, held + count), [0] * count, [False] * (count - 1) + [True])[0]
                new = []
                said = [sampler.sample(row, mask=follower(unseen) if follower else None)]
                unseen = []
            for token in said:
                sampler.accept(token, True)
                if token not in ends:
                    text.push(token)
            new, unseen, tokens = new + said, unseen + said, tokens + said
        return tokens

    @staticmethod
    def definition(steering: dict, *, forced_name: str | None, forced: bool, reads: bool) -> Definition | None:
        content = defined({name: steering.get(name) for name in OPTIONS})
        functions, strict = declared_functions(steering.get("tools")), strict_functions(steering.get("tools"))
        if not forced and not content and strict:
            return strict_calls(functions, strict)
        if not forced and not (content and reads):
            return content
        calls = forced_calls(functions, forced_name, tags_are_tokens=True)
        return calls if content is None else replace(content, calls=calls)


@pytest.mark.parametrize("kv", CACHES)
def test_thirteen_requests(tiny_files, kv, seed, tmp_path):
    """Each way of steering once."""
    case = SteeredCase.make(*tiny_files["dense"], _core.selected_isa(), kv, seed, len(STEERED), longest=80, most=60)
    check(case, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("tier", [tier for tier in ALL_TIERS if tier != "scalar"])  # which takes fifty times as long
@pytest.mark.parametrize("model", ["dense", "moe"])
@pytest.mark.parametrize("kv", CACHES)
def test_two_hundred_requests(tiny_files, model, tier, kv, seed, tmp_path, monkeypatch):
    monkeypatch.setenv("QWEN3EDGE_ISA", tier)
    case = SteeredCase.make(*tiny_files[model], tier, kv, seed, count=200, longest=80, most=200)
    assert check(case, tmp_path) > 0, "some answers are sent back to the queue"
