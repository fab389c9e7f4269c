"""Tokenizer files become metadata; other tokenizers than Qwen's, and ones that contradict themselves, are refused."""

import copy
import json

import pytest
from tokenizers import pre_tokenizers

from qwen3edge import _core
from qwen3edge.convert import convert
from qwen3edge.convert.tokenizer import TextFiles
from qwen3edge.convert.vocabulary import CONTROL, NORMAL, UNUSED, USER_DEFINED
from qwen3edge.errors import CheckpointError, UnsupportedModelError
from qwen3edge.tokenization import SPLITTERS, WORDS
from tests.convert.small_checkpoint import CONFIG as SMALL
from tests.convert.small_checkpoint import random_tensors, write

CONFIG = {**SMALL, "vocab_size": 300}
BYTES = sorted(set(pre_tokenizers.ByteLevel.alphabet()) - set("abé"))  # the names of all other bytes
GOOD = {
    "version": "1.0",
    "added_tokens": [
        {"id": 4, "content": "<|endoftext|>", "special": True},
        {"id": 5, "content": "<|im_end|>", "special": True},
        {"id": 7, "content": "<think>", "special": False},
    ],
    "normalizer": {"type": "NFC"},
    "pre_tokenizer": {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": WORDS}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
        ],
    },
    "model": {
        "type": "BPE",
        "vocab": {"a": 0, "b": 1, "ab": 2, "é": 3} | {name: 8 + i for i, name in enumerate(BYTES)},
        "merges": [["a", "b"]],
    },
}


@pytest.fixture
def folder(tmp_path, seed):
    """A folder that converts, and a function that writes a JSON file into it."""
    write(tmp_path, CONFIG, random_tensors(CONFIG, seed))

    def put(name, value):
        (tmp_path / name).write_text(json.dumps(value))
        return tmp_path

    put("tokenizer.json", GOOD)
    return put


def metadata(folder):
    convert(folder, folder / "x.q3e", "q8")
    return _core.ModelFile(str(folder / "x.q3e"))


def test_vocabulary_types_and_merges(folder):
    file = metadata(
        folder("tokenizer_config.json", {"eos_token": "<|im_end|>", "pad_token": {"content": "<|endoftext|>"}})
    )
    expected = ["a", "b", "ab", "é", "<|endoftext|>", "<|im_end|>", "[unused6]", "<think>", *BYTES]
    assert file.get("tokenizer.ggml.tokens") == expected
    kinds = [NORMAL] * 4 + [CONTROL] * 2 + [UNUSED, USER_DEFINED] + [NORMAL] * len(BYTES)
    assert file.get("tokenizer.ggml.token_type") == kinds
    assert file.get("tokenizer.ggml.merges") == ["a b"]
    assert (file.get("tokenizer.ggml.eos_token_id"), file.get("tokenizer.ggml.padding_token_id")) == (5, 4)
    assert (file.get("tokenizer.ggml.model"), file.get("tokenizer.ggml.pre")) == ("gpt2", "qwen2")


def test_merges_as_text(folder):
    tokenizer = copy.deepcopy(GOOD)
    tokenizer["model"]["merges"] = ["a b"]
    assert metadata(folder("tokenizer.json", tokenizer)).get("tokenizer.ggml.merges") == ["a b"]


def test_stop_tokens_of_every_file(folder):
    folder("generation_config.json", {"eos_token_id": [9, 5]})
    file = metadata(folder("tokenizer_config.json", {"eos_token": "ab"}))
    assert file.get("qwen3edge.stop_token_ids") == [9, 5, 3, 2, 4]  # generation, config (3), tokenizer (ab), Qwen's own


def sampling(file, mode):
    names = ("temperature", "top_p", "top_k", "min_p", "presence_penalty", "repetition_penalty")
    return [pytest.approx(file.get(f"qwen3edge.sampling.{mode}.{name}")) for name in names]


@pytest.mark.parametrize(
    ("template", "mode"), [("{% if enable_thinking %}<think>{% endif %}", "thinking"), ("plain", "direct")]
)
def test_sampling_defaults_go_to_the_mode_of_the_template(folder, template, mode):
    folder("generation_config.json", {"temperature": 0.55, "top_k": 11, "top_p": 1, "do_sample": True})
    file = metadata(folder("tokenizer_config.json", {"chat_template": template}))
    default = {"thinking": [0.6, 0.95, 20, 0, 0, 1], "direct": [0.7, 0.8, 20, 0, 0, 1]}
    default[mode][:3] = [0.55, 1.0, 11]
    assert default["thinking"] == sampling(file, "thinking")
    assert default["direct"] == sampling(file, "direct")
    assert file.get("tokenizer.chat_template") == template


def test_the_template_of_its_own_file_comes_first(folder):
    path = folder("tokenizer_config.json", {"chat_template": "old"})
    (path / "chat_template.jinja").write_text("new é")
    assert metadata(path).get("tokenizer.chat_template") == "new é"


def test_a_list_of_templates(folder):
    templates = [{"name": "tool_use", "template": "b"}, {"name": "default", "template": "a"}]
    assert metadata(folder("tokenizer_config.json", {"chat_template": templates})).get("tokenizer.chat_template") == "a"
    with pytest.raises(CheckpointError, match="default"):
        metadata(folder("tokenizer_config.json", {"chat_template": templates[:1]}))


def test_without_a_tokenizer_there_are_no_keys(folder):
    path = folder("generation_config.json", {})
    (path / "tokenizer.json").unlink()
    convert(path, path / "x.q3e", allow_missing_tokenizer=True)
    keys = _core.ModelFile(str(path / "x.q3e")).keys()
    assert not [key for key in keys if key.startswith("tokenizer.")]
    assert "qwen3edge.sampling.direct.top_k" in keys


def change(*path_and_value):
    """GOOD with one value replaced; a value of ... removes it."""
    *path, last, value = path_and_value
    tokenizer = copy.deepcopy(GOOD)
    inner = tokenizer
    for key in path:
        inner = inner[key]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return tokenizer


MARKS = {"Regex": SPLITTERS["qwen35"].words}


def test_words_with_marks(folder):
    """As Qwen3.5's; they are known by their pattern, whatever the model is."""
    tokenizer = change("pre_tokenizer", "pretokenizers", 0, "pattern", MARKS)
    assert metadata(folder("tokenizer.json", tokenizer)).get("tokenizer.ggml.pre") == "qwen35"
    tokenizer["normalizer"] = None
    with pytest.raises(UnsupportedModelError, match=r"expected NFC before Qwen3\.5's words, found null"):
        TextFiles(folder("tokenizer.json", tokenizer))


OTHERS = [
    change("model", "type", "WordPiece"),
    change("model", []),
    change("model", ...),
    change("model", "byte_fallback", True),
    change("model", "ignore_merges", True),
    change("model", "unk_token", "<unk>"),
    change("normalizer", {"type": "NFKC"}),
    change("normalizer", {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]}),
    change("normalizer", {"type": "Sequence", "normalizers": {"type": "NFC"}}),
    change("normalizer", 7),
    change("pre_tokenizer", None),
    change("pre_tokenizer", {"type": "ByteLevel"}),
    change("pre_tokenizer", "pretokenizers", 0, "pattern", {"Regex": WORDS.replace(r"\p{N}|", r"\p{N}{1,3}|")}),
    change("pre_tokenizer", "pretokenizers", 0, "pattern", {"Regex": MARKS["Regex"] + "|x"}),
    change("pre_tokenizer", "pretokenizers", 0, "behavior", "Removed"),
    change("pre_tokenizer", "pretokenizers", 1, "use_regex", True),
    change("pre_tokenizer", "pretokenizers", 1, "add_prefix_space", True),
    change("pre_tokenizer", "pretokenizers", 1, 7),
    change("added_tokens", 0, "lstrip", True),
    change("model", "merges", [["a ", "b"]]),
]


@pytest.mark.parametrize("tokenizer", OTHERS, ids=range(len(OTHERS)))
def test_other_tokenizers(folder, tokenizer):
    with pytest.raises((UnsupportedModelError, CheckpointError), match=r"tokenizer\.json"):
        TextFiles(folder("tokenizer.json", tokenizer))


BROKEN = [
    change("model", "vocab", {}),
    change("model", "vocab", ...),
    change("model", "vocab", {"a": 0, "b": 0}),
    change("model", "vocab", {"a": -1}),
    change("model", "vocab", {"a": "0"}),
    change("model", "vocab", {"a": 1.0}),
    change("model", "vocab", {"a": True}),
    change("model", "vocab", {"a": 2**40}),
    change("model", "vocab", {"\ud800": 0}),
    change("model", "merges", ...),
    change("model", "merges", [["a", "zz"]]),
    change("model", "merges", [["b", "a"]]),
    change("model", "merges", ["a b ab"]),
    change("model", "merges", [["a"]]),
    change("model", "merges", [7]),
    change("added_tokens", 7),
    change("added_tokens", ["x"]),
    change("added_tokens", [{"id": 0, "content": "x"}]),
    change("added_tokens", [{"content": "x"}]),
    change("added_tokens", [{"id": 290, "content": ""}]),
    change("added_tokens", [{"id": [], "content": "x"}]),
]


@pytest.mark.parametrize("tokenizer", BROKEN, ids=range(len(BROKEN)))
def test_broken_tokenizers(folder, tokenizer):
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        TextFiles(folder("tokenizer.json", tokenizer))


def test_more_tokens_than_rows(folder):
    with pytest.raises(CheckpointError, match="at most 300 tokens, found 311"):
        metadata(folder("tokenizer.json", change("added_tokens", [{"id": 310, "content": "<x>"}])))


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("tokenizer_config.json", {"eos_token": "absent"}, "absent"),
        ("tokenizer_config.json", {"chat_template": 7}, "template"),
        ("tokenizer_config.json", {"chat_template": "x" * (2 << 20)}, "template"),
        ("tokenizer_config.json", [], r"tokenizer_config\.json"),
        ("generation_config.json", {"eos_token_id": 300}, "eos_token_id"),
        ("generation_config.json", {"eos_token_id": "x"}, "eos_token_id"),
        ("generation_config.json", {"temperature": "hot"}, "temperature"),
        ("generation_config.json", {"top_k": 1.5}, "top_k"),
    ],
)
def test_other_files_that_contradict(folder, name, value, named):
    with pytest.raises(CheckpointError, match=named):
        metadata(folder(name, value))
