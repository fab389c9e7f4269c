"""Prompts of the core's interpreter are those of jinja2: all templates that we have, conversations of all kinds."""

import pytest

from qwen3edge import _core
from qwen3edge.errors import TemplateError, UnsupportedModelError
from qwen3edge.templates.syntax_tree import syntax_tree
from qwen3edge.text.template import ChatTemplate
from tests.templates.corpus import NAMED_TOKENS, SOURCES, Conversations

ALL = pytest.mark.parametrize("name", SOURCES)


class Counted:
    """A tree that counts what it left to jinja2."""

    def __init__(self, source: str) -> None:
        data = syntax_tree(source).data
        assert data is not None
        self.tree, self.left = _core.TemplateTree(data, source), 0

    def render(self, variables: dict, limit: int | None = None) -> str:
        try:
            return self.tree.render(variables, limit)
        except UnsupportedModelError:
            self.left += 1
            raise


def outcome(template: ChatTemplate, settings: dict) -> tuple[str, str]:
    try:
        return "prompt", template.render(settings["messages"], **{k: v for k, v in settings.items() if k != "messages"})
    except TemplateError as error:
        return "refused", str(error)


def compare(name: str, seed: int, count: int) -> None:
    counted = Counted(SOURCES[name])
    ours = ChatTemplate(SOURCES[name], NAMED_TOKENS, tree=counted)
    theirs = ChatTemplate(SOURCES[name], NAMED_TOKENS)
    conversations, prompts = Conversations(seed), 0
    for index in range(count):
        settings = conversations.settings()
        expected = outcome(theirs, settings)
        assert outcome(ours, settings) == expected, (name, seed, index, settings)
        prompts += expected[0] == "prompt"
    print(f"{name}: seed {seed}, {count} conversations, {prompts} prompts, {counted.left} left to jinja2")
    assert prompts > count // 8 and counted.left <= count // 20


@ALL
def test_same_prompts(name):
    compare(name, seed=1, count=60)


@pytest.mark.slow
@ALL
def test_same_prompts_of_many(name):
    compare(name, seed=2, count=1000)
