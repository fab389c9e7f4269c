"""Filters, methods and formats do as in jinja2's own sandbox, which is transformers' environment."""

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment

from qwen3edge.errors import TemplateError
from qwen3edge.templates.sandbox import BoundedSandbox

THEIRS = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
OURS = BoundedSandbox()
FAILED = object()

TEXTS = st.text(st.sampled_from("ab é\n\r\t\u2028%{}<&中"), max_size=30)
WIDTHS = st.integers(-3, 30)
VALUES = st.one_of(TEXTS, st.integers(-(10**6), 10**6), st.floats(-1e9, 1e9), st.booleans(), st.none())
ROWS = st.lists(st.fixed_dictionaries({"k": TEXTS, "n": st.integers(0, 3)}), max_size=12)
WIDTH = st.sampled_from(["", "5", "-8", "08", ".2", "+6", "10.3", "#", "999"])
CONVERSION = st.builds("%{}{}".format, WIDTH, st.sampled_from("sdfxrcge%"))
PATTERN = st.lists(st.one_of(CONVERSION, TEXTS), max_size=4).map("".join)
FIELD = st.builds("{{{}:{}}}".format, st.sampled_from(["", "0", "1", "a", "a.b", "0!r"]), WIDTH)


def same(source: str, **variables: object) -> None:
    """Both render it to the same text, or both refuse."""
    try:
        expected: object = THEIRS.from_string(source).render(**variables)
    except Exception:  # of Python's and jinja2's there are many kinds
        expected = FAILED
    try:
        found: object = OURS.render_bounded(OURS.compile_bounded(source), variables)
    except TemplateError:
        found = FAILED
    assert found == expected or (found is expected is FAILED), (source, variables)


@given(TEXTS, st.one_of(WIDTHS, TEXTS), st.booleans(), st.booleans())
def test_indent(text, width, first, blank):
    same("[{{ text | indent }}][{{ text | indent(w, f, b) }}][{{ text | indent(width=w, blank=b) }}]",
         text=text, w=width, f=first, b=blank)  # fmt: skip


@given(st.one_of(TEXTS, st.integers()), WIDTHS)
def test_center_and_its_like(value, width):
    same("[{{ value | center }}][{{ value | center(w) }}]", value=value, w=width)
    for method in ("center", "ljust", "rjust", "zfill", "expandtabs"):
        same("[{{ value." + method + "(w) }}]", value=value, w=width)
    same("[{{ value.ljust(w, '.') }}][{{ value.expandtabs(tabsize=w) }}]", value=value, w=width)


@given(st.one_of(st.lists(VALUES, max_size=12), TEXTS), st.integers(-1, 9), st.one_of(st.none(), TEXTS))
def test_batch_and_slice(values, count, fill):
    for name in ("batch", "slice"):
        same("{% for row in values | " + name + "(n) %}{{ loop.index }}{{ row }};{% endfor %}", values=values, n=count)
        same("{{ values | " + name + "(n, fill) | list }}", values=values, n=count, fill=fill)
        same("{{ values | reverse | " + name + "(n) | list }}", values=values, n=count)  # of an iterator


@given(ROWS, st.booleans())
def test_groupby(rows, sensitive):
    for of in ("'k'", "'n'", "attribute='k', case_sensitive=s", "'absent', default='x'"):
        same(
            "{% for key, items in rows | groupby(" + of + ") %}{{ key }}:{{ items }};{% endfor %}"
            "{% for group in rows | groupby(" + of + ") %}{{ group.grouper }}{{ group.list | length }}{% endfor %}",
            rows=rows, s=sensitive,
        )  # fmt: skip


@given(PATTERN, st.lists(VALUES, max_size=3))
def test_percent_formats(pattern, values):
    arguments = "".join(f", values[{i}]" for i in range(len(values)))[2:]
    same("{{ p | format(" + arguments + ") }}", p=pattern, values=values)
    same("{{ p % values }}{{ p % (1,) }}", p=pattern, values=values)
    if values:
        same("{{ p % (" + arguments + ",) }}", p=pattern, values=values)
        same("{{ p % values[0] }}", p=pattern, values=values)


@given(st.lists(st.one_of(st.sampled_from(["%(a)s", "%(b)-9s", "%%", "%(a)05d", "%(c)s"]), TEXTS)).map("".join), VALUES)
def test_percent_formats_by_name(pattern, value):
    same("{{ p | format(a=v, b='x') }}", p=pattern, v=value)
    same("{{ p % {'a': v, 'b': 1} }}", p=pattern, v=value)


@given(st.lists(st.one_of(FIELD, TEXTS), max_size=4).map("".join), VALUES)
def test_format_method(pattern, value):
    same("{{ p.format(v, 'x', a=v) }}", p=pattern, v=value)


@given(TEXTS, st.integers(-1, 30), st.booleans(), st.integers(0, 1 << 40))
def test_the_others(text, length, kill, size):
    same("{{ t | truncate(n, k) }}[{{ t | truncate(n, k, '..', 0) }}]", t=text, n=length, k=kill)
    same("{{ t | wordcount }} {{ s | filesizeformat }} {{ s | filesizeformat(true) }} {{ t | forceescape }}", t=text,
         s=size)  # fmt: skip
    same("{{ [t, t] | map('indent', 2, true) | join }}{{ [3, 1] | map('format', 'x') | list }}", t=text)


@pytest.mark.parametrize("name", sorted(jinja2.Environment().filters))
def test_every_filter_of_jinja2_is_known_or_left_out_on_purpose(name):
    left_out = {"pprint", "random", "striptags", "urlencode", "urlize", "wordwrap", "xmlattr"}
    assert (name in OURS.filters) != (name in left_out)
