"""Somebody who looks at the page: what a person does with it, and what one sees."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


class Visitor:
    """In a browser that keeps things, as long as the visitor lives. Everything that the browser complains about is kept
    in `complaints`, every address that it asked for in `asked`.
    """

    def __init__(self, browser: Any, url: str, size: dict[str, int] = WIDE, **context: Any) -> None:
        self.url, self.complaints, self.asked = url, [], []
        options = {"viewport": size, "locale": "en-US", "color_scheme": "light", "reduced_motion": "reduce"}
        self.context = browser.new_context(**{**options, **context})
        self.context.set_default_timeout(15_000)
        self.page = self.look()

    def look(self) -> Any:
        """Opens the page in another tab."""
        page = self.context.new_page()
        page.on(
            "console", lambda each: self.complaints.append(each.text) if each.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(self.url)
        page.wait_for_selector(".picker:not(:disabled), dialog")
        return page

    def ask(self, text: str) -> None:
        """Types and sends it, and waits for the first of the answer."""
        self.page.fill("#question", text)
        self.page.keyboard.press("Enter")

    def wait(self) -> None:
        """Until the answer has ended."""
        self.page.wait_for_selector(".assistant:last-child:not(.running) .actions > *")

    def wait_until(self, script: str) -> None:
        """script: an expression that becomes true."""
        self.page.wait_for_function(f"() => {script}")

    @property
    def question(self) -> str:
        """The last."""
        return self.page.locator(".user .bubble").last.inner_text()

    @property
    def answer(self) -> str:
        """The last, without its thoughts."""
        return self.page.locator(".assistant > .markdown").last.inner_text()

    @property
    def titles(self) -> list[str]:
        """Of the list of conversations."""
        return self.page.locator(".conversations .open").all_inner_texts()

    def focused(self) -> str:
        """What a screen reader would call it."""
        script = """() => { const e = document.activeElement;
            return e.getAttribute('aria-label') ?? e.labels?.[0]?.innerText ?? e.innerText.trim(); }"""
        return self.page.evaluate(script)

    def open_list(self) -> None:
        """Of conversations, where it is not there already."""
        if not self.page.locator(".sidebar").is_visible():
            self.page.locator("header .icon-button").first.click()

    def close(self) -> None:
        self.context.close()


@contextmanager
def visiting(*arguments: Any, **options: Any) -> Any:
    """A visitor who must leave content: no complaint of the browser, and nothing asked of any other server."""
    visitor = Visitor(*arguments, **options)
    try:
        yield visitor
        assert visitor.complaints == []
        assert all(each.startswith((visitor.url, f"blob:{visitor.url}")) for each in visitor.asked), visitor.asked
    finally:
        visitor.close()
