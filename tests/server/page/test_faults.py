"""What the page does where something is wrong: it says what, and what can be done, and loses nothing."""

import json

import pytest

from tests.server.page.running import Running
from tests.server.page.visitor import Visitor, visiting

pytestmark = pytest.mark.slow


def test_the_server_goes_away_and_comes_back(browser, server):
    visitor = Visitor(browser, server.url)  # whose browser complains of each request
    page = visitor.page
    server.pause = 0.02
    server.says("Words that come slowly. " * 20)
    visitor.ask("Slow")
    visitor.wait_until("document.querySelector('.assistant > .markdown')?.innerText.length > 30")
    server.go_away()
    page.wait_for_selector("[role=alert] >> text=The connection broke off.")
    page.wait_for_selector(".gone >> text=The server does not answer.", timeout=40_000)
    assert visitor.answer.startswith("Words that come slowly.")
    server.pause = 0
    server.says("Here again.")
    server.come_back()
    page.wait_for_selector(".gone", state="hidden")
    page.click(".failure >> text=Try again")
    visitor.wait_until("document.querySelector('.assistant > .markdown').innerText === 'Here again.'")
    page.reload()
    page.wait_for_selector(".assistant .branches")
    page.click(".assistant [aria-label='The branch before']")
    assert visitor.answer.startswith("Words that come slowly.") and "broke off" in page.locator(".failure").inner_text()
    visitor.close()


def test_a_page_that_opens_before_its_server_is_back(browser, server):
    visitor = Visitor(browser, server.url)
    visitor.context.route("**/v1/models", lambda route: route.abort())
    visitor.context.route("**/props", lambda route: route.abort())
    visitor.page.reload()
    visitor.page.wait_for_selector(".gone >> text=The server does not answer.")
    assert visitor.page.locator(".send").first.is_disabled()
    visitor.context.unroute("**/v1/models")
    visitor.context.unroute("**/props")
    visitor.page.wait_for_selector(".gone", state="hidden")
    visitor.page.wait_for_selector(".picker:not(:disabled)")
    visitor.close()


def test_the_context_is_full(visitor, server):
    """The server's words with both sizes, and a way on."""
    page = visitor.page
    question = "long " * 500
    visitor.ask(question)
    page.wait_for_selector(".failure")
    shown = page.locator(".failure").inner_text()
    assert "no longer fits" in shown and "2000" in shown and "larger --context" in shown
    page.click("button >> text=Ask in a new conversation")
    assert page.locator(".turn").count() == 0 and page.input_value("#question") == question.strip()
    assert visitor.focused() == "Your question"
    visitor.complaints.remove(next(each for each in visitor.complaints if "400 (Bad Request)" in each))


def test_an_answer_that_fills_the_context(browser, tmp_path):
    server = Running(tmp_path, context=64)
    with visiting(browser, server.url) as visitor:
        server.says("x" * 100)
        visitor.ask("Go on")
        visitor.wait()
        assert visitor.page.locator(".problem").inner_text().startswith("Cut off: the context of 64 tokens is full.")
        visitor.page.keyboard.press("Alt+KeyS")
        visitor.page.fill("#max_tokens", "3")
        visitor.page.keyboard.press("Alt+KeyR")
        visitor.wait_until("document.querySelector('.problem').innerText.startsWith('Cut off at the limit')")
        assert visitor.answer == "xxx"
    server.close()


def test_a_request_that_is_refused(visitor, server):
    """With the server's words."""
    page = visitor.page
    page.keyboard.press("Alt+KeyS")
    page.click("text=Hold answers to a JSON schema")
    page.fill("#form-json", '{"type": "nothing"}')
    visitor.ask("Hi")
    page.wait_for_selector(".failure .said")
    assert "The server did not accept this request." in page.locator(".failure").inner_text()
    assert "nothing" in page.locator(".said").inner_text()
    visitor.complaints.remove(next(each for each in visitor.complaints if "400 (Bad Request)" in each))


def test_a_busy_server_says_when(visitor, server):
    body = {"error": {"message": "the queue is full", "type": "rate_limit_error", "param": None, "code": "queue_full"}}
    busy = {
        "status": 429,
        "headers": {"Retry-After": "2"},
        "content_type": "application/json",
        "body": json.dumps(body),
    }
    visitor.context.route("**/v1/chat/completions", lambda route: route.fulfill(**busy))
    visitor.ask("Hi")
    button = visitor.page.locator(".failure button")
    button.wait_for()
    assert button.is_disabled() and button.inner_text().startswith("Try again in ")
    assert "the queue is full" in visitor.page.locator(".failure").inner_text()
    visitor.context.unroute("**/v1/chat/completions")
    server.says("Now.")
    visitor.page.click("button:not(:disabled):text-is('Try again')")
    visitor.wait_until("document.querySelector('.assistant > .markdown').innerText === 'Now.'")
    visitor.complaints.remove(next(each for each in visitor.complaints if "429" in each))


def test_an_error_within_a_stream(visitor, server):
    """The server has begun well; then its engine fails."""
    server.pause = 0.02
    server.says("Words that come slowly. " * 20)
    visitor.ask("Slow")
    visitor.wait_until("document.querySelector('.assistant > .markdown')?.innerText.length > 30")
    server.scripted.core.failing = RuntimeError("broken")
    visitor.page.wait_for_selector(".failure")
    assert "Something went wrong on the server." in visitor.page.locator(".failure").inner_text()
    assert visitor.answer.startswith("Words that come slowly.")


def test_a_server_with_a_key(browser, tmp_path):
    """It is asked for, again if it is wrong, and forgotten with the tab."""
    server = Running(tmp_path, keys=("secret",))
    visitor = Visitor(browser, server.url)
    page = visitor.page
    page.wait_for_selector("dialog >> text=This server has a key")
    assert visitor.focused() == "API key"
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog #key:focus")
    page.wait_for_function("() => document.querySelector('#key').value === ''")
    page.keyboard.type("secret")
    page.keyboard.press("Enter")
    page.wait_for_selector(".picker:not(:disabled)")
    server.says("Open.")
    visitor.ask("Hi")
    visitor.wait()
    assert visitor.answer == "Open."
    page.reload()
    page.wait_for_selector(".picker:not(:disabled)")
    assert page.locator("dialog").count() == 0
    assert page.evaluate("Object.values(sessionStorage).concat(Object.values(localStorage))").count("secret") == 1
    other = visitor.look()
    other.wait_for_selector("dialog >> text=This server has a key")
    visitor.close()
    server.close()


def test_a_browser_that_keeps_nothing(browser, server):
    """It works as long as the page is open, and says so."""
    visitor = Visitor(browser, server.url)
    visitor.page.close()
    visitor.context.add_init_script(
        """for (const name of ['localStorage', 'sessionStorage', 'indexedDB'])
            Object.defineProperty(window, name, {get() { throw new DOMException('no', 'SecurityError'); }});"""
    )
    visitor.page = visitor.look()
    assert "keeps nothing" in visitor.page.locator(".told").inner_text()
    server.says("Yes.")
    visitor.ask("Hi")
    visitor.wait()
    visitor.page.keyboard.press("Alt+KeyN")
    visitor.page.click(".conversations .open")
    assert (visitor.question, visitor.answer) == ("Hi", "Yes.")
    assert visitor.complaints == []
    visitor.close()
