"""The page for everybody: by the keyboard alone, with a screen reader, in both themes, languages and widths."""

import re

import pytest

from tests.server.page.visitor import PHONE, WIDE, Visitor, visiting

pytestmark = pytest.mark.slow

ANSWER = """## A heading

A text with `code`, a [link](https://example.org) and **more**.

| one | two |
| --- | ---: |
| a | 1 |

- [x] done
- [ ] open

> A quote

```python
print("hello")
```
"""


@pytest.mark.parametrize("language", ["en-US", "zh-CN"])
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["1280", "390"])
def test_axe_finds_no_serious_fault(browser, server, size, theme, language):
    """At the start, in a conversation, in the settings, in dialogs, where something is wrong."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
    ).Axe()
    visitor = Visitor(browser, server.url, size, color_scheme=theme, locale=language, bypass_csp=True)
    page = visitor.page

    def check(where):
        result = axe.run(page, options={"resultTypes": ["violations", "passes"]}).response
        assert len(result["passes"]) > 10
        found = [each for each in result["violations"] if each["impact"] in ("serious", "critical")]
        told = [
            (each["id"], [node["html"][:200] + node["failureSummary"][:300] for node in each["nodes"]])
            for each in found
        ]
        assert told == [], where

    check("start")
    server.says(ANSWER, thoughts="Some thoughts", call='{"name": "weather", "arguments": {"city": "Rome"}}')
    page.evaluate(
        """() => localStorage.setItem('qwen3edge.settings', JSON.stringify(
            {tools: {on: true, json: '[{"name": "weather"}]', choice: 'auto'}, form: {on: false, json: '{'}}))"""
    )
    page.reload()
    page.wait_for_selector(".picker:not(:disabled)")
    visitor.ask("A question?")
    visitor.wait()
    page.click("summary")
    check("conversation")
    page.click(".user .edit")
    check("edit")
    page.keyboard.press("Escape")
    page.keyboard.press("Alt+KeyK")
    check("shortcuts")
    page.keyboard.press("Escape")
    page.keyboard.press("Alt+KeyS")
    page.locator(".panel [role=switch]").last.click()
    page.wait_for_selector("#form-error:not(:empty)")
    check("settings")
    page.keyboard.press("Alt+KeyS" if size is WIDE else "Escape")
    page.locator("#question").fill("x" * 2500)
    visitor.open_list() if size is PHONE else None
    check("list")
    page.click(".conversations .icon-button")
    check("manage")
    page.keyboard.press("Escape")
    visitor.close()


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["1280", "390"])
def test_nothing_is_wider_than_the_window(browser, server, size):
    with visiting(browser, server.url, size) as visitor:
        page = visitor.page
        server.says(
            f"{'long' * 100}\n\n```\n{'code ' * 100}\n```\n\n`{'x' * 300}`\n\n"
            f"| {'cell | ' * 20}\n|{'---|' * 20}\n| {'1 | ' * 20}",
            "y" * 300,
        )
        visitor.ask("z" * 300)
        visitor.wait()
        page.click("summary")
        for element in (".scroller", ".page", ".composer", ".topbar"):
            assert page.evaluate(
                "(name) => { const e = document.querySelector(name); return e.scrollWidth <= e.clientWidth; }", element
            ), element
        page.keyboard.press("Alt+KeyS")
        box = page.locator(".panel").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= size["width"]
        assert page.evaluate(
            "document.querySelector('.sections').scrollWidth <= document.querySelector('.sections').clientWidth"
        )


def test_the_keyboard_alone(browser, server):
    """No key but those of the keyboard, from the first one on."""
    with visiting(browser, server.url) as visitor:
        page, press = visitor.page, visitor.page.keyboard.press
        assert visitor.focused() == "Your question"
        for _ in range(20):
            press("Shift+Tab")
            if visitor.focused() == "Skip to the question":
                break
        press("Enter")
        assert visitor.focused() == "Your question"
        server.pause = 0.02
        server.says("Words that come slowly. " * 30)
        page.keyboard.type("Slow?")
        press("Enter")
        visitor.wait_until("document.querySelector('.assistant > .markdown')?.innerText.length > 30")
        press("Escape")
        visitor.wait()
        assert page.locator(".problem").inner_text() == "Stopped." and visitor.focused() == "Your question"
        server.pause = 0
        server.says("Quick.", thoughts="hm")
        press("Alt+KeyR")
        visitor.wait_until("document.querySelector('.assistant > .markdown').innerText === 'Quick.'")
        visitor.wait()
        press("Alt+KeyT")
        assert page.locator(".thoughts .markdown").inner_text() == "hm"
        press("Alt+KeyE")
        page.keyboard.type(" Or not?")
        press("Escape")
        assert visitor.focused() == "Edit the question" and visitor.question == "Slow?"
        press("Alt+KeyE")
        page.keyboard.type(" Or not?")
        server.says("Edited.")
        press("Enter")
        visitor.wait_until("document.querySelector('.assistant > .markdown').innerText === 'Edited.'")
        visitor.wait()
        assert visitor.focused() == "Your question"

        press("Alt+KeyS")
        assert visitor.focused() == "Close"
        reached = set()
        for _ in range(40):
            press("Tab")
            reached.add(visitor.focused())
        assert {
            "Think before answering",
            "At most",
            "System prompt",
            "Temperature",
            "Seed",
            "Let the model call tools",
        } <= reached
        press("Alt+KeyS")
        press("Alt+KeyK")
        assert page.locator("dialog tr").count() > 10
        press("Escape")
        assert page.locator("dialog").count() == 0
        press("Alt+KeyN")
        assert visitor.focused() == "Your question" and page.locator(".turn").count() == 0
        press("Alt+KeyL")
        assert not page.locator(".sidebar").is_visible()
        press("Alt+KeyL")
        assert visitor.focused() == "New conversation"
        press("Tab")
        press("Enter")
        page.wait_for_selector(".user .bubble")
        assert visitor.question == "Slow? Or not?"


def test_what_stands_above_holds_the_focus(browser, server):
    """On a phone's width the list and the settings cover the conversation, which is out of reach until they close."""
    with visiting(browser, server.url, PHONE) as visitor:
        page, press = visitor.page, visitor.page.keyboard.press
        page.focus("header [aria-label=Conversations]")
        press("Enter")
        assert visitor.focused() == "New conversation" and page.evaluate("document.querySelector('main').inert")
        for _ in range(12):
            press("Tab")
            assert page.evaluate(
                "document.activeElement.closest('.sidebar') !== null || document.activeElement === document.body"
            )
        press("Escape")
        assert visitor.focused() == "Conversations" and not page.evaluate("document.querySelector('main').inert")
        page.click("header [aria-label=Settings]")
        page.mouse.click(4, 400)  # beside it
        assert not page.locator(".panel").is_visible() and visitor.focused() == "Settings"


def test_a_screen_reader_hears_sentences(visitor, server):
    """Not every token: some of an answer's words at a time, and its end."""
    page = visitor.page
    page.evaluate("""() => {
        window.heard = [];
        const added = (all) => all.flatMap((each) => [...each.addedNodes]);
        const hear = (all) => window.heard.push(...added(all).map((node) => node.textContent));
        new MutationObserver(hear).observe(document.querySelector('[aria-live=polite]'), {childList: true});
    }""")
    server.pause = 0.02
    answer = " ".join(f"This is sentence number {number}." for number in range(12))
    server.says(answer, thoughts="Some thoughts, which take a while.")
    visitor.ask("Speak")
    visitor.wait()
    heard = page.evaluate("window.heard")
    assert heard[0] == "The model is thinking." and re.fullmatch(r"The answer has ended, \d+ tokens\.", heard[-1])
    assert 3 <= len(heard) <= 10
    assert " ".join(heard[1:-1]) == answer and all(each.endswith(".") for each in heard)


def test_language_and_theme_are_switched_and_kept(browser, server):
    with visiting(browser, server.url) as visitor:
        page = visitor.page
        page.fill("#question", "draft")
        assert page.locator("h2:has-text('What can I help with?')").is_visible()
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.click(".sidebar .language")
        assert (
            page.locator("h2:has-text('想聊点什么？')").is_visible() and page.get_attribute("html", "lang") == "zh-Hans"
        )
        assert page.input_value("#question") == "draft" and visitor.focused() == "English"
        page.click(".sidebar .theme")
        page.click(".sidebar .theme")
        assert page.get_attribute("html", "data-theme") == "dark"
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert dark != paper
        page.reload()
        page.wait_for_selector("h2:has-text('想聊点什么？')")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark
        server.says("好。")
        visitor.ask("你好")
        visitor.wait()
        page.click(".sidebar .language")  # in the middle of a conversation
        assert (visitor.question, visitor.answer) == ("你好", "好。")
    with visiting(browser, server.url, locale="zh-CN", color_scheme="dark") as visitor:
        assert visitor.page.locator("h2:has-text('想聊点什么？')").is_visible()
        assert visitor.page.evaluate("getComputedStyle(document.body).backgroundColor") == dark
    with visiting(browser, server.url, locale="de-DE") as visitor:
        assert visitor.page.locator("h2:has-text('What can I help with?')").is_visible()


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_nothing_moves_for_those_who_do_not_want_it(browser, server, motion):
    with visiting(browser, server.url, reduced_motion=motion) as visitor:
        server.pause = 0.05
        server.says("Yes.", thoughts="Thoughts that take a while to think")
        visitor.ask("Hi")
        visitor.page.wait_for_selector(".thoughts.now")
        assert (visitor.page.evaluate("document.getAnimations().length") == 0) == (motion == "reduce")
        visitor.wait()


def test_the_pictures_say_what_they_show(visitor, server):
    page = visitor.page
    server.says("Answer", thoughts="hm")
    visitor.ask("Question")
    visitor.wait()
    page.keyboard.press("Alt+KeyS")
    usage = page.locator(".measure").first
    page.wait_for_function("() => /[1-9]/.test(document.querySelector('.measure .picture').getAttribute('aria-label'))")
    label = usage.locator("[role=img]").get_attribute("aria-label")
    used = int(re.fullmatch(r"Context: (\d+) of 2,000 tokens", label)[1])
    parts = [int(each) for each in re.findall(r"\d+", usage.locator(".legend").inner_text())]
    assert sum(parts) == used > 10
    memory = page.locator(".measure").nth(1).locator("[role=img]").get_attribute("aria-label")
    assert re.fullmatch(r"Memory: [\d.]+ (MiB|GiB) of 1.00 GiB", memory)
    assert page.get_attribute("button.meters", "aria-label").startswith("Settings: Context: ")
