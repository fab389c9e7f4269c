"""Expressions and statements in the core's interpreter: what jinja2 puts out, or its error."""

import json
import sys
import threading
import time
import unicodedata
from pathlib import Path

import pytest

from qwen3edge import _core
from qwen3edge.errors import TemplateError, UnsupportedModelError
from qwen3edge.templates.sandbox import BoundedSandbox
from qwen3edge.templates.syntax_tree import syntax_tree
from qwen3edge.text.messages import Arguments
from tests.text.test_template import HOSTILE

SANDBOX = BoundedSandbox()
VARIABLES = {
    "t": "Hällo wörld",
    "ascii": "abc abc",
    "blank": " \n a b\t",
    "empty": "",
    "n": 7,
    "neg": -3,
    "f": 2.5,
    "big": 10**25,
    "huge": float("inf"),
    "yes": True,
    "nothing": None,
    "xs": [3, 1, 2],
    "words": ["b", "A", "c", "a"],
    "rows": [{"k": "b", "n": 2}, {"k": "a", "n": 1, "deep": {"x": [5]}}, {"k": "B"}],
    "d": {"a": 1, "items": "key", "get": 2, "z": {"y": None}, "ü": [1.5, True]},
    "args": Arguments({"x": 1}, '{"x":1}'),
    "lines": "one\ntwo\r\n\nthree\u2028four",
    "marked": "a<\ud800think>é\U00010000\ud800",
}


def tree_of(source: str) -> _core.TemplateTree:
    tree = syntax_tree(source)
    assert tree.data is not None, tree.beyond
    return _core.TemplateTree(tree.data, source)


def of_jinja2(source: str, variables: dict) -> str:
    try:
        return SANDBOX.render_bounded(SANDBOX.compile_bounded(source), variables)
    except TemplateError as error:
        return f"ERROR {error}"


def of_core(source: str, variables: dict) -> str:
    try:
        return tree_of(source).render(variables)
    except TemplateError as error:
        return f"ERROR {error}"


EXPRESSIONS = Path(__file__).parents[1] / "data" / "template-expressions.txt"
SAME = [json.loads(line) for line in EXPRESSIONS.read_text(encoding="utf-8").split("\n") if line.startswith('"')]


@pytest.mark.parametrize("source", SAME, ids=lambda source: source[:50])
def test_same_as_jinja2(source):
    assert of_core(source, VARIABLES) == of_jinja2(source, VARIABLES)


@pytest.mark.parametrize("source", HOSTILE, ids=lambda source: source[:60])
def test_hostile_templates(source):
    """They are refused as with jinja2; or the converter, or the interpreter, leaves them to it."""
    try:
        tree = syntax_tree(source)
    except TemplateError:
        return
    if tree.data is not None:
        with pytest.raises((TemplateError, UnsupportedModelError)):
            _core.TemplateTree(tree.data, source).render({"messages": [{"role": "user", "content": "hi"}]})


BOUNDS = {
    "{% for i in range(100000) %}{% for j in range(9) %}{% endfor %}{% endfor %}": "300000 steps",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}": "nested too deeply",
    "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(40) }}": "300000 steps",
    "{% set n = namespace(a='aa') %}{% for i in range(99) %}{% set n.a = n.a ~ n.a %}{% endfor %}": "4194304",
    "{% set n = namespace(a=[1]) %}{% for i in range(99) %}{% set n.a = n.a + n.a %}{% endfor %}": "100000 items",
    "{% set n = namespace(a='x') %}{% for i in range(60) %}{% set n.a = [n.a, n.a] %}{% endfor %}": "values of at most",
    "{% set n = namespace(a=[]) %}{% for i in range(9999) %}{% set n.a = [n.a] %}{% endfor %}": "nested too deeply",
    "{% set b = 'a' * 4000000 %}{% for i in range(99999) %}{% set c = b[1:] %}{% endfor %}": "makes at most 67108864",
    "{% for i in range(100000) %}{{ 'a' * 100000 }}{% endfor %}": "prompt of at most 4194304",
    "{{ ('a' * 4000000).split('a') | length }}": "100000 items",
    "{% set a = 'x' * 4000000 %}{% for i in range(999) %}{% if 'zz' in a %}{% endif %}{% endfor %}": "most 67108864",
}


@pytest.mark.parametrize("source", BOUNDS, ids=lambda source: source[:60])
def test_bounds(source):
    with pytest.raises(TemplateError, match=BOUNDS[source]):
        tree_of(source).render({})


@pytest.mark.parametrize(
    "source",
    [
        "{% macro m(a) %}{% for x in [1] %}{% set y %}{{ ([m(a)] | first) ~ '' }}{% endset %}{% endfor %}{% endmacro %}"
        "{{ m(1) }}",
        "{% macro m(a) %}{{ m(m(m(m(a)))) }}{% endmacro %}{{ m(1) }}",
        "{% macro m(a=m()) %}{% endmacro %}{{ m() }}",
        "{% set n = namespace(a=1) %}{% for i in range(999) %}{% set n.a = {'x': n.a} %}{% endfor %}",
    ],
)  # fmt: skip
def test_a_small_stack_is_enough(source):
    """Some systems give a thread no more than this."""
    deep = "{% set n = namespace(a=1) %}{% for i in range(299) %}{% set n.a = {'x': n.a} %}{% endfor %}"
    tree, found = tree_of(source), []
    values = tree_of(deep + "{{ n.a | tojson | length }}{{ n.a == n.a }}{{ n.a ~ '' == '' }}")

    def run() -> None:
        with pytest.raises(TemplateError, match="nested too deeply"):
            tree.render({})
        found.append(values.render({}))

    before = threading.stack_size(512 * 1024)
    try:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert found == [f"{299 * 7 + 1}TrueFalse"]


def test_what_holds_itself_is_let_go():
    source = (
        "{% set n = namespace(a=1) %}{% for i in range(30000) %}{% set n.a = namespace(a=n.a) %}{% endfor %}"
        "{% set n.self = n %}{% for x in [n] %}{% set n.loops = [loop, n] %}{% endfor %}{{ n.loops[0].index }}"
    )
    assert tree_of(source).render({}) == "1"


def test_the_limit_of_a_prompt():
    tree = tree_of("{{ 'é' * n }}")
    assert tree.render({"n": 5}, 5) == "é" * 5
    with pytest.raises(TemplateError, match="expected a prompt of at most 4 characters"):
        tree.render({"n": 5}, 4)


@pytest.mark.parametrize(
    "source",
    [
        "{{ big + 1 }}", "{{ x % 2 }}", "{{ 'ΣΑΣ'.lower() }}", "{{ 4611686018427387903 * 4 }}", "{{ range(3) }}",
        "{{ rows | map(attribute='k') }}", "{{ ('a' | safe) | upper }}", "{{ 'é'.title() }}", "{{ '1_0' | int }}",
        "{{ 'a'.startswith('a', 1) }}", "{{ n.real }}", "{{ big < 1 }}", "{{ [0.1] | sum }}",
        "{{ strftime_now('%s') }}",
    ],
)  # fmt: skip
def test_what_is_left_to_jinja2_says_so(source):
    with pytest.raises(UnsupportedModelError, match="which only jinja2 does"):
        tree_of(source).render({**VARIABLES, "x": "%s"})


def test_letters_of_all_languages():
    """As in this Python's tables, for characters that both know."""
    tree = tree_of("{{ t.upper() }}\n{{ u.lower() }}\n{{ [t] }}")
    codes = [*range(0x20000), *range(0xE0000, 0xE0200), sys.maxunicode]  # between them nothing has a case
    known = [chr(c) for c in codes if unicodedata.category(chr(c)) not in ("Cn", "Cs")]
    text = "".join(c for c in known if c not in "Σ\n" and known_to_unicode_14(c))
    found = tree.render({"t": text, "u": text}).split("\n")
    assert found == [text.upper(), text.lower(), repr([text])]


def known_to_unicode_14(character: str) -> bool:
    return unicodedata.unidata_version <= "14.0.0" or unicodedata.ucd_3_2_0.category(character) != "Cn"


def test_the_clock():
    pattern = "%Y-%m-%d %H:%M %A %j %b %%"
    tree = tree_of("{{ strftime_now(p) }}")
    while True:
        before = time.strftime(pattern)
        found = tree.render({"p": pattern})
        if before == time.strftime(pattern):
            break
    assert found == before
