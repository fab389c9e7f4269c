"""The table of parameters."""

from qwen3edge.server.openai.chat_body import ChatBody
from qwen3edge.server.parameters import ignored, obeyed
from scripts.parameters import PAGE, written


def test_the_page_has_the_table():
    """To write it anew: python -m scripts.parameters."""
    page = PAGE.read_text(encoding="utf-8")
    assert page == written(page) and "/v1/chat/completions" in page


def test_what_the_table_says():
    assert {"messages", "tools", "seed", "reasoning_effort"} <= set(obeyed(ChatBody))
    assert {"user", "metadata", "store"} <= set(ignored(ChatBody))
    assert not set(obeyed(ChatBody)) & set(ignored(ChatBody))
