"""The chat template that a conversion packs: the checkpoint's own, or the one that is given."""

import numpy as np
import pytest

from qwen3edge import _core
from qwen3edge.convert.gguf_text import GgufText
from qwen3edge.convert.template import given_template
from qwen3edge.convert.tokenizer import TextFiles
from qwen3edge.errors import CheckpointError, RequestError, TemplateError
from qwen3edge.templates.given import WAY_OUT
from tests.text_files import ROWS, copy, edit

TREE = "qwen3edge.chat_template.tree"
GIVEN = "{% for m in messages %}{{ m.content }}{% endfor %}"


def packed(texts: TextFiles) -> dict:
    return texts.metadata(ROWS, "qwen3", 1024)


@pytest.mark.parametrize("own", ["{{ messages }}", "<think>{{ messages }}", "{% frobnicate %}", 7, "x" * (2 << 20)])
def test_the_given_one_replaces_any(tmp_path, own):
    folder = copy(tmp_path)
    edit(folder / "tokenizer_config.json", lambda config: config.update(chat_template=own))
    texts = TextFiles(folder, GIVEN)
    assert packed(texts)["tokenizer.chat_template"] == GIVEN and texts.notes == ()
    assert (
        GgufText({"tokenizer.chat_template": own}, 5, GIVEN).metadata("qwen3", 1024)["tokenizer.chat_template"] == GIVEN
    )


@pytest.mark.parametrize("own", [7, "x" * (2 << 20), [{"name": "tool_use", "template": "b"}]])
def test_one_that_cannot_be_packed_names_the_way_out(tmp_path, own):
    folder = copy(tmp_path)
    edit(folder / "tokenizer_config.json", lambda config: config.update(chat_template=own))
    with pytest.raises(CheckpointError) as error:
        TextFiles(folder)
    assert str(error.value).endswith(WAY_OUT)
    with pytest.raises(CheckpointError) as error:
        GgufText({"tokenizer.chat_template": own}, 5)
    assert str(error.value).endswith(WAY_OUT)


def test_one_that_is_no_text(tmp_path):
    folder = copy(tmp_path)
    (folder / "chat_template.jinja").write_bytes(b"{{ messages }}\xff")
    with pytest.raises(CheckpointError, match="UTF-8"):
        TextFiles(folder)
    assert packed(TextFiles(folder, GIVEN))["tokenizer.chat_template"] == GIVEN


@pytest.mark.parametrize(
    ("own", "words"),
    [("{% frobnicate %}", "unknown tag 'frobnicate'"), ("{% if x %}{{ x | frob }}{% endif %}", "the filter 'frob'")],
)
def test_a_line_says_what_a_template_needs(tmp_path, own, words):
    folder = copy(tmp_path)
    edit(folder / "tokenizer_config.json", lambda config: config.update(chat_template=own))
    texts = TextFiles(folder)
    assert packed(texts)["tokenizer.chat_template"] == own
    (note,) = texts.notes
    assert words in note and WAY_OUT in note and "\n" not in note
    (note,) = GgufText({"tokenizer.chat_template": own}, 5).notes
    assert words in note and WAY_OUT in note


@pytest.mark.parametrize("own", ["{{ messages }}", "<think>{{ messages }}"])
@pytest.mark.parametrize("given", [GIVEN, "<think>" + GIVEN])
def test_sampling_settings_stay_with_the_mode_they_were_made_for(tmp_path, own, given):
    folder = copy(tmp_path)
    edit(folder / "tokenizer_config.json", lambda config: config.update(chat_template=own))
    edit(folder / "generation_config.json", lambda config: config.update(temperature=0.33))
    before, after = packed(TextFiles(folder)), packed(TextFiles(folder, given))
    keys = [key for key in before if key.startswith("qwen3edge.sampling.")]
    assert len(keys) == 14 and [before[key] for key in keys] == [after[key] for key in keys]


def test_without_one_of_its_own_the_given_one_says_the_mode(tmp_path):
    folder = copy(tmp_path)
    edit(folder / "tokenizer_config.json", lambda config: config.pop("chat_template"))
    edit(folder / "generation_config.json", lambda config: config.update(temperature=0.33))
    assert packed(TextFiles(folder, GIVEN))["qwen3edge.sampling.direct.temperature"] == 0.33
    assert packed(TextFiles(folder, "<think>" + GIVEN))["qwen3edge.sampling.thinking.temperature"] == 0.33


def test_what_is_given_is_checked_first(tmp_path):
    assert given_template(None) is None
    assert given_template(GIVEN) == GIVEN
    with pytest.raises(TemplateError, match=r"chat_template: the chat template is malformed"):
        given_template("{{ messages }}{% if %}")
    with pytest.raises(RequestError, match="no file"):
        given_template(tmp_path / "absent")


def test_the_syntax_tree_is_packed_too(tmp_path):
    folder = copy(tmp_path)
    edit(folder / "tokenizer_config.json", lambda config: config.update(chat_template=GIVEN))
    tree = packed(TextFiles(folder))[TREE]
    assert isinstance(tree, np.ndarray) and tree.dtype == np.uint8
    of_gguf = GgufText({"tokenizer.chat_template": GIVEN}, 5).metadata("qwen3", 1024)[TREE]
    assert tree.tolist() == of_gguf.tolist()
    runs = _core.TemplateTree(tree.tobytes(), GIVEN)
    assert runs.render({"messages": [{"content": "a"}, {"content": "é"}]}) == "aé"


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ("{{ messages | batch(2) }}", "the filter 'batch' in line 1"),
        ("{{ messages }}\n{{ 'x'.center(5) }}", "the method 'center' in line 2"),
        ("{% macro m() %}{% endmacro %}{% call m() %}{{ messages }}{% endcall %}", "the statement CallBlock"),
        ("{% for m in messages recursive %}{% endfor %}", "a recursive loop"),
        ("{{ messages }}{{ {1: 2} }}{{ 'a' % 1 }}", "a dict's key that is no string in line 1, a format with %"),
        ("{{ messages is escaped }}", "the test 'escaped'"),
        ("{{ messages.__class__ }}", "the attribute '__class__'"),
        ("{{ messages | map('batch', 1) | list }}", "such a filter in map"),
        ("{{ messages | trim(x=1) }}", "such arguments of the filter 'trim'"),
        ("{{ namespace(messages) }}", "such arguments of namespace"),
        ("{{ messages }}{{ dict(*[[]]) }}", "arguments in * or **"),
        ("{{ messages }}{{ 2 ** 3 }}{{ 10000000000000000000 }}", "the expression Pow in line 1, the constant 1000"),
        ("{{ messages }}{{ " + "(" * 40 + "1" + " + 1) " * 40 + "}}", ""),
        ("{{ messages }}{{ " + "-" * 189 + "1 }}", "nested more than 190 deep"),
        ("{% for m in messages %}{% macro x() %}{% endmacro %}{% endfor %}", "the macro 'x' inside another block"),
        ("{% for m in messages %}{% set x %}{% break %}{% endset %}{% endfor %}", "break or continue inside"),
        (
            "{% for m in messages %}{% for y in m %}{{ x }}{% endfor %}{% set x = 1 %}{% endfor %}",
            "the name 'x' in line 1",
        ),
        ("{% for m in messages if loop %}{% endfor %}", "the name 'loop' in a loop's test"),
        ("{{ messages }}{% set j = joiner() %}", "the name 'joiner'"),
        ("".join("{{ messages | batch(" + str(i) + ") }}\n" for i in range(9)), "in line 4 and 5 more"),
    ],
)
def test_what_only_jinja2_runs_is_named(tmp_path, own, words):
    folder = copy(tmp_path)
    edit(folder / "tokenizer_config.json", lambda config: config.update(chat_template=own))
    texts = TextFiles(folder)
    keys = packed(texts)
    assert keys["tokenizer.chat_template"] == own and (TREE in keys) == (not words)
    if words:
        (note,) = texts.notes
        assert words in note and note.startswith("the chat template needs jinja2") and note.endswith(WAY_OUT)
