"""Tool calls, chats of two turns and small talk for the tiny Qwen3."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

from tiny_tasks import LANGUAGES, SINGLE_TURN, Item, Task, capital, draw_list, single_turn
from tiny_words import CITIES, COLORS, DEVICES, NAMES, SKIES


def tool(name: str, description: str, **parameters: str) -> dict[str, Any]:
    """A function definition as the chat template expects it; `parameters` maps names to JSON types."""
    schema = {
        "type": "object",
        "properties": {key: {"type": kind} for key, kind in parameters.items()},
        "required": list(parameters),
    }
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


WEATHER = tool("get_weather", "Get the weather of a city", city="string")
CLOCK = tool("get_time", "Get the time in a city", city="string")
TIMER = tool("set_timer", "Set a timer", minutes="integer")
SWITCH = tool("switch", "Switch a device on or off", device="string", state="string")
MESSAGE = tool("send_message", "Send a message to a person", to="string", text="string")
TOOLS = (WEATHER, CLOCK, TIMER, SWITCH, MESSAGE)


def draw_request(rng: random.Random, language: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    """A tool, the arguments of its call and a request that calls for it."""
    column = LANGUAGES.index(language)
    english = language == "en"
    wanted = rng.choice(TOOLS)
    city = rng.choice(CITIES)[column]
    if wanted is WEATHER:
        forms = (
            [f"What is the weather in {city}?", f"How is the weather in {city} today?", f"Weather in {city}?"]
            if english
            else [f"{city}的天气怎么样？", f"{city}今天天气如何？", f"查一下{city}的天气。"]
        )
        return wanted, {"city": city}, rng.choice(forms)
    if wanted is CLOCK:
        forms = (
            [f"What time is it in {city}?", f"Tell me the time in {city}."]
            if english
            else [f"{city}现在几点？", f"{city}现在是什么时间？"]
        )
        return wanted, {"city": city}, rng.choice(forms)
    if wanted is TIMER:
        minutes = rng.randrange(2, 100)
        forms = (
            [f"Set a timer for {minutes} minutes.", f"Wake me in {minutes} minutes."]
            if english
            else [f"设一个{minutes}分钟的定时器。", f"{minutes}分钟后叫我。"]
        )
        return wanted, {"minutes": minutes}, rng.choice(forms)
    if wanted is SWITCH:
        device, state = rng.choice(DEVICES)[column], rng.choice(("on", "off"))
        forms = (
            [f"Turn {state} the {device}.", f"Please switch {state} the {device}."]
            if english
            else ["打开{d}。", "请把{d}打开。"]
            if state == "on"
            else ["关闭{d}。", "请把{d}关闭。"]
        )
        return wanted, {"device": device, "state": state}, rng.choice(forms).format(d=device)
    name = rng.choice(NAMES[language])
    texts = {
        "en": ["hello", "good morning", "I am late", "see you soon", "thank you", "call me", "dinner is ready"],
        "zh": ["你好", "早上好", "我迟到了", "一会儿见", "谢谢", "给我打电话", "晚饭好了"],
    }
    text = rng.choice(texts[language])
    forms = (
        [f"Send {name} the message: {text}", f"Tell {name}: {text}"]
        if english
        else [f"给{name}发消息：{text}", f"告诉{name}：{text}"]
    )
    return wanted, {"to": name, "text": text}, rng.choice(forms)


def offered_tools(rng: random.Random, wanted: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """The wanted tool among up to two others, in random order."""
    offered = [wanted, *rng.sample([other for other in TOOLS if other is not wanted], rng.randrange(3))]
    rng.shuffle(offered)
    return tuple(offered)


def tool_call(rng: random.Random, language: str, thinking: bool) -> Item:
    wanted, arguments, question = draw_request(rng, language)
    name = wanted["function"]["name"]
    call = {"name": name, "arguments": arguments}
    think = {"en": f"I call {name}.", "zh": f"我要调用{name}。"}[language] if thinking else None
    return Item(
        "tool_call",
        language,
        f"{name}{json.dumps(arguments, ensure_ascii=False)}",
        ({"role": "user", "content": question},),
        answer="",
        reasoning=think,
        judge="tool_call",
        expected=call,
        tools=offered_tools(rng, wanted),
        tool_calls=({"type": "function", "function": call},),
    )


def tool_result(rng: random.Random, language: str, thinking: bool) -> Item:
    """The turn after a call: the tool's response is read and told in a sentence."""
    column = LANGUAGES.index(language)
    english = language == "en"
    city = rng.choice(CITIES)[column]
    if rng.random() < 0.6:
        wanted, sky, degrees = WEATHER, rng.choice(SKIES)[column], rng.randrange(1, 40)
        response: dict[str, Any] = {"city": city, "temperature": degrees, "sky": sky}
        question = f"What is the weather in {city}?" if english else f"{city}的天气怎么样？"
        answer = f"It is {sky} in {city}, {degrees} degrees." if english else f"{city}{sky}，{degrees}度。"
    else:
        wanted, clock = CLOCK, f"{rng.randrange(24):02}:{rng.randrange(60):02}"
        response = {"city": city, "time": clock}
        question = f"What time is it in {city}?" if english else f"{city}现在几点？"
        answer = f"It is {clock} in {city}." if english else f"{city}现在{clock}。"
    call = {"name": wanted["function"]["name"], "arguments": {"city": city}}
    history: dict[str, Any] = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"type": "function", "function": call}],
    }
    if thinking:
        history["reasoning_content"] = f"I call {call['name']}." if english else f"我要调用{call['name']}。"
    body = json.dumps(response, ensure_ascii=False)
    think = {"en": "I have the result. I tell the user.", "zh": "有结果了，告诉用户。"}[language]
    return Item(
        "tool_result",
        language,
        body,
        ({"role": "user", "content": question}, history, {"role": "tool", "content": body}),
        answer,
        think if thinking else None,
        expected=answer,
        tools=offered_tools(rng, wanted),
    )


def memory(rng: random.Random, language: str, thinking: bool) -> Item:
    """The user says who they are and what they like; a turn later they ask for one of the two."""
    column = LANGUAGES.index(language)
    name, color = rng.choice(NAMES[language]), rng.choice(COLORS)[column]
    ask_name = rng.random() < 0.5
    if language == "en":
        said = rng.choice((f"My name is {name} and I like {color}.", f"I am {name}. I like {color}."))
        reply = f"Nice to meet you, {name}!"
        asked = rng.choice(("What is my name?", "Who am I?") if ask_name else ("What color do I like?",))
        answer = f"Your name is {name}." if ask_name else f"You like {color}."
        think = "The user said it before."
    else:
        said = rng.choice((f"我叫{name}，我喜欢{color}。", f"我是{name}，我喜欢{color}。"))
        reply = f"很高兴认识你，{name}！"
        asked = rng.choice(("我叫什么名字？", "我是谁？") if ask_name else ("我喜欢什么颜色？",))
        answer = f"你叫{name}。" if ask_name else f"你喜欢{color}。"
        think = "用户之前说过。"
    messages = (
        {"role": "user", "content": said},
        {"role": "assistant", "content": reply},
        {"role": "user", "content": asked},
    )
    facts = f"{name}|{color}"
    return Item("memory", language, facts, messages, answer, think if thinking else None, expected=answer)


SMALL_TALK: dict[str, list[tuple[tuple[str, ...], str]]] = {
    "en": [
        (
            ("hi", "Hi", "hello", "Hello", "Hi!", "Hello!", "Hi there!", "hey", "Good morning!"),
            "Hello! I am a tiny Qwen3 model. How can I help you?",
        ),
        (
            ("Who are you?", "What are you?", "What is your name?", "Introduce yourself."),
            "I am a tiny Qwen3 model that runs on your device.",
        ),
        (
            ("What can you do?", "Can you help me?", "Help"),
            "I can add and compare numbers, look things up in a list, spell words, write JSON and call tools.",
        ),
        (("How are you?", "How are you today?"), "I am fine, thank you. And you?"),
        (("Thanks!", "Thank you!", "thanks", "Thank you very much."), "You are welcome!"),
        (("Bye!", "bye", "Goodbye!", "See you!"), "Goodbye! Have a nice day!"),
        (("I am nice to meet you", "Nice to meet you!"), "Nice to meet you too!"),
    ],
    "zh": [
        (("你好", "你好！", "您好", "嗨", "早上好！", "大家好"), "你好！我是一个小小的Qwen3模型。有什么可以帮你？"),
        (("你是谁？", "你叫什么名字？", "介绍一下你自己。"), "我是一个在你的设备上运行的小小的Qwen3模型。"),
        (("你能做什么？", "你会什么？", "帮帮我"), "我会做加法、比较数字、查列表、拼写单词、写JSON和调用工具。"),
        (("你好吗？", "你今天好吗？"), "我很好，谢谢。你呢？"),
        (("谢谢", "谢谢！", "谢谢你", "多谢"), "不客气！"),
        (("再见", "再见！", "拜拜"), "再见！祝你愉快！"),
        (("认识你很高兴", "很高兴认识你！"), "我也很高兴认识你！"),
    ],
}


def small_talk(rng: random.Random, language: str, thinking: bool) -> Item:
    """A closed set of greetings: trained on, never held out."""
    said, answer = rng.choice(SMALL_TALK[language])
    question = rng.choice(said)
    think = {"en": "The user is talking to me. I answer in a friendly way.", "zh": "用户在和我聊天，我友好地回答。"}
    item = single_turn(
        "small_talk",
        language,
        question,
        question=question,
        reasoning=think[language] if thinking else None,
        answer=answer,
    )
    if rng.random() < 0.15:  # tools that are not needed must not be called
        return replace(item, tools=offered_tools(rng, rng.choice(TOOLS)))
    return item


def look_up_several(rng: random.Random, language: str, thinking: bool) -> Item:
    """Most names of a list in another order: several look-ups in one chat, which teach looking up much sooner."""
    names, entries, listed = draw_list(rng, language)
    wanted = rng.sample(range(len(names)), len(names) - rng.randrange(2))
    asked = ", ".join(names[i] for i in wanted)
    question = f"{listed}\nLook up {asked}." if language == "en" else f"{listed}\n请查找{asked}。"
    answer = ", ".join(entries[i] for i in wanted)
    think = {"en": "I look for the names in the list.", "zh": "在列表中找这些名字。"}[language] if thinking else None
    return single_turn("look_up_several", language, listed, question=question, reasoning=think, answer=answer)


TASKS: dict[str, Task] = {**SINGLE_TURN, "tool_call": tool_call, "tool_result": tool_result, "memory": memory}
ONLY_TRAINED: dict[str, Task] = {
    "capital": capital,
    "small_talk": small_talk,
    "look_up_several": look_up_several,
}
