"""Checkpoints in several files, which go one by one as they are packed."""

import shutil
from pathlib import Path

import pytest

import qwen3edge
from qwen3edge.convert import SourceGoneError, convert
from qwen3edge.errors import HubError
from qwen3edge.hub import pull
from qwen3edge.hub.inventory import entries
from tests.hub.conftest import NAME, checkpoint_files, left_over, sharded, tiny_files
from tests.hub.servers import Repository

SHARDS = 4


@pytest.fixture
def folder(tmp_path):
    """A checkpoint in four files."""
    made = tmp_path / "sharded"
    made.mkdir()
    for name, data in sharded(tiny_files(), SHARDS, tmp_path).items():
        if "/" not in name:
            (made / name).write_bytes(data)
    return made


def test_a_file_goes_when_no_later_tensor_needs_it(folder, tmp_path, tiny_model_path):
    there, tensors = [], []
    shards = sorted(folder.glob("*.safetensors"))

    def packing(progress) -> None:
        tensors.append(progress.tensor)
        there.append(sum(shard.exists() for shard in shards))

    convert(folder, tmp_path / "a.q3e", progress=packing, done_with=lambda path: path.unlink(), name="tiny-qwen3")
    assert there[0] == SHARDS and there == sorted(there, reverse=True) and set(there) >= {1, 2, 3, 4}
    assert not any(shard.exists() for shard in shards)
    convert(tiny_model_path, tmp_path / "b.q3e")
    assert (tmp_path / "a.q3e").read_bytes() == (tmp_path / "b.q3e").read_bytes()


def test_the_files_of_a_mixture_go_one_by_one(tmp_path, tiny_moe_path):
    """Experts are many tensors of the checkpoint and one of the file."""
    files = {path.name: path.read_bytes() for path in tiny_moe_path.iterdir() if path.is_file()}
    folder = tmp_path / "moe"
    folder.mkdir()
    for name, data in sharded(files, 3, tmp_path).items():
        (folder / name).write_bytes(data)
    there = []
    convert(
        folder,
        tmp_path / "a.q3e",
        name="moe",
        progress=lambda _: there.append(len(list(folder.glob("*.safetensors")))),
        done_with=lambda path: path.unlink(),
    )
    assert set(there) >= {1, 2, 3}
    convert(tiny_moe_path, tmp_path / "b.q3e", name="moe")
    assert (tmp_path / "a.q3e").read_bytes() == (tmp_path / "b.q3e").read_bytes()


def test_less_space_is_demanded_where_files_go(folder, tmp_path, monkeypatch):
    free = []

    def usage(directory):
        free.append(space)
        return shutil._ntuple_diskusage(1 << 40, 0, space)

    monkeypatch.setattr("qwen3edge.formats.atomic.shutil.disk_usage", usage)
    space = 1 << 39
    space = convert(folder, tmp_path / "whole.q3e").nbytes * 3 // 4
    with pytest.raises(qwen3edge.errors.CheckpointError, match="free space"):
        convert(folder, tmp_path / "a.q3e")
    convert(folder, tmp_path / "a.q3e", done_with=lambda path: path.unlink())
    assert len(free) == 3


def tiny_weights(tmp_path, layer: int = 3) -> dict[str, bytes]:
    """A down projection so small that bf16 must hold it: of the last layer, when it is known other files are gone."""
    return sharded(tiny_files(), SHARDS, tmp_path, {f"layers.{layer}.mlp.down_proj": 1e-8})


def small_folder(tmp_path, layer: int) -> Path:
    folder = tmp_path / "small"
    folder.mkdir()
    for name, data in tiny_weights(tmp_path, layer).items():
        if "/" not in name:
            (folder / name).write_bytes(data)
    return folder


def test_files_are_held_once_it_is_known_that_they_are_needed_again(tmp_path):
    folder, gone = small_folder(tmp_path, 0), []
    report = convert(folder, tmp_path / "a.q3e", done_with=gone.append)
    assert any("are stored as bf16" in note for note in report.notes)
    assert sorted(path.name for path in gone) == sorted(path.name for path in folder.glob("*.safetensors"))


def test_files_that_are_needed_again(tmp_path):
    folder = small_folder(tmp_path, 3)
    with pytest.raises(SourceGoneError, match="too small for their format"):
        convert(folder, tmp_path / "a.q3e", done_with=lambda path: path.unlink())
    assert not (tmp_path / "a.q3e").exists()


def test_files_that_are_needed_again_are_fetched_again(huggingface, tmp_path, cache):
    huggingface.repositories[NAME] = Repository(tiny_weights(tmp_path))
    pulled = pull(NAME, discard=True)
    assert any("are stored as bf16" in note for note in pulled.notes)
    assert left_over(cache) == [] and [entry.tag for entry in entries()] == ["int4"]


def test_discard_leaves_the_packed_file_alone(either, tmp_path, cache):
    either.repositories[NAME] = Repository(sharded(checkpoint_files(), SHARDS, tmp_path))
    pulled = pull(NAME, discard=True)
    assert [entry.tag for entry in entries()] == ["int4"] and left_over(cache) == []
    assert pull(NAME).already and pull(NAME).fetched == 0
    assert pulled.path.exists()


def test_discard_afterwards(huggingface):
    pull(NAME)
    assert {entry.tag for entry in entries()} == {"int4", "checkpoint"}
    assert pull(NAME, discard=True).already
    assert [entry.tag for entry in entries()] == ["int4"]


def test_discard_needs_less_space(huggingface, tmp_path, monkeypatch):
    """The numbers of the refusal."""
    files = huggingface.repositories[NAME].files = sharded(checkpoint_files(), SHARDS, tmp_path)
    monkeypatch.setattr("qwen3edge.hub.space.shutil.disk_usage", lambda folder: shutil._ntuple_diskusage(0, 0, 0))
    needs = []
    for discard in (False, True):
        with pytest.raises(HubError, match="free space") as raised:
            pull(NAME, discard=discard)
        words = str(raised.value).replace(",", "").split()
        needs.append([int(word) for word in words if word.isdigit()])
    (whole, download, packed), (_, _, beside) = needs
    assert download == sum(
        len(data) for name, data in files.items() if name.endswith(".safetensors") and "/" not in name
    )
    assert whole == download + packed and beside < packed
    monkeypatch.undo()


def test_shards_that_the_index_names_and_nobody_has(huggingface, tmp_path):
    files = huggingface.repositories[NAME].files = sharded(checkpoint_files(), SHARDS, tmp_path)
    del files["model-00002-of-00004.safetensors"]
    with pytest.raises(HubError, match=r"1 that are not there.*model-00002"):
        pull(NAME)
    files["model.safetensors.index.json"] = b'{"weight_map": {"a": "../x.safetensors", "b": "config.json"}}'
    with pytest.raises(HubError, match="2 that are not there"):
        pull(NAME)
