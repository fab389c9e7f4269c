"""Vocabularies in every form that folders hold them give the ids that transformers and the tokenizers library give."""

import json

import pytest
import tokenizers
from transformers import AutoTokenizer

from qwen3edge.convert.tokenizer import TextFiles
from qwen3edge.errors import CheckpointError, UnsupportedModelError
from tests import text_files

PLAIN = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
NFC = {"type": "NFC"}


@pytest.fixture
def folder(tmp_path):
    return text_files.copy(tmp_path)


def settings(**changes):
    return lambda config: config.update(changes)


@pytest.mark.parametrize(
    ("normalizer", "expected"),
    [
        (None, [68, 136, 223]),
        ({"type": "Sequence", "normalizers": []}, [68, 136, 223]),
        ({"type": "Sequence", "normalizers": [NFC]}, [127, 102]),
        ({"type": "Sequence", "normalizers": [{"type": "Sequence", "normalizers": [NFC]}, NFC]}, [127, 102]),
        (NFC, [127, 102]),
    ],
)
def test_normalizers(folder, normalizer, expected):
    text_files.edit(folder / "tokenizer.json", settings(normalizer=normalizer))
    reference = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    ours = text_files.tokenizer(folder)
    assert ours.encode("e\u0301") == reference.encode("e\u0301", add_special_tokens=False).ids == expected
    for text in ("a\u0301\u0323 ㄱ\u1100\u1161 \u2126", "ﬁ no\u0308 한국 e\u0301" * 99, "plain"):
        assert ours.encode(text) == reference.encode(text, add_special_tokens=False).ids


def by_decoder(config):
    config["added_tokens_decoder"] |= {
        "2527": {"content": "<|cut|>", **PLAIN, "special": True},
        "2526": {"content": "<note>", **PLAIN, "special": False},
    }


def by_list(config):
    config.pop("added_tokens_decoder")
    config.pop("additional_special_tokens")
    config["extra_special_tokens"] = ["<note>", "<|cut|>"]


def by_old_list(config):
    config["additional_special_tokens"] += ["<note>", "<|cut|>"]


def by_names(config):
    config["extra_special_tokens"] = {"note_token": "<note>", "cut_token": "<|cut|>"}


def by_role(config):
    config |= {"mask_token": "<note>", "cls_token": "<|cut|>"}


@pytest.mark.parametrize("change", [by_decoder, by_list, by_old_list, by_names, by_role])
def test_tokens_that_only_tokenizer_config_has(folder, change):
    text_files.edit(folder / "tokenizer_config.json", change)
    text = "a<note>b<|cut|>"
    reference = AutoTokenizer.from_pretrained(folder).encode(text, add_special_tokens=False)
    found = text_files.tokenizer(folder).encode(text, allow_special=True)
    assert found == reference
    assert sorted(found) == [64, 65, 2526, 2527]
    assert any("2 tokens stand in tokenizer_config.json alone" in note for note in TextFiles(folder).notes)


def test_added_tokens_json(folder):
    """As transformers wrote it before there was an added_tokens_decoder."""
    text_files.edit(folder / "tokenizer_config.json", lambda config: config.pop("added_tokens_decoder"))
    (folder / "added_tokens.json").write_text(json.dumps({"<note>": 2526, "<|cut|>": 2527, "<think>": 2524}))
    (folder / "special_tokens_map.json").write_text(json.dumps({"mask_token": "<|cut|>", "eos_token": "<|im_end|>"}))
    ours = text_files.tokenizer(folder)
    assert ours.encode("a<note>b<|cut|>", allow_special=True) == [64, 2526, 65, 2527]
    assert [ours.is_control(token) for token in (2526, 2527)] == [False, True]
    assert ours.named_tokens["mask_token"] == "<|cut|>"


@pytest.mark.parametrize(
    "change",
    [
        settings(added_tokens_decoder=7),
        settings(added_tokens_decoder={"2526": "<note>"}),
        settings(added_tokens_decoder={"x": {"content": "<note>"}}),
        settings(added_tokens_decoder={"2524": {"content": "<note>"}}),  # <think>'s id
        settings(added_tokens_decoder={"2526": {"content": 5}}),
        settings(extra_special_tokens="<note>"),
    ],
)
def test_added_tokens_that_contradict(folder, change):
    text_files.edit(folder / "tokenizer_config.json", change)
    with pytest.raises(CheckpointError, match=r"added_tokens_decoder|extra_special_tokens|different ids|0 or more"):
        TextFiles(folder)


@pytest.mark.parametrize(
    ("token", "text"),
    [
        ({"id": 2550, "content": "<think>"}, "a<think>b"),  # there already as 2524
        ({"id": 2526, "content": "th"}, "the path with th"),  # in the vocabulary
        ({"id": 2526, "content": "an"}, "and an answer, Hand in hand"),
    ],
)
def test_an_added_token_that_is_there_keeps_its_id(folder, token, text):
    added = {**token, **PLAIN, "special": False}
    text_files.edit(folder / "tokenizer.json", lambda t: t["added_tokens"].append(added))
    reference = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    expected = reference.encode(text, add_special_tokens=False).ids
    assert text_files.tokenizer(folder).encode(text, allow_special=True) == expected
    assert token["id"] not in expected
    assert any(token["content"] in note for note in TextFiles(folder).notes)


def two_files(folder):
    """vocab.json and merges.txt in place of tokenizer.json."""
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False))
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    return "#version: 0.2\n" + "\n".join(merges) + "\n"


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_vocab_and_merges(folder, line_end):
    merges = two_files(folder)
    (folder / "merges.txt").write_bytes(merges.replace("\n", line_end).encode())
    ours = text_files.tokenizer(folder)
    assert ours.encode("What is 2 + 2?<|im_end|>", allow_special=True) == [540, 354, 220, 17, 314, 220, 17, 30, 2502]
    (folder / "merges.txt").write_text(merges)
    reference = AutoTokenizer.from_pretrained(folder)
    for text in ("What is 2 + 2?<|im_end|>", "<think>\nhm\n</think> no\u0308 \t12.5", "<|im_start|>user\n你好"):
        assert ours.encode(text, allow_special=True) == reference.encode(text)


def test_vocab_and_merges_alone(folder):
    """Without tokenizer_config.json transformers knows one special token."""
    (folder / "merges.txt").write_text(two_files(folder))
    (folder / "tokenizer_config.json").unlink()
    text = "What is this?<|endoftext|>"
    reference = AutoTokenizer.from_pretrained(folder)
    ours = text_files.tokenizer(folder)
    assert ours.encode(text, allow_special=True) == reference.encode(text)
    assert ours.named_tokens == dict(reference.special_tokens_map)


def test_vocab_and_merges_of_another_class(folder):
    (folder / "merges.txt").write_text(two_files(folder))
    text_files.edit(folder / "tokenizer_config.json", settings(tokenizer_class="GPT2Tokenizer"))
    with pytest.raises(UnsupportedModelError, match=r"GPT2Tokenizer.*writes tokenizer\.json"):
        TextFiles(folder)


@pytest.mark.parametrize("data", [b"\xff\n", b"a\n", b"a b c\n", b"a \n", b"zz yy\n"])
def test_merges_that_are_none(folder, data):
    two_files(folder)
    (folder / "merges.txt").write_bytes(data)
    with pytest.raises(CheckpointError, match="merges"):
        TextFiles(folder)


def test_no_tokenizer_at_all(folder):
    two_files(folder)
    assert not TextFiles(folder).present  # vocab.json alone


def test_an_added_token_that_is_a_name_of_a_byte(folder):
    """As transformers adds "\u00b0" to a vocabulary where the byte 0xb0 is written so."""

    def add(tokenizer):
        known = tokenizer["model"]["vocab"]["\u00b0"]
        tokenizer["added_tokens"].append({"id": known, "content": "\u00b0", "special": False, **PLAIN})

    text_files.edit(folder / "tokenizer.json", add)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: .*0xb0; .* remove '°'"):
        text_files.tokenizer(folder)
