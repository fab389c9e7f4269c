"""What a start imports, and when."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

import qwen3edge
from qwen3edge.errors import MemoryBudgetError, TemplateError, UnsupportedModelError
from qwen3edge.runtime.program import JINJA2, POSITION, pending_bytes
from qwen3edge.text.template import ChatTemplate
from qwen3edge.text.text_size import COPIES, most_bytes, working_bytes
from tests.generation.fakes import FakeCore, make_session

PROGRAM = """
import json, sys
import qwen3edge
seen = []
def look():
    seen.append([name for name in ("numpy", "tokenizers", "jinja2", "ssl") if name in sys.modules])
model = qwen3edge.load(sys.argv[1], context=128, threads=1)
look()
model.tokenizer.encode("Plain text, and <|im_end|>.")
look()
model.generate([1, 2, 3], max_tokens=2).read()
look()
model.generate("hi", max_tokens=2).read()
look()
model.tokenizer.encode("Größe")
look()
print(json.dumps(seen))
"""


def test_a_library_is_imported_when_it_is_needed(tiny_int4):
    result = subprocess.run([sys.executable, "-c", PROGRAM, tiny_int4], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    stages = [set(names) - {"ssl"} for names in json.loads(result.stdout)]
    assert stages == [set(), set(), set(), set(), set()]  # the core makes prompts


def test_the_plan_counts_what_is_not_loaded_yet(monkeypatch, tiny_int4):
    monkeypatch.setitem(sys.modules, "jinja2", sys)
    texts = working_bytes(0)
    assert texts == COPIES * most_bytes(0)
    assert pending_bytes(text_bytes=texts, jinja2=True) == texts
    assert pending_bytes(100, 3, text_bytes=working_bytes(100)) == COPIES * most_bytes(100) + 300 * POSITION
    monkeypatch.setattr("qwen3edge.generation.opened.stored_tree", lambda file: None)  # of a file of before
    loaded = qwen3edge.plan(tiny_int4, context=128).program
    monkeypatch.delitem(sys.modules, "jinja2")
    assert pending_bytes(text_bytes=texts, jinja2=True) == texts + JINJA2
    assert pending_bytes() == 0
    more = qwen3edge.plan(tiny_int4, context=128).program - loaded
    assert abs(more - JINJA2) < 2 << 20  # what the process holds varies a little


def test_jinja2_is_in_the_plan_only_where_it_renders(monkeypatch, tiny_int4):
    monkeypatch.delitem(sys.modules, "jinja2", raising=False)
    with_tree = qwen3edge.plan(tiny_int4, context=128).program
    monkeypatch.setattr("qwen3edge.generation.opened.stored_tree", lambda file: None)
    assert abs(qwen3edge.plan(tiny_int4, context=128).program - with_tree - JINJA2) < 2 << 20


def test_what_the_core_gives_up_asks_the_budget_before_jinja2(monkeypatch, tiny_int4):
    """A template whose loop goes beyond the core's bounds there, and a budget with no room for the library."""
    monkeypatch.delitem(sys.modules, "jinja2", raising=False)
    peak = qwen3edge.plan(tiny_int4, context=128).peak
    with qwen3edge.load(tiny_int4, context=128, memory=peak + (4 << 20)) as model:
        template = model.prompt_builder.template
        assert template is not None
        assert template.in_core

        def give_up(*_: object) -> str:
            raise UnsupportedModelError("beyond the core")

        monkeypatch.setattr(template, "_tree", SimpleNamespace(render=give_up))
        with pytest.raises(MemoryBudgetError, match=r"9\.8 MiB for jinja2, as the core cannot render"):
            model.generate("hi")
        assert "jinja2" not in sys.modules


@pytest.mark.parametrize("source", ["{% if %}", "{{ x", "{% for %}", "x" * (2 << 20)])
def test_a_template_that_does_not_compile(source):
    template = ChatTemplate(source)
    for _ in range(2):
        with pytest.raises(TemplateError):
            template.render([{"role": "user", "content": "hi"}])
    session = make_session(FakeCore([]), source)
    with pytest.raises(TemplateError):
        session.generate("hi")
    session.generate([1, 2, 3]).read()  # token ids need no template
