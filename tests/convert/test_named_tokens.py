"""bos, eos, pad and unk tokens: kept in the file, seen by the template, and in what is exported again."""

import json
import shutil

import gguf
import numpy as np
import pytest
from transformers import AutoTokenizer

from qwen3edge import _core
from qwen3edge.config import ModelConfig
from qwen3edge.convert import convert, export_gguf
from qwen3edge.convert.gguf_text import GgufText
from qwen3edge.convert.hf_files import hf_texts
from qwen3edge.errors import UnsupportedModelError
from qwen3edge.formats.gguf import GgufFile
from qwen3edge.text.tokenizer import Tokenizer
from qwen3edge.tokenization import SPLITTERS
from tests import text_files

CHAT = [
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": "ho"},
    {"role": "user", "content": "hu"},
]
R1_LIKE = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[U]{{ m['content'] }}"
    "{% else %}[A]{{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}[A]<think>\n{% endif %}"
)
END = "<|endoftext|>"
CASES = [
    (R1_LIKE, {"bos_token": END}, f"{END}[U]hi[A]ho<|im_end|>[U]hu[A]<think>\n"),
    (
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + eos_token }}{% endfor %}",
        {},
        "user: hi<|im_end|>assistant: ho<|im_end|>user: hu<|im_end|>",
    ),
    (
        "{{ pad_token }}{{ unk_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}",
        {"unk_token": END},
        END * 2 + "hihohu",
    ),
    (
        "{{ sep_token }}{{ cls_token }}{{ mask_token }}{{ bos_token }}",
        {"sep_token": END, "cls_token": "<|im_start|>", "mask_token": "<think>"},
        END + "<|im_start|><think>",
    ),
]


@pytest.fixture
def folder(tmp_path):
    return text_files.copy(tmp_path)


@pytest.mark.parametrize(("template", "tokens", "expected"), CASES)
def test_templates_see_special_tokens(folder, template, tokens, expected):
    text_files.edit(folder / "tokenizer_config.json", lambda c: c.update(chat_template=template, **tokens))
    reference = AutoTokenizer.from_pretrained(folder)
    assert reference.apply_chat_template(CHAT, add_generation_prompt=True, tokenize=False) == expected
    assert text_files.template(folder).render(CHAT) == expected


@pytest.fixture(scope="module")
def with_bos(tmp_path_factory):
    """A whole model whose tokenizer begins texts with a token, as R1's distills do, and has no normalizer."""
    folder = text_files.copy(tmp_path_factory.mktemp("bos"))
    template = "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    text_files.edit(
        folder / "tokenizer_config.json",
        lambda c: c.update(chat_template=template, bos_token=END, add_bos_token=True, unk_token="<|im_start|>"),
    )
    text_files.edit(folder / "tokenizer.json", lambda t: t.update(normalizer=None))
    target = folder / "m.q3e"
    (folder / "model.safetensors").write_bytes((text_files.TINY / "model.safetensors").read_bytes())
    convert(folder, target, "int8")
    return target


def test_exported_to_gguf_and_back(with_bos):
    path = with_bos.with_suffix(".gguf")
    export_gguf(with_bos, path)
    fields = gguf.GGUFReader(path).fields
    keys = {name: fields[f"tokenizer.ggml.{name}"].contents() for name in ("bos_token_id", "add_bos_token", "pre")}
    assert keys == {"bos_token_id": 2500, "add_bos_token": True, "pre": "deepseek-r1-qwen"}
    assert fields["tokenizer.ggml.unknown_token_id"].contents() == 2501
    again = path.with_name("again.q3e")
    convert(path, again)
    tokenizer = Tokenizer.from_metadata(_core.ModelFile(str(again)))
    assert tokenizer.named_tokens["bos_token"] == END
    assert tokenizer.prefix == (2500,)
    assert tokenizer.encode("e\u0301") == [68, 136, 223]


def test_exported_as_a_folder(with_bos, tmp_path):
    file = _core.ModelFile(str(with_bos))
    for name, text in hf_texts(file, ModelConfig.from_metadata(file)).items():
        (tmp_path / name).write_text(text)
    (tmp_path / "config.json").write_bytes((text_files.TINY / "config.json").read_bytes())
    reference = AutoTokenizer.from_pretrained(tmp_path)
    assert reference.apply_chat_template(CHAT[:1], tokenize=False) == END + "hi"
    assert reference.encode("e\u0301", add_special_tokens=False) == [68, 136, 223]
    assert reference.encode("hi")[0] == 2500
    assert reference.unk_token == "<|im_start|>"


@pytest.fixture(scope="module")
def plain_gguf(tmp_path_factory, tiny_q3e):
    path = tmp_path_factory.mktemp("gguf") / "m.gguf"
    export_gguf(tiny_q3e("int8"), path)
    return path


def gguf_text(path, **changes):
    with GgufFile(path) as file:
        metadata = {**file.metadata, **{f"tokenizer.ggml.{key}": value for key, value in changes.items()}}
    return GgufText(metadata, text_files.ROWS)


@pytest.mark.parametrize(
    ("pre", "expected", "noted"),
    [
        ("qwen2", [127, 102], False),
        ("deepseek-r1-qwen", [68, 136, 223], False),
        ("qwen35", [127, 102], False),
        ("default", [127, 102], True),
        (None, [127, 102], True),
    ],
)
def test_gguf_names_of_the_splitter(plain_gguf, pre, expected, noted):
    text = gguf_text(plain_gguf, pre=pre)
    keys = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in text.metadata("qwen3", 1024).items()}
    assert Tokenizer.from_metadata(keys).encode("e\u0301") == expected
    assert any("old conversions" in note for note in text.notes) == noted


@pytest.mark.parametrize("pre", ["llama-bpe", "qwen3", "gpt-2", ""])
def test_other_splitters_are_refused(plain_gguf, pre):
    with pytest.raises(UnsupportedModelError, match="deepseek-r1-qwen"):
        gguf_text(plain_gguf, pre=pre)


@pytest.mark.parametrize("pre", ["default", None])
def test_files_younger_than_the_key_have_it(plain_gguf, pre):
    with GgufFile(plain_gguf) as file:
        metadata = {**file.metadata, "general.architecture": "qwen35", "tokenizer.ggml.pre": pre}
    with pytest.raises(UnsupportedModelError, match="one of 'qwen2', 'deepseek-r1-qwen', 'qwen35', found 'gpt2' and"):
        GgufText(metadata, text_files.ROWS)


def test_words_with_marks_go_round(tiny_q3e, tmp_path):
    """Ours, a folder for transformers, ours; ours, GGUF, ours."""
    marked = {"type": "Split", "pattern": {"Regex": SPLITTERS["qwen35"].words}, "behavior": "Isolated", "invert": False}
    folder = tmp_path / "marked"
    shutil.copytree(text_files.TINY, folder, ignore=shutil.ignore_patterns("training"))
    text_files.edit(folder / "tokenizer.json", lambda t: t["pre_tokenizer"]["pretokenizers"].__setitem__(0, marked))
    convert(folder, tmp_path / "a.q3e", "int8")
    file = _core.ModelFile(str(tmp_path / "a.q3e"))
    text = "मैं e\u0301"
    expected = Tokenizer.from_metadata(file).encode(text)
    for name, written in hf_texts(file, ModelConfig.from_metadata(file)).items():
        (folder / name).write_text(written)
    assert AutoTokenizer.from_pretrained(folder).encode(text) == expected
    assert json.loads((folder / "tokenizer.json").read_text())["pre_tokenizer"]["pretokenizers"][0] == marked
    export_gguf(tmp_path / "a.q3e", tmp_path / "a.gguf")
    convert(tmp_path / "a.gguf", tmp_path / "b.q3e")
    again = _core.ModelFile(str(tmp_path / "b.q3e"))
    assert again.get("tokenizer.ggml.pre") == "qwen35"
    assert Tokenizer.from_metadata(again).encode(text) == expected
