"""Whether a prompt stands in thoughts, and what ends them: by ids, and by text where the tags are no tokens."""

import pytest

from qwen3edge.errors import RequestError
from qwen3edge.text.prompt import PromptBuilder
from qwen3edge.text.template import ChatTemplate
from qwen3edge.text.tokenizer import Tokenizer
from tests.generation.fakes import CLOSE, OPEN, TEMPLATE, ids, make_tokenizer, plain_tokenizer

START = "<|im_start|>"
HI = [{"role": "user", "content": "hi"}]
BOTH = pytest.mark.parametrize("tokenizer", [make_tokenizer(), plain_tokenizer()], ids=["tokens", "text"])
ENDS = [
    ("", None), ("<think>", True), ("<think>\n", True), ("<think>\n\n</think>\n\n", False), ("</think>", False),
    ("<think>\nLet me", True), ("<think>hm</think>\n\nIt is", False), ("<think></think>\n<think>", True),
]  # fmt: skip


@BOTH
@pytest.mark.parametrize(("end", "opened"), ENDS)
def test_ends_of_templates(tokenizer, end, opened):
    """What stands before the assistant's turn does not count; and templates that switch."""
    template = "{{ messages[0].content }}" + f"{START}assistant\n" + end
    for source in (template, template + "{% if enable_thinking %}{% endif %}"):
        for content in ("hi", "what is <think>", "and </think>?"):
            messages = [{"role": "user", "content": content}]
            prompt = PromptBuilder(tokenizer, ChatTemplate(source)).prompt(messages, tags_as_text=False)
            switches = source != template
            assert (prompt.reasoning, prompt.thinking) == (opened is True, switches if opened is None else opened)


@BOTH
def test_texts_and_tokens(tokenizer):
    builder = PromptBuilder(tokenizer, None)
    for end, opened in ENDS:
        text = f"{START}assistant\n{end}"
        for request in (text, tokenizer.encode(text, allow_special=True)):
            assert builder.prompt(request, raw=isinstance(request, str)).reasoning is (opened is True)
    assert builder.prompt("is it?<think> ", raw=True).reasoning and not builder.prompt("it", raw=True).reasoning
    assert builder.prompt("it", raw=True, thinking=True).thinking


def test_what_users_say_opens_nothing():
    """Neither in a turn before, nor in a prompt without turns, where only its end is the template's for sure."""
    builder = PromptBuilder(plain_tokenizer(), ChatTemplate("User: {{ messages[0].content }}\nAssistant:"))
    assert not builder.prompt([{"role": "user", "content": "what is <think>"}]).reasoning
    builder = PromptBuilder(plain_tokenizer(), ChatTemplate("User: {{ messages[0].content }}\nAssistant: <think>\n"))
    assert builder.prompt([{"role": "user", "content": "what is </think>"}]).reasoning


def test_one_tag_is_a_token():
    """The other one's text counts behind it."""
    kinds = [1] * 256 + [3, 3, 3, 4, 5, 4, 4]
    builder = PromptBuilder(plain_tokenizer(token_type=kinds), None)
    for tokens, opened in [
        ([OPEN], True), ([OPEN, *ids("</think>")], False), ([*ids("</think>"), OPEN], True),
        ([OPEN, *ids("hm </think> x")], False), (ids("<think>"), False), ([CLOSE], False),
    ]:  # fmt: skip
        assert builder.prompt([257, *tokens]).reasoning is opened, tokens


@BOTH
def test_what_ends_thoughts(tokenizer):
    builder = PromptBuilder(tokenizer, None)
    close = [CLOSE] if tokenizer.token_id("</think>") is not None else ids("</think>")
    assert builder.end_of_thoughts("") == close
    assert builder.end_of_thoughts(" Enough.") == [*ids(" Enough."), *close]


@BOTH
def test_ways_of_thinking(tokenizer):
    """A model thinks if its template can switch thoughts off, whatever its vocabulary."""
    builder = PromptBuilder(tokenizer, ChatTemplate(TEMPLATE))
    assert [builder.prompt(HI, thinking=way).thinking for way in (None, True, False)] == [True, True, False]
    with pytest.raises(RequestError, match="does not think"):
        PromptBuilder(tokenizer, ChatTemplate("{{ messages[0].content }}")).prompt(HI, thinking=True)
    opened = PromptBuilder(tokenizer, ChatTemplate(f"{START}<think>\n"))
    with pytest.raises(RequestError, match="always thinks"):
        opened.prompt(HI, thinking=False)


def test_the_tokenizers_differ_in_the_tags_alone():
    plain: Tokenizer = plain_tokenizer()
    assert plain.token_id("<think>") is plain.token_id("</think>") is None
    assert plain.token_id("<tool_call>") == make_tokenizer().token_id("<tool_call>") is not None
