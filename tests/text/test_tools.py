"""What schemas declare of parameters, and what may be asked of tools."""

import pytest

from qwen3edge.errors import RequestError
from qwen3edge.text.tools import checked_tool_choice, declared_types

LOOP = {"$ref": "#/$defs/loop"}
SCHEMA = {
    "type": "object",
    "properties": {
        "plain": {"type": "integer"},
        "several": {"type": ["string", "null"]},
        "any_of": {"anyOf": [{"type": "number"}, {"oneOf": [{"type": "null"}, {"type": "array"}]}]},
        "values": {"enum": [1, "a", None, True, 1.5, [], {}]},
        "one": {"const": False},
        "referred": {"$ref": "#/$defs/city"},
        "endless": LOOP,
        "absent": {"$ref": "#/$defs/none/such"},
        "elsewhere": {"$ref": "https://example.com/city"},
        "silent": {"description": "a thing"},
        "odd": {"type": 5, "anyOf": 3, "enum": 7},
        "none": None,
    },
    "$defs": {"city": {"type": "object"}, "loop": LOOP},
}
TYPES = {
    "plain": ["integer"], "several": ["string", "null"], "any_of": ["number", "null", "array"], "one": ["boolean"],
    "values": ["integer", "string", "null", "boolean", "number", "array", "object"],
    "referred": ["object"], "endless": [],
    "absent": [], "elsewhere": [], "silent": [], "odd": [], "none": [],
}  # fmt: skip


def test_declared_types():
    function = {"name": "f", "parameters": SCHEMA}
    assert declared_types([{"type": "function", "function": function}]) == {"f": TYPES} == declared_types([function])


def test_a_schema_that_leads_back_to_itself_many_times_takes_no_time():
    many = {"anyOf": [{"$ref": "#/$defs/many"}] * 30 + [{"type": "integer"}]}
    function = {"name": "f", "parameters": {"properties": {"x": many}, "$defs": {"many": many}}}
    assert declared_types([function]) == {"f": {"x": ["integer"]}}


@pytest.mark.parametrize("parameters", [None, {}, {"type": "object"}, {"type": "object", "properties": {}}, 5, []])
def test_tools_without_parameters(parameters):
    """C14"""
    tools = [
        {"type": "function", "function": {"name": "f", "parameters": parameters}},
        {"name": "g"},
        {"type": "code"},
        {},
    ]
    assert declared_types(tools) in ({}, {"f": {}})
    assert declared_types(None) == {}


@pytest.mark.parametrize(
    "choice", ["f", {"type": "function", "name": "f"}, {"function": {"name": "f"}}, {}, None, True, ["auto"], b"auto"]
)
def test_choices_that_are_refused(choice):
    with pytest.raises(RequestError, match="expected tool_choice as 'auto', 'none', 'required' or"):
        checked_tool_choice(choice)
