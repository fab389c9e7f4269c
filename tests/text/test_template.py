import json
import time

import pytest
from transformers import AutoTokenizer

from qwen3edge.errors import RequestError, TemplateError
from qwen3edge.templates import sandbox
from qwen3edge.text.template import ChatTemplate

HI = [{"role": "user", "content": "hi"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Das Wetter – <heute> & morgen",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Köln"}}}

CONVERSATIONS = [
    HI,
    [{"role": "system", "content": "Be kind."}, *HI],
    [*HI, {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "bye /no_think"}],
    [*HI, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello."}, *HI],
    [*HI, {"role": "assistant", "content": "Hello.", "reasoning_content": "hm"}],
    [
        *HI,
        {"role": "assistant", "content": "Let me look.", "reasoning_content": "hm", "tool_calls": [CALL, CALL]},
        {"role": "tool", "content": "rain"},
        {"role": "tool", "content": '{"sun": true}'},
    ],
    [*HI, {"role": "assistant", "content": "", "tool_calls": [CALL]}, {"role": "tool", "content": "rain"}, *HI],
]


@pytest.fixture(scope="module")
def qwen(tiny_model_path):
    """The template of Qwen3, in our hands and in transformers'."""
    config = json.loads((tiny_model_path / "tokenizer_config.json").read_text())
    return ChatTemplate(config["chat_template"]), AutoTokenizer.from_pretrained(tiny_model_path)


@pytest.mark.parametrize("messages", CONVERSATIONS)
@pytest.mark.parametrize("tools", [None, [TOOL]])
@pytest.mark.parametrize("thinking", [None, True, False])
@pytest.mark.parametrize("generate", [True, False])
def test_same_prompt_as_transformers(qwen, messages, tools, thinking, generate):
    ours, theirs = qwen
    settings = {} if thinking is None else {"enable_thinking": thinking}
    expected = theirs.apply_chat_template(
        messages, tools=tools, add_generation_prompt=generate, tokenize=False, **settings
    )
    assert ours.render(messages, tools=tools, thinking=thinking, generate=generate) == expected


def test_openai_forms_mean_the_same(qwen):
    ours, _ = qwen
    theirs = {"role": "assistant", "content": None, "tool_calls": [
        {"id": "call_1", "index": 0, "type": "function",
         "function": {"name": "weather", "arguments": '{"city": "Köln"}'}}], "refusal": None}  # fmt: skip
    parts = {"role": "user", "content": [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]}
    plain = [*HI, {"role": "assistant", "content": "", "tool_calls": [CALL["function"]]}]
    assert ours.render([parts, theirs]) == ours.render(plain)


def test_thinking_can_be_switched(qwen):
    assert qwen[0].switches_thinking
    assert not ChatTemplate("{{ messages }}").switches_thinking


@pytest.mark.parametrize(
    "messages",
    [
        [], {}, None, "hi", b"hi", 5, [5], ["hi"], [[]], [{}], [{"role": "user"}], [{"role": "king", "content": "x"}],
        [{"role": "user", "content": 5}], [{"role": "user", "content": None}], [{"role": "user", "content": b"x"}],
        [{"role": "user", "content": {"text": "x"}}], [{"role": "user", "content": ["x"]}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}],
        [{"role": "user", "content": [{"type": "text", "text": 5}]}],
        [{"role": None, "content": "x"}], [{"role": ["user"], "content": "x"}],
        [{"role": "assistant", "content": "x", "reasoning_content": 5}],
        [{"role": "assistant", "content": "x", "tool_calls": "y"}],
        [{"role": "assistant", "content": "x", "tool_calls": [5]}],
        [{"role": "assistant", "content": "x", "tool_calls": [{"function": {"name": 5}}]}],
        [{"role": "assistant", "content": "x", "tool_calls": [{"name": "f", "arguments": "{"}]}],
        [{"role": "assistant", "content": "x", "tool_calls": [{"name": "f", "arguments": "[" * 100_000}]}],
        [{"role": "assistant", "content": "x", "tool_calls": [{"name": "f", "arguments": [1]}]}],
        [{"role": "assistant", "content": "x", "tool_calls": [{"name": "f", "arguments": {"a": object()}}]}],
        [{"role": "user", "content": "x", "tool_calls": [{"name": "f", "arguments": {}}]}],
    ],
)  # fmt: skip
def test_messages_of_a_wrong_form(qwen, messages):
    with pytest.raises(RequestError):
        qwen[0].render(messages)


def test_nested_without_end(qwen):
    tool: dict = {"name": "f"}
    tool["self"] = tool
    with pytest.raises(RequestError, match="nested"):
        qwen[0].render(HI, tools=[tool])


HOSTILE = [
    "{{ ''.__class__.__mro__ }}",
    "{{ messages.__init__.__globals__ }}",
    "{{ cycler.__init__.__globals__.os }}",
    "{{ messages.append(1) }}",
    "{{ messages[0].update({}) }}",
    "{{ 'x'.format_map({}) }}",
    "{{ range(10**9) | list }}",
    "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    "{% for i in range(100000) %}{{ 'a' * 100000 }}{% endfor %}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
    "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(40) }}",
    "{% for x in [[1]] recursive %}{{ loop([x]) }}{% endfor %}",
    "{{ 'a' * 10**9 }}",
    "{{ [0] * 10**9 }}",
    "{{ 10**10**10 }}",
    "{% set n = namespace(a=3) %}{% for i in range(99) %}{% set n.a = n.a * n.a %}{% endfor %}",
    "{% set n = namespace(a='aa') %}{% for i in range(99) %}{% set n.a = n.a ~ n.a %}{% endfor %}",
    "{% set n = namespace(a='aa') %}{% for i in range(99) %}{% set n.a = n.a + n.a %}{% endfor %}",
    "{% set n = namespace(a=[1]) %}{% for i in range(99) %}{% set n.a = n.a + n.a %}{% endfor %}",
    "{% set n = namespace(a='aa') %}{% for i in range(99) %}{% set n.a = (n.a, n.a) | join %}{% endfor %}",
    "{% set n = namespace(a='aa') %}{% for i in range(99) %}{% set n.a = n.a | replace('a', 'aa') %}{% endfor %}",
    "{% set n = namespace(a='aa') %}{% for i in range(99) %}{% set n.a = n.a.replace('a', 'aa') %}{% endfor %}",
    "{% set n = namespace(a='aa') %}{% for i in range(99) %}{% set n.a = [n.a, n.a] | tojson %}{% endfor %}",
    "{% set x %}{% for i in range(100000) %}{{ 'a' * 4000000 }}{% endfor %}{% endset %}",
    "{% set n = namespace(a=[]) %}{% for i in range(99999) %}{% set n.a = n.a + ['a' * 4000000] %}{% endfor %}",
    "{% set n = namespace(a=[]) %}{% set b = 'a' * 4000000 %}{% for i in range(999) %}"
    "{% set n.a = n.a + [b | upper] %}{% endfor %}",
    "{% set b = 'a' * 4000000 %}{% for i in range(99999) %}{% set c = b[1:] %}{% endfor %}",
    "{% set n = namespace(a=[]) %}{% set b = 'a' * 4000000 %}{% for i in range(999) %}"
    "{% set n.a = n.a + [b[1:]] %}{% endfor %}",
    "{{ ('a' * 4000000).split('a') | length }}",
    "{{ 'x'.ljust(10**9) }}",
    "{{ 'x' | center(10**9) }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '{:1000000000}'.format(1) }}",
    "{{ [1] | tojson(indent=10**9) }}",
    "{{ '%*d' % (10**9, 1) }}",
    "{{ '%.1000000000f' % 1 }}",
    "{{ '%(a)1000000000d' % {'a': 1} }}",
    "{{ '%(a(b))1000000000d' % {'a(b)': 1} }}",
    "{{ '%%%1000000000d' | format(1) }}",
    "{{ ('%(a)s' * 99999) % {'a': 'x' * 99999} }}",
    "{{ ('%999d' * 99999) % ([1] * 99999) | list }}",
    "{{ '{:{w}}'.format(1, w=10**9) }}",
    "{{ '{0:\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661d}'.format(1) }}",
    "{{ ('{0}' * 99999).format('x' * 99999) }}",
    "{{ '{0.__class__.__mro__}'.format('x') }}",
    "{{ '\t'.expandtabs(10**9) }}",
    "{{ 'x'.expandtabs(tabsize=10**9).zfill(10**9) }}",
    "{{ ('x\n' * 99999) | indent(10**9) }}",
    "{{ ('x\n' * 99999) | indent('x' * 99999) }}",
    "{{ ('\u2028' * 999999) | indent | length }}",
    "{{ ('a\n' * 1999999).splitlines() | length }}",
    "{{ ('a ' * 1999999).split() | length }}",
    "{{ ('a ' * 1999999).rsplit(sep=none) | length }}",
    "{{ [1] | batch(10**9, 0) | list }}",
    "{{ ('a' * 4000000) | batch(1) | list | length }}",
    "{{ [1] | slice(10**9) | list }}",
    "{% for row in range(99999) | map(attribute='x', default='x' * 4000000) | batch(9999) %}{{ row ~ 1 }}{% endfor %}",
    "{% for i in range(99999) %}{% if range(99999) | sum %}{% endif %}{% endfor %}",
    "{% set n = range(99999) | list %}{% for i in range(99999) %}{% if n | min %}{% endif %}{% endfor %}",
    "{% set n = range(99999) | list %}{% for i in range(99999) %}{% if n.count(-1) %}{% endif %}{% endfor %}",
    "{% set n = [''] * 99999 %}{% for i in range(99999) %}{% if ''.join(n) %}{% endif %}{% endfor %}",
    "{% set a = 'x' * 4000000 %}{% for i in range(99999) %}{% if a.find('zz') == 1 %}{% endif %}{% endfor %}",
    "{% set a = 'x' * 4000000 %}{% for i in range(99999) %}{% if a | wordcount == 2 %}{% endif %}{% endfor %}",
    "{{ lipsum(10**9) }}",
    "{{ strftime_now('%Y' * 10**6) }}",
    "{% set n = namespace(a=['x']) %}{% for i in range(60) %}{% set n.a = [n.a, n.a] %}{% endfor %}{{ n.a | tojson }}",
    "{% set n = namespace(a={}) %}{% for i in range(60) %}{% set n.a = {'x': n.a, 'y': n.a} %}{% endfor %}{{ n.a }}",
    "{% set n = namespace(a=(1,)) %}{% for i in range(60) %}{% set n.a = (n.a, n.a) %}{% endfor %}{{ n.a ~ '' }}",
    "{% set n = namespace(a=1) %}{% for i in range(60) %}{% set n.a = dict(a=n.a, b=n.a) %}{% endfor %}{{ n.a }}",
    "{{ [messages] * 99999 * 99999 }}",
    "{% set m = ['x' * 1000] * 50000 %}{{ [m] | tojson }}",
    "{% set a = 'x' * 4000000 %}{% for i in range(99999) %}{% if 'zz' in a %}{% endif %}{% endfor %}",
    "{{ [" + "1," * 500_000 + "] }}",
    "{{ {" + "'a':1," * 100_000 + "} }}",
    "{{ 1 }}" * 140_000,
    "{% set n = namespace(__class__=1) %}",
    "{% set n = namespace() %}{% set n._x = 1 %}",
    "{{ [1] | tojson(separators=(',' * 10**6, ':')) }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{{ raise_exception('no tools') }}",
    "{{ 1 / 0 }}",
    "{{ undefined_thing.field }}",
    "{{ " + "(" * 50_000 + "1" + ")" * 50_000 + " }}",
    "{% for i in x %}" * 5_000,
    "{{ [" * 5_000,
    "{% if %}",
    "{{ 'unclosed",
    "{% frobnicate %}",
    "x" * (sandbox.MAX_SOURCE_CHARACTERS + 1),
]


@pytest.mark.parametrize("source", HOSTILE, ids=lambda source: source[:60])
def test_hostile_templates(source):
    started = time.process_time()
    with pytest.raises(TemplateError):
        ChatTemplate(source).render(HI)
    assert time.process_time() - started < 10


def test_budget_is_for_each_rendering():
    template = ChatTemplate("{% for i in range(99999) %}{{ i if i == 5 }}{% endfor %}")
    for _ in range(2):
        assert template.render(HI) == "5"


def test_long_conversations_fit_the_bounds(qwen):
    messages = [*HI, {"role": "assistant", "content": "x" * 100}] * 2500
    assert qwen[0].render(messages).count("<|im_end|>") == 5000


def test_what_templates_may_use():
    source = (
        "{%- set ns = namespace(n=0) -%}{%- for m in messages if m.role == 'user' -%}{%- set ns.n = ns.n + 1 -%}"
        "{%- if loop.first %}{% continue %}{% endif -%}{%- endfor -%}{{ ns.n }} {{ [1, 2] | join(',') }} {{ 'a' ~ 1 }}"
        " {{ 'xé' | tojson }} {{ ' x ' | trim | upper }} {{ 'a-b'.split('-')[-1] }} {{ {'a': 1} | items | list }}"
        " {{ messages | selectattr('role', 'equalto', 'user') | list | length }} {{ strftime_now('%%') }}"
    )
    assert ChatTemplate(source).render(HI) == """1 1,2 a1 "xé" X b [('a', 1)] 1 %"""


MARKED = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}"
    "{% else %}{{ m.content }}<|im_end|>{% endif %}\n{% endfor %}"
)
TRIMMED = "x \n{%- generation -%}\n a{% set b = 5 %}{{ b }} \n{%- endgeneration %}\n y{{ b }}"
JOINED = (
    "{% for m in messages %}{% for c in m['tool_calls'] or [] %}"
    "{{ c['function']['name'] + '\n' + c['function']['arguments'] + '\n' }}{% endfor %}{{ m['content'] }}{% endfor %}"
)
TILDE = "{% for m in messages %}{% for c in m.tool_calls %}{{ 'a' ~ c.function.arguments }}{% endfor %}{% endfor %}"
WRITTEN = "{% for m in messages %}{% for c in m.tool_calls %}{{ c.function.arguments }}{% endfor %}{% endfor %}"
ENVIRONMENT = (
    "{{ messages | tojson(sort_keys=true, separators=(',', ':')) }}{{ messages | tojson(indent=1) }}"
    "{{ messages | tojson(ensure_ascii=true) }}{{ documents is none }}{{ namespace(a=1).a }}{{ dict(a=1) }}"
    "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{% break %}{% endfor %}"
)
STRINGS = [
    {"role": "user", "content": "a"},
    {"role": "assistant", "content": "", "tool_calls": [
        {"type": "function", "id": "1", "function": {"name": "f", "arguments": '{"x":1}'}}]},
    {"role": "tool", "content": "5"},
]  # fmt: skip


@pytest.mark.parametrize("source", [MARKED, TRIMMED, JOINED, TILDE, WRITTEN, ENVIRONMENT])
@pytest.mark.parametrize("messages", [STRINGS, CONVERSATIONS[2]])
def test_templates_of_others_as_transformers_renders_them(qwen, source, messages):
    expected = qwen[1].apply_chat_template(messages, chat_template=source, tokenize=False)
    if source == ENVIRONMENT and messages is STRINGS:  # which prints the arguments: here as an object
        assert json.loads(ChatTemplate("{{ messages | tojson }}").render(messages))[1]["tool_calls"][0]["function"] == {
            "name": "f", "arguments": {"x": 1}}  # fmt: skip
        return
    assert ChatTemplate(source).render(messages) == expected


def test_arguments_are_an_object_and_a_text():
    ask = {"role": "user", "content": "a"}
    given = [ask, {"role": "assistant", "content": None, "tool_calls": [CALL]}]
    text = '{"city": "Köln"}'
    assert ChatTemplate(TILDE).render(given) == "a" + text
    assert ChatTemplate(JOINED).render(given) == f"aweather\n{text}\n"
    assert (
        ChatTemplate(TILDE.replace("'a' ~ c.function.arguments", "c.function.arguments.city")).render(given) == "Köln"
    )


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
def test_names_of_thoughts(qwen, name):
    messages = [STRINGS[0], {**STRINGS[1], name: "because", "tool_calls": [CALL]}, STRINGS[2]]
    expected = qwen[1].apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert "<think>\nbecause\n</think>" in expected
    assert qwen[0].render(messages) == expected
    assert ChatTemplate("{{ messages[1].thinking }}").render(messages) == "because"


def test_the_first_name_of_thoughts_counts():
    message = {"role": "assistant", "content": "x", "reasoning": "c", "thinking": "b", "reasoning_content": None}
    assert ChatTemplate("{{ messages[0].reasoning_content }}").render([message]) == "b"
    with pytest.raises(RequestError, match=r"messages\[0\]\.reasoning as"):
        ChatTemplate("").render([{"role": "assistant", "content": "x", "reasoning": 5}])


def test_the_role_developer(qwen):
    messages = [{"role": "developer", "content": "d"}, *HI]
    generic = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}"
    expected = qwen[1].apply_chat_template(messages, chat_template=generic, tokenize=False)
    assert ChatTemplate(generic).render(messages) == expected == "[developer]d[user]hi"
    # Qwen3's template knows no developer and would leave it out.
    assert qwen[0].render(messages) == qwen[0].render([{"role": "system", "content": "d"}, *HI])
    both = "{% for m in messages %}{% if m.role in ('system', 'developer') %}{{ m.role }}{% endif %}{% endfor %}"
    assert ChatTemplate(both).render(messages) == "developer"


def test_variables_of_the_template(qwen):
    source = "{{ date_string }}{% for d in documents %}{{ d.title }}{% endfor %}{{ messages[0].content }}"
    variables = {"date_string": "2 May", "documents": [{"title": "t", "text": "x"}]}
    expected = qwen[1].apply_chat_template(HI, chat_template=source, tokenize=False, **variables)
    assert ChatTemplate(source).render(HI, variables=variables) == expected == "2 Mayt" + "hi"
