"""The syntax tree that a file has beside its chat template: who runs it, and what becomes of a damaged one."""

import sys
import threading

import pytest

from qwen3edge import _core
from qwen3edge.errors import FileFormatError, TemplateError
from qwen3edge.templates.syntax_tree import syntax_tree
from qwen3edge.text.template import ChatTemplate, stored_tree
from tests.hostile.model_image import array, good_image, string, u32

SOURCE = "{% for m in messages %}{{ m.content }}{% endfor %}"
TREE = syntax_tree(SOURCE).data
KEY = "qwen3edge.chat_template.tree"
HI = [{"role": "user", "content": "hi"}]


def opened(tmp_path, tree, source=SOURCE) -> _core.ModelFile:
    image = good_image()
    if source is not None:
        image.set("tokenizer.chat_template", string(source))
    if tree is not None:
        image.set(KEY, array(0, [bytes([each]) for each in tree]) if isinstance(tree, bytes) else tree)
    path = tmp_path / "x.q3e"
    path.write_bytes(image.build())
    return _core.ModelFile(path)


def test_it_is_run_without_jinja2(tmp_path, monkeypatch):
    tree = stored_tree(opened(tmp_path, TREE))
    monkeypatch.setitem(sys.modules, "jinja2", None)  # an import of it fails
    monkeypatch.delitem(sys.modules, "qwen3edge.templates.sandbox")
    assert ChatTemplate(SOURCE, tree=tree).render(HI) == "hi"
    with pytest.raises(ImportError):
        ChatTemplate(SOURCE).render(HI)


def test_jinja2_goes_on_where_the_core_does_not(tmp_path):
    source = "{{ messages[0].content }}{{ 'ΑΣ'.lower() }}{{ 2 if x else raise_exception('no x') }}"
    template = ChatTemplate(source, tree=stored_tree(opened(tmp_path, syntax_tree(source).data, source)))
    assert template.render(HI, variables={"x": 1}) == "hiας2"
    with pytest.raises(TemplateError, match="refuses the messages: no x"):
        template.render(HI)


def test_files_without_one_and_of_later_versions(tmp_path):
    assert stored_tree(opened(tmp_path, None)) is None
    assert stored_tree(opened(tmp_path, b"\x02" + TREE[1:])) is None


@pytest.mark.parametrize(
    ("tree", "source"),
    [
        (TREE[:-1], SOURCE),
        (TREE, SOURCE + " "),
        (TREE, None),
        (b"", SOURCE),
        (u32(5), SOURCE),
        (string("x"), SOURCE),
        (array(4, [b"\0\0\0\0"]), SOURCE),
    ],
)
def test_damaged(tmp_path, tree, source):
    with pytest.raises(FileFormatError):
        stored_tree(opened(tmp_path, tree, source))


def test_several_threads(tmp_path):
    template = ChatTemplate(SOURCE, tree=stored_tree(opened(tmp_path, TREE)))
    found = []

    def many(text: str) -> None:
        found.extend(template.render([{"role": "user", "content": text}] * 50) == text * 50 for _ in range(50))

    threads = [threading.Thread(target=many, args=(text,)) for text in ("a", "é", "<|im_end|>")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 150


def test_a_loaded_model_has_it(tiny_int4):
    file = _core.ModelFile(tiny_int4)
    assert KEY in file and stored_tree(file) is not None
