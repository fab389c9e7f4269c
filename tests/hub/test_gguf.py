"""GGUF repositories: which file a tag means."""

import re

import pytest

from qwen3edge.convert import export_gguf
from qwen3edge.errors import HubError, RequestError
from qwen3edge.hub import find, pull
from qwen3edge.hub.inventory import entries
from qwen3edge.hub.model_name import ModelName
from qwen3edge.hub.repository import Told, checked_listing
from qwen3edge.hub.selection import is_gguf, select_gguf
from tests.hub.conftest import NAME, checkpoint_files
from tests.hub.servers import Repository

REPOSITORY = "Some/Qwen3-0.6B-GGUF"
UNSLOTH = [
    *("Qwen3-0.6B-Q4_K_M.gguf", "Qwen3-0.6B-Q8_0.gguf", "Qwen3-0.6B-UD-Q4_K_XL.gguf", "Qwen3-0.6B-IQ4_XS.gguf"),
    *("BF16/Qwen3-0.6B-BF16-00001-of-00002.gguf", "BF16/Qwen3-0.6B-BF16-00002-of-00002.gguf", "mmproj-F16.gguf"),
    *("imatrix_unsloth.gguf", "README.md", "config.json"),
]


def selected(paths: list[str], tag: str | None, quant: str | None = None):
    listing = checked_listing(REPOSITORY, "a" * 40, [Told(path, 10, {}) for path in paths])
    name = ModelName(REPOSITORY, tag)
    assert is_gguf(listing, name)
    chosen = select_gguf(listing, name, quant)
    return chosen.tag, [file.path for file in chosen.weights]


@pytest.mark.parametrize(
    ("tag", "found"),
    [
        ("Q4_K_M", ("Q4_K_M", UNSLOTH[:1])),
        ("q4_k_m", ("Q4_K_M", UNSLOTH[:1])),
        ("UD-Q4_K_XL", ("UD-Q4_K_XL", UNSLOTH[2:3])),
        ("IQ4_XS", ("IQ4_XS", UNSLOTH[3:4])),
        ("BF16", ("BF16", UNSLOTH[4:6])),
        ("Qwen3-0.6B-Q8_0", ("Q8_0", UNSLOTH[1:2])),
        ("Q8_0+int4", ("Q8_0+int4", UNSLOTH[1:2])),
    ],
)
def test_a_tag_means_one_file(tag, found):
    assert selected(UNSLOTH, tag) == found


@pytest.mark.parametrize("tag", ["Q4_K_XL", "Q4", "Q5_K_M", "F16", None])
def test_tags_that_mean_none_or_several_list_what_there_is(tag):
    with pytest.raises(HubError, match=re.escape(f"{REPOSITORY}:Q4_K_M") + ".*:UD-Q4_K_XL"):
        selected(UNSLOTH, tag)


def test_two_models_of_one_type_are_told_apart_by_their_names():
    paths = ["a-Q4_0.gguf", "b-Q4_0.gguf", "b-Q8_0.gguf"]
    with pytest.raises(HubError, match=r":a-Q4_0, .*:b-Q4_0, .*:Q8_0"):
        selected(paths, "Q4_0")
    assert selected(paths, "b-Q4_0") == ("b-Q4_0", paths[1:2])


def test_the_only_file_needs_no_tag():
    assert selected(["qwen3-0_6b-q8_0.gguf", "mmproj.gguf"], None) == ("q8_0", ["qwen3-0_6b-q8_0.gguf"])


def test_parts_that_are_missing_are_refused():
    with pytest.raises(HubError, match="the 2 parts"):
        selected(["m-Q4_0-00001-of-00002.gguf"], "Q4_0")


def test_names_of_files_that_cannot_be_names_here_are_refused():
    with pytest.raises(HubError, match="plain name"):
        selected(["my model (1).gguf"], None)


def test_weights_of_no_kind_list_what_there_is():
    listing = checked_listing(REPOSITORY, "a" * 40, [Told("pytorch_model.bin", 10, {})])
    with pytest.raises(HubError, match=r"safetensors or GGUF files, found pytorch_model\.bin"):
        is_gguf(listing, ModelName(REPOSITORY))


@pytest.fixture
def gguf(tiny_q3e, tmp_path) -> bytes:
    path = tmp_path / "tiny.gguf"
    export_gguf(tiny_q3e("int8"), path)
    return path.read_bytes()


def test_a_gguf_file_is_fetched_and_packed(either, gguf, tiny_q3e):
    files = {"tiny-Q8_0.gguf": gguf, "tiny-Q4_0.gguf": b"not this one", "README.md": b""}
    either.repositories[REPOSITORY] = Repository(files)
    pulled = pull(f"{REPOSITORY}:Q8_0", discard=True)
    assert (pulled.name, pulled.fetched) == (f"{REPOSITORY}:Q8_0", len(gguf))
    assert find(f"{REPOSITORY}:q8_0") == pulled.path == find(REPOSITORY)
    assert [entry.tag for entry in entries()] == ["Q8_0"]
    assert pull(f"{REPOSITORY}:Q8_0").already
    again = pull(f"{REPOSITORY}:Q8_0", quant="int4")
    assert again.name == f"{REPOSITORY}:Q8_0+int4" and again.nbytes < pulled.nbytes
    assert pull(f"{REPOSITORY}:Q8_0+int4").already


def test_safetensors_come_first_where_a_repository_has_both(huggingface, gguf):
    huggingface.repositories[NAME] = Repository(checkpoint_files() | {"tiny-Q8_0.gguf": gguf, "tiny-BF16.gguf": gguf})
    assert pull(NAME).name == f"{NAME}:int4"
    assert pull(f"{NAME}:Q8_0").fetched == len(gguf)
    assert pull(f"{NAME}:bf16").fetched == 0
    with pytest.raises(RequestError, match=f"{NAME}:Q8_0"):
        pull(f"{NAME}:Q5_0")
