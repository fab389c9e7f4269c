"""Whether an answer in words is the expected one."""

import pytest

from qwen3edge.evaluate.judges import is_right

PARAMETERS = {"city": {"type": "string"}, "days": {"type": "integer"}}
RECORD = {
    "judge": "tool_call",
    "expected": {"name": "f", "arguments": {"city": "5", "days": 5}},
    "tools": [
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": PARAMETERS}}}
    ],
}
JSON = '{"name": "f", "arguments": {"city": "5", "days": 5}}'
XML = "<function=f>\n<parameter=city>\n5\n</parameter>\n<parameter=days>\n5\n</parameter>\n</function>"


@pytest.mark.parametrize("body", [JSON, XML])
def test_calls(body):
    assert is_right(RECORD, f"<tool_call>\n{body}\n</tool_call>")
    assert is_right(RECORD, f"hm\n</think>\n\n<tool_call>\n{body}\n</tool_call>\n")


@pytest.mark.parametrize("body", [JSON, XML])
@pytest.mark.parametrize(
    "text",
    [
        "{}", "<tool_call>{}", "<tool_call>{}</tool_call> and", "so <tool_call>{}</tool_call>", "",
        "<tool_call>{}</tool_call><tool_call>{}</tool_call>", "<tool_call></tool_call>", "<tool_call>{}x</tool_call>",
    ],
)  # fmt: skip
def test_what_is_not_one_call(body, text):
    assert not is_right(RECORD, text.replace("{}", body))


@pytest.mark.parametrize(
    ("old", "new"),
    [("=f>", "=g>"), ("city", "town"), (">\n5\n", ">\n6\n"), ("</function>", ""), ("=days>\n5", "=days>\nfive")],
)
def test_other_calls_in_xml(old, new):
    assert old in XML
    assert not is_right(RECORD, f"<tool_call>\n{XML.replace(old, new)}\n</tool_call>")


def test_values_in_xml_have_the_types_of_the_tools():
    untyped = {**RECORD, "tools": []}
    assert not is_right(untyped, f"<tool_call>\n{XML}\n</tool_call>")
    assert is_right({**untyped, "expected": {"name": "f", "arguments": {"city": "5", "days": "5"}}},
                    f"<tool_call>\n{XML}\n</tool_call>")  # fmt: skip
