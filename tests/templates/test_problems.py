"""What is said of a template before it meets a message."""

import json
from pathlib import Path

import pytest

from qwen3edge.templates.given import WAY_OUT
from qwen3edge.templates.problems import template_problem

TINY = Path(__file__).parents[1] / "data" / "tiny-qwen3" / "tokenizer_config.json"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("a\n{% frobnicate %}", "malformed in line 2: Encountered unknown tag 'frobnicate'"),
        ("{% if x %}", "malformed in line 1"),
        ("{{ x | frob }}", "No filter named 'frob'"),
        ("{% if y %}\n{{ x | frob }}{% endif %}", "not known here: the filter 'frob' in line 2"),
        ("{% if y %}{{ x is frob }}{% endif %}", "the test 'frob' in line 1"),
        (
            "{{ x | map('frob') | list }}{{ x | selectattr('a', 'frob') | list }}",
            "'frob' in line 1, the test",
        ),
        ("{{ x | reject('frob') | list }}", "the test 'frob'"),
        ("{% if y %}{{ lipsum(3) }}{% endif %}", "the function 'lipsum' in line 1"),
        ("{{ x.encode('utf-8') }}", "the method 'encode'"),
        ("{% include 'other.jinja' %}", "another file in line 1"),
        ("".join("{% if y %}{{ x | f" + str(i) + " }}{% endif %}" for i in range(9)), "'f3' in line 1 and 5 more"),
    ],
)
def test_one_line_with_a_way_out(source, words):
    problem = template_problem(source)
    assert words in problem and problem.endswith(WAY_OUT) and "\n" not in problem


@pytest.mark.parametrize(
    "source",
    [
        json.loads(TINY.read_text())["chat_template"],
        "{% macro m(a) %}{{ a }}{{ caller() }}{% endmacro %}{% call m(1) %}x{% endcall %}",
        "{% for x in messages recursive %}{{ loop(x.children) }}{% endfor %}",
        "{% set ns = namespace(a=1) %}{{ raise_exception('x') if false }}{{ strftime_now('%Y') }}{{ range(3) }}",
        "{% set f = joiner(', ') %}{{ f() }}{% generation %}{{ messages | tojson }}{% endgeneration %}",
        "{{ x | map(attribute='a') | select | list }}{{ messages | selectattr('role', 'in', ['a']) | list }}",
        "plain",
    ],
)
def test_nothing_to_say(source):
    assert template_problem(source) is None
