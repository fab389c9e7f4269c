"""The pictures of docs/server.md: `python scripts/screenshots.py WIDE.q3e PHONE.q3e`, two models that answer in them.

Those in the repository are of Qwen2.5-Coder-0.5B-Instruct in int4 and of the tiny model that `make demo` packs. Needs
playwright, Pillow and a Chromium of the system.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
COLOURS = 256  # of a picture, which keeps it small
PATIENCE_MS = 300_000
WIDE = {"viewport": {"width": 1280, "height": 800}, "locale": "en-US", "color_scheme": "dark"}
PHONE = {
    "viewport": {"width": 390, "height": 700}, "locale": "zh-CN", "color_scheme": "light", "device_scale_factor": 2,
    "has_touch": True, "is_mobile": True,
}  # fmt: skip
EARLIER = ("Compare TCP and UDP in a table.", "What does `git rebase` do?")
CODE = "Write a Python function that tests whether a number is prime."
SUM = "47 + 38 等于多少？"


@contextmanager
def serving(model: Path) -> Iterator[str]:
    """The address of a server of that model."""
    command = [sys.executable, "-m", "qwen3edge", "serve", str(model), "--port", "0", "--memory", "1GiB"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://[\d.]+:\d+", process.stdout.readline())
        if found is None:
            sys.exit(f"expected {model} to be served, found an error above")
        yield f"{found[0]}/"
        process.terminate()


def ask(page: Any, question: str, tokens: int) -> None:
    """Sends it in a new conversation, and waits for the end. The same answer comes each time."""
    page.keyboard.press("Alt+KeyN")
    settings = {"sampling": {"seed": 1, "max_tokens": tokens}}
    page.evaluate("(given) => localStorage.setItem('qwen3edge.settings', JSON.stringify(given))", settings)
    page.reload()
    page.wait_for_selector(".picker:not(:disabled)")
    page.fill("#question", question)
    page.keyboard.press("Enter")
    page.wait_for_selector(".assistant .again", timeout=PATIENCE_MS)


def save(page: Any, name: str) -> None:
    """As a picture of docs/."""
    path = ROOT / "docs" / f"{name}.png"
    page.wait_for_timeout(500)  # until all figures are there
    page.screenshot(path=path)
    Image.open(path).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")


def main() -> None:
    """Makes both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wide", type=Path, help="a model that writes code")
    parser.add_argument("phone", type=Path, help="a model that thinks, and adds")
    models = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        with serving(models.wide) as address:
            page = browser.new_context(**WIDE).new_page()
            page.goto(address)
            for question in EARLIER:
                ask(page, question, tokens=8)
            page.keyboard.press("Alt+KeyS")
            ask(page, CODE, tokens=400)
            page.evaluate("document.querySelector('.scroller').scrollTop = 0")
            save(page, "page")
        with serving(models.phone) as address:
            page = browser.new_context(**PHONE).new_page()
            page.goto(address)
            ask(page, SUM, tokens=200)
            page.click(".thoughts summary")
            save(page, "page-phone")
        browser.close()


if __name__ == "__main__":
    main()
