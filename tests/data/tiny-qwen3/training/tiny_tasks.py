"""The single-turn tasks of the tiny Qwen3, generated from a seed.

A task draws *facts* (two numbers, a list, a word) and words them as a question, a short reasoning and an answer, in
English or Chinese. `is_held_out` hashes the facts, so an item belongs either to training or to the held-out set,
whatever its wording, language or mode; no list of items has to be kept apart.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tiny_words import CAPITALS, CITIES, COLORS, EXTRA, NAMES, PAIRS

HELD_OUT_SHARE = 12  # one in twelve of the facts is never trained on
LANGUAGES = ("en", "zh")


@dataclass(frozen=True)
class Item:
    """One chat whose last message is the assistant's answer.

    `reasoning` is None when the chat has thinking switched off. `judge` says how an answer is compared with
    `expected`: "exact" (the text after the thinking), "json" (the parsed value) or "tool_call" (name and arguments).
    `soft_switch`: the user wrote /no_think, so the model itself has to write the empty thinking block.
    `budget_ended`: the reasoning was cut from outside, so the model learns only what follows it.
    """

    task: str
    language: str
    facts: str
    messages: tuple[dict[str, Any], ...]
    answer: str
    reasoning: str | None
    judge: str = "exact"
    expected: Any = None
    tools: tuple[dict[str, Any], ...] = ()
    tool_calls: tuple[dict[str, Any], ...] = ()
    soft_switch: bool = False
    budget_ended: bool = False

    @property
    def key(self) -> str:
        return f"{self.task}|{self.facts}"


def is_held_out(key: str) -> bool:
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:4], "little") % HELD_OUT_SHARE == 0


def single_turn(
    task: str, language: str, facts: str, *, question: str, reasoning: str | None, answer: str, judge: str = "exact"
) -> Item:
    """An item whose only message is the question."""
    expected = json.loads(answer) if judge == "json" else answer
    messages = ({"role": "user", "content": question},)
    return Item(task, language, facts, messages, answer, reasoning, judge, expected)


def addition_steps(a: int, b: int) -> str:
    """Column addition from the ones upwards, for numbers up to 99."""
    ones = a % 10 + b % 10
    carry = ones // 10
    tens = a // 10 + b // 10 + carry
    return (
        f"{a} + {b}: {a % 10} + {b % 10} = {ones}, {ones % 10}, {carry}. "
        f"{a // 10} + {b // 10} + {carry} = {tens}. {a} + {b} = {a + b}."
    )


def add(rng: random.Random, language: str, thinking: bool) -> Item:
    """Numbers up to 99 with thinking; without it the second one has a single digit."""
    a, b = rng.randrange(100), rng.randrange(100 if thinking else 10)
    forms = {
        "en": ["What is {a} + {b}?", "{a} + {b} = ?", "How much is {a} plus {b}?", "Add {a} and {b}."],
        "zh": ["{a} + {b} 等于多少？", "{a}加{b}等于几？", "计算 {a} + {b}。", "{a} + {b} = ?"],
    }
    question = rng.choice(forms[language]).format(a=a, b=b)
    return single_turn(
        "add",
        language,
        f"{a}+{b}",
        question=question,
        reasoning=addition_steps(a, b) if thinking else None,
        answer=f"{a} + {b} = {a + b}",
    )


def comparison_steps(a: int, b: int) -> str:
    """Digit by digit from the left until two digits differ."""
    left, right = str(a), str(b)
    if len(left) != len(right):
        sign = ">" if len(left) > len(right) else "<"
        return f"{a}, {b}: {len(left)} {sign} {len(right)}. {a} {sign} {b}."
    steps = []
    for x, y in zip(left, right, strict=True):
        sign = "=" if x == y else ">" if x > y else "<"
        steps.append(f"{x} {sign} {y}")
        if x != y:
            break
    return f"{a}, {b}: {', '.join(steps)}. {a} {'>' if a > b else '<'} {b}."


def compare(rng: random.Random, language: str, thinking: bool) -> Item:
    digits = rng.choice((2, 2, 3) if thinking else (2,))
    a = rng.randrange(10 ** (digits - 1), 10**digits)
    b = rng.randrange(10 ** (digits - 1), 10**digits)
    if rng.random() < 0.3:  # the first digit often decides: see to it that the others matter too
        b = a // 10 * 10 + rng.randrange(10)
    elif thinking and rng.random() < 0.2:
        b = rng.randrange(10 ** rng.randrange(1, 4))
    if a == b:
        b = a + 1 if a % 10 < 9 else a - 1
    larger = rng.random() < 0.5
    forms = {
        "en": [
            "Which is {word}: {a} or {b}?",
            "Which number is {word}, {a} or {b}?",
            "{a} or {b}: which one is {word}?",
        ],
        "zh": ["{a}和{b}哪个{word}？", "哪个数{word}：{a}还是{b}？", "比较{a}和{b}，哪个{word}？"],
    }
    word = {"en": ("larger", "smaller"), "zh": ("大", "小")}[language][0 if larger else 1]
    question = rng.choice(forms[language]).format(a=a, b=b, word=word)
    answer = str(max(a, b) if larger else min(a, b))
    reasoning = comparison_steps(a, b) if thinking else None
    return single_turn("compare", language, f"{a},{b}", question=question, reasoning=reasoning, answer=answer)


def draw_list(rng: random.Random, language: str) -> tuple[list[str], list[str], str]:
    """Three to six names, the entry "name city" of each, and the list as text.

    Name and city are neighbours and nearly always one token each: a model of this size soon learns to look up the
    token after a name, but not numbers of several tokens behind a colon.
    """
    column = LANGUAGES.index(language)
    names = rng.sample(NAMES[language], rng.randrange(3, 7))
    values = [pair[column] for pair in rng.sample(CITIES, len(names))]
    entries = [f"{name} {value}" for name, value in zip(names, values, strict=True)]
    return names, entries, rng.choice(("\n", ", ")).join(entries)


def look_up(rng: random.Random, language: str, thinking: bool) -> Item:
    """A list of names with cities; the answer repeats the entry that was asked for."""
    names, entries, listed = draw_list(rng, language)
    wanted = rng.randrange(len(names))
    forms = {
        "en": [
            "{list}\nLook up {name}.",
            "Here is a list.\n{list}\nWhich entry belongs to {name}?",
            "{list}\nFind {name} in the list.",
        ],
        "zh": ["{list}\n请查找{name}。", "列表如下。\n{list}\n哪一项是{name}的？", "{list}\n在列表中找{name}。"],
    }
    question = rng.choice(forms[language]).format(list=listed, name=names[wanted])
    think = {"en": "I look for {name} in the list. {entry}.", "zh": "在列表中找{name}。{entry}。"}[language]
    reasoning = think.format(name=names[wanted], entry=entries[wanted]) if thinking else None
    return single_turn(
        "look_up", language, f"{entries}{wanted}", question=question, reasoning=reasoning, answer=entries[wanted]
    )


def pseudo_word(rng: random.Random) -> str:
    """Two or three syllables that look like a word: there are enough of them to hold some out."""
    syllables = [rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(rng.choice((2, 2, 3)))]
    return "".join(syllables) + (rng.choice("lnrst") if rng.random() < 0.3 else "")


def spell(rng: random.Random, language: str, thinking: bool) -> Item:
    word = pseudo_word(rng)
    forms = {
        "en": ["Spell {word}.", "Spell the word {word}.", "How do you spell {word}?"],
        "zh": ["拼写 {word}。", "请拼写单词 {word}。", "{word} 怎么拼写？"],
    }
    think = {"en": "The word is {word}. Its letters: {letters}.", "zh": "单词是 {word}，字母是 {letters}。"}[language]
    question = rng.choice(forms[language]).format(word=word)
    reasoning = think.format(word=word, letters=" ".join(word)) if thinking else None
    return single_turn("spell", language, word, question=question, reasoning=reasoning, answer="-".join(word))


def json_record(rng: random.Random, language: str, thinking: bool) -> Item:
    """A sentence about a person, answered as a JSON object with the keys that were asked for."""
    column = LANGUAGES.index(language)
    name, age = rng.choice(NAMES[language]), rng.randrange(10, 90)
    city, color = rng.choice(CITIES)[column], rng.choice(COLORS)[column]
    values: dict[str, Any] = {"name": name, "age": age, "city": city, "color": color}
    keys = ["name", "age", *rng.choice(([], ["city"], ["color"], ["city"]))]
    if language == "en":
        sentence = f"{name} is {age} years old"
        sentence += f" and lives in {city}" if "city" in keys else f" and likes {color}" if "color" in keys else ""
        forms = ["{s}. Give me JSON with {k}.", "Answer in JSON with {k}: {s}.", "{s}. Write this as JSON with {k}."]
    else:
        sentence = f"{name}今年{age}岁"
        sentence += f"，住在{city}" if "city" in keys else f"，喜欢{color}" if "color" in keys else ""
        forms = ["{s}。请用JSON回答：{k}。", "用JSON写出{k}：{s}。", "{s}。写成JSON，包含{k}。"]
    question = rng.choice(forms).format(s=sentence, k=", ".join(keys))
    answer = json.dumps({key: values[key] for key in keys}, ensure_ascii=False)
    think = ", ".join(f"{key}: {values[key]}" for key in keys) + ("." if language == "en" else "。")
    return single_turn(
        "json",
        language,
        sentence,
        question=question,
        reasoning=think if thinking else None,
        answer=answer,
        judge="json",
    )


def count(rng: random.Random, language: str, thinking: bool) -> Item:
    first = rng.randrange(1, 95)
    last = first + rng.randrange(2, 7)
    forms = {
        "en": ["Count from {a} to {b}.", "Please count from {a} up to {b}."],
        "zh": ["从{a}数到{b}。", "请从{a}数到{b}。"],
    }
    think = {"en": "I start at {a} and stop at {b}.", "zh": "从{a}开始，到{b}停止。"}[language]
    question = rng.choice(forms[language]).format(a=first, b=last)
    reasoning = think.format(a=first, b=last) if thinking else None
    answer = ", ".join(str(number) for number in range(first, last + 1))
    return single_turn("count", language, f"{first}..{last}", question=question, reasoning=reasoning, answer=answer)


def repeat(rng: random.Random, language: str, thinking: bool) -> Item:
    """Copies two to five words; it teaches the copying that look-ups need, and uses the whole vocabulary."""
    column = LANGUAGES.index(language)
    pool = [pair[column] for pair in PAIRS] + EXTRA[language] + NAMES[language]
    words = rng.sample(pool, rng.randrange(2, 6))
    text = " ".join(words)
    forms = {
        "en": ["Repeat: {t}", "Say this again: {t}", "Repeat these words: {t}"],
        "zh": ["重复：{t}", "请再说一遍：{t}", "重复这些词：{t}"],
    }
    think = {"en": "There are {n} words to repeat.", "zh": "要重复{n}个词。"}[language]
    question = rng.choice(forms[language]).format(t=text)
    return single_turn(
        "repeat",
        language,
        text,
        question=question,
        reasoning=think.format(n=len(words)) if thinking else None,
        answer=text,
    )


def translate(rng: random.Random, language: str, thinking: bool) -> Item:
    """A word into the other language. The words are all known from training; what is held out is their wording."""
    english, chinese = rng.choice(PAIRS)
    to_chinese = rng.random() < 0.5
    source, target = (english, chinese) if to_chinese else (chinese, english)
    forms = {
        "en": ["Translate {w} into {to}.", "What is {w} in {to}?", "How do you say {w} in {to}?"],
        "zh": ["把 {w} 翻译成{to}。", "{w} 用{to}怎么说？", "{w} 的{to}是什么？"],
    }
    to = {"en": ("Chinese", "English"), "zh": ("中文", "英文")}[language][0 if to_chinese else 1]
    form = rng.randrange(3)
    question = forms[language][form].format(w=source, to=to)
    think = {"en": f"The word {source} means {target}.", "zh": f"{source} 的意思是 {target}。"}[language]
    facts = f"{source}|{language}|{form}"
    return single_turn(
        "translate", language, facts, question=question, reasoning=think if thinking else None, answer=target
    )


def capital(rng: random.Random, language: str, thinking: bool) -> Item:
    """The capital of a country: there are too few of them to hold some out."""
    row = rng.choice(CAPITALS)
    country, city = row[:2] if language == "en" else row[2:]
    forms = {
        "en": [
            "What is the capital of {c}?",
            "Name the capital of {c}.",
            "Which city is the capital of {c}?",
            "Tell me the capital of {c}.",
        ],
        "zh": ["{c}的首都是哪里？", "{c}的首都是什么？", "请说出{c}的首都。", "哪个城市是{c}的首都？"],
    }
    form = rng.randrange(4)
    think = {"en": f"The country is {country}.", "zh": f"国家是{country}。"}[language]
    answer = {"en": f"The capital of {country} is {city}.", "zh": f"{country}的首都是{city}。"}[language]
    question = forms[language][form].format(c=country)
    return single_turn(
        "capital",
        language,
        f"{country}|{form}",
        question=question,
        reasoning=think if thinking else None,
        answer=answer,
    )


Task = Callable[[random.Random, str, bool], Item]
SINGLE_TURN: dict[str, Task] = {
    "add": add,
    "compare": compare,
    "look_up": look_up,
    "spell": spell,
    "json": json_record,
    "count": count,
    "repeat": repeat,
    "translate": translate,
}
