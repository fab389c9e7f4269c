"""Questions and answers in a browser: they come, stop, branch, and are there again after a reload."""

import json

import pytest

from tests.server.page.visitor import PHONE, WIDE, visiting

pytestmark = pytest.mark.slow

LONG = "\n\n".join(f"Line {number} of a long answer, which goes on for a while." for number in range(60))
TOOLS = '[{"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}]'


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["1280", "390"])
def test_a_whole_visit(browser, server, size):
    """Types, sees the stream, stops it, edits, answers again, reloads and finds the conversation."""
    with visiting(browser, server.url, size) as visitor:
        page = visitor.page
        server.pause = 0.01
        server.says(LONG)
        visitor.ask("Count the lines")
        page.wait_for_selector(".assistant .markdown p")
        first = len(visitor.answer)
        visitor.wait_until(f"document.querySelector('.assistant > .markdown').innerText.length > {first + 100}")
        assert visitor.answer.startswith("Line 0 of a long answer") and page.locator(".send:not(.stop)").is_hidden()
        page.click("[aria-label='Stop the answer']")
        visitor.wait()
        part = visitor.answer
        assert len(part) < len(LONG) / 2 and page.locator(".problem").inner_text() == "Stopped."
        said = server.scripted.core.said
        page.wait_for_timeout(300)
        assert server.scripted.core.said == said  # the model computes nothing for it any more

        server.pause = 0
        server.says("Second answer")
        page.click("[aria-label='Edit the question']")
        assert visitor.focused() == "Edit the question"
        page.keyboard.type(" again")
        page.keyboard.press("Enter")
        visitor.wait()
        assert (visitor.question, visitor.answer) == ("Count the lines again", "Second answer")
        assert page.locator(".user .branches").inner_text().split() == ["2", "/", "2"]

        server.says("Third answer")
        page.click("[aria-label='Answer again']")
        visitor.wait_until("document.querySelector('.assistant > .markdown').innerText === 'Third answer'")
        visitor.wait()
        page.click(".assistant [aria-label='The branch before']")
        assert visitor.answer == "Second answer"
        page.click(".user [aria-label='The branch before']")
        assert (visitor.question, visitor.answer) == ("Count the lines", part)

        page.wait_for_timeout(1800)  # until which branch is shown is saved
        page.reload()
        page.wait_for_selector(".user .bubble")
        assert (visitor.question, visitor.answer) == ("Count the lines", part)
        page.click(".user [aria-label='The branch after']")
        assert visitor.answer == "Second answer"
        page.goto(visitor.url)  # without the conversation's address
        visitor.open_list()
        assert visitor.titles == ["Count the lines"]
        page.click(".conversations .open")
        page.wait_for_selector(".user .bubble")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["1280", "390"])
def test_the_tiny_model_answers(browser, serve, size):
    """A real model in a process of its own: it thinks, and is right."""
    with visiting(browser, f"{serve().base_url}/", size) as visitor:
        page = visitor.page
        page.keyboard.press("Alt+KeyS")
        page.fill("#temperature", "0")
        page.keyboard.press("Alt+KeyS")
        visitor.ask("What is 47 + 38?")
        visitor.wait()
        assert "47 + 38 = 85" in visitor.answer and page.locator("summary").inner_text().startswith("Thought for")
        figures = page.locator(".figures").inner_text()
        assert float(figures.partition(" · ")[2].removesuffix(" tok/s").replace(",", "")) > 1


def test_what_is_asked_of_the_server(visitor, server):
    """Settings as they are, and all turns that are shown."""
    page, bodies = visitor.page, []
    page.on("request", lambda each: bodies.append(json.loads(each.post_data)) if each.method == "POST" else None)
    page.keyboard.press("Alt+KeyS")
    page.fill("#system", "Be brief.")
    page.fill("#temperature", "0.25")
    page.fill("#seed", "7")
    page.fill("#top_p", "7")  # is none
    page.focus("#budget")
    for _ in range(8):
        page.keyboard.press("ArrowLeft")
    assert page.locator("output").inner_text() == "128 tokens"
    server.says("Yes.", thoughts="hm")
    visitor.ask("First?")
    visitor.wait()
    page.click("text=Think before answering")
    server.says("No.")
    visitor.ask("Second?")
    visitor.wait_until("document.querySelectorAll('.assistant:not(.running)').length === 2")
    shared = {"model": "scripted", "temperature": 0.25, "seed": 7, "stream": True}
    first, second = bodies
    assert all(each.items() >= shared.items() and "top_p" not in each for each in bodies)
    assert (first["reasoning_effort"], first["thinking_budget"]) == ("high", 128)
    assert second["reasoning_effort"] == "none" and "thinking_budget" not in second
    assert first["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "First?"}]
    assert second["messages"][2:] == [
        {"role": "assistant", "content": "Yes.", "reasoning_content": "hm"},
        {"role": "user", "content": "Second?"},
    ]
    page.keyboard.press("Alt+KeyN")
    assert page.input_value("#system") == "Be brief."  # as in the last conversation
    page.click("text=Reset")
    assert page.input_value("#temperature") == "" and page.get_attribute("#temperature", "placeholder") == "0.7"


def test_thoughts_are_folded_with_their_time(visitor, server):
    page = visitor.page
    server.pause = 0.02
    server.says("The answer", thoughts="Some **thoughts** that take their time, and are not shown unless asked for")
    visitor.ask("Think!")
    page.wait_for_selector("summary:has-text('Thinking …')")
    assert not page.locator(".thoughts .markdown").is_visible() and visitor.answer == ""
    visitor.wait()
    label = page.locator("summary").inner_text()
    seconds = float(label.removeprefix("Thought for ").removesuffix(" s"))
    assert 1 < seconds < 30
    page.click("summary")
    assert page.locator(".thoughts strong").inner_text() == "thoughts"
    page.reload()
    assert page.locator("summary").inner_text() == label and not page.locator(".thoughts .markdown").is_visible()


def test_calls_are_shown_and_their_results_sent(visitor, server):
    page, bodies = visitor.page, []
    page.on("request", lambda each: bodies.append(json.loads(each.post_data)) if each.method == "POST" else None)
    page.keyboard.press("Alt+KeyS")
    page.click("text=Let the model call tools")
    page.fill("#tools-json", "[{")
    assert page.locator("#tools-error").inner_text().startswith("Not valid yet")
    visitor.ask("Weather in Rome?")
    assert "is not valid JSON" in page.locator(".told").inner_text() and not bodies
    page.fill("#tools-json", TOOLS)
    server.says("Let me look.", call='{"name": "weather", "arguments": {"city": "Rome"}}')
    page.focus("#question")
    page.keyboard.press("Enter")
    visitor.wait()
    assert bodies[0]["tools"][0]["function"]["name"] == "weather" and bodies[0]["tool_choice"] == "auto"
    assert json.loads(page.locator(".call pre").inner_text()) == {"city": "Rome"}
    server.says("It is sunny.")
    page.fill("[aria-label='What weather returned']", "sunny, 31 degrees")
    page.click("text=Send the result")
    visitor.wait_until("document.querySelectorAll('.assistant:not(.running) .again').length === 2")
    assert visitor.answer == "It is sunny."
    said, result = bodies[1]["messages"][1:]
    assert json.loads(said["tool_calls"][0]["function"]["arguments"]) == {"city": "Rome"}
    assert result == {"role": "tool", "tool_call_id": said["tool_calls"][0]["id"], "content": "sunny, 31 degrees"}
    page.reload()
    page.wait_for_selector(".call")
    assert page.locator(".call").count() == 2


def test_an_answer_is_held_to_a_schema(visitor, server):
    page, bodies = visitor.page, []
    page.on("request", lambda each: bodies.append(json.loads(each.post_data)) if each.method == "POST" else None)
    page.keyboard.press("Alt+KeyS")
    page.click("text=Hold answers to a JSON schema")
    page.locator("section", has=page.locator("#form-json")).get_by_text("Example").click()
    server.says('{"name": "Anna", "age": 41, "city": "Berlin"}')
    visitor.ask("Anna")
    visitor.wait()
    assert bodies[0]["response_format"]["json_schema"]["schema"]["required"] == ["name", "age", "city"]


def test_the_list(visitor, server):
    """Rename, save as files, delete and undo; another window follows."""
    page = visitor.page
    server.says("One **two**")
    visitor.ask("A question\nof two lines")
    visitor.wait()
    assert visitor.titles == ["A question"]
    other = visitor.look()
    page.click("li.current .icon-button")
    page.fill("#title", "Zahlen / 数字")
    page.keyboard.press("Enter")
    visitor.wait_until("document.querySelector('.conversations .open').innerText === 'Zahlen / 数字'")
    other.wait_for_selector("text=Zahlen / 数字")
    page.click("li.current .icon-button")
    with page.expect_download() as saved:
        page.click("text=Save as Markdown")
    assert saved.value.suggested_filename == "Zahlen-数字.md"
    assert (
        saved.value.path().read_text()
        == "# Zahlen / 数字\n\n## You\n\nA question\nof two lines\n\n## scripted\n\nOne **two**\n"
    )
    with page.expect_download() as saved:
        page.click("text=Save as JSON")
    found = json.loads(saved.value.path().read_text())
    assert [each["role"] for each in found["messages"]] == ["user", "assistant"]
    assert found["conversation"]["title"] == "Zahlen / 数字"
    page.click("dialog .danger")
    visitor.wait_until("!document.querySelector('.conversations .open')")
    assert page.locator(".turn").count() == 0 and visitor.focused() == "New conversation"
    page.click("text=Undo")
    page.wait_for_selector(".user .bubble")
    assert visitor.titles == ["Zahlen / 数字"] and visitor.answer == "One two"


def test_an_answer_goes_on_while_another_conversation_is_shown(visitor, server):
    page = visitor.page
    server.pause = 0.01
    server.says(LONG[:400])
    visitor.ask("Slow")
    page.wait_for_selector(".assistant .markdown p")
    page.keyboard.press("Alt+KeyN")
    assert page.locator(".turn").count() == 0
    page.click(".conversations .open")
    page.wait_for_selector(".turn.assistant")
    visitor.wait()
    assert visitor.answer == LONG[:400].rstrip()


def test_an_answer_that_a_reload_broke_off_is_kept(visitor, server):
    page = visitor.page
    server.pause = 0.01
    server.says(LONG)
    visitor.ask("Slow")
    visitor.wait_until("document.querySelector('.assistant > .markdown')?.innerText.length > 300")
    page.wait_for_timeout(1800)
    page.reload()
    page.wait_for_selector(".assistant .note")
    assert visitor.answer.startswith("Line 0") and page.locator(".problem").inner_text() == "Stopped."


def test_enter_of_an_input_method_sends_nothing(visitor):
    page = visitor.page
    page.fill("#question", "你好")
    page.evaluate(
        """() => document.querySelector('#question').dispatchEvent(
            new KeyboardEvent('keydown', {key: 'Enter', isComposing: true, bubbles: true, cancelable: true}))"""
    )
    assert page.input_value("#question") == "你好" and page.locator(".turn").count() == 0
    page.keyboard.press("Shift+Enter")
    assert page.input_value("#question") == "你好\n"
