"""From a name to a packed file: what is fetched, what is kept, what is there already."""

import json

import pytest

import qwen3edge
from qwen3edge.errors import HubError, RequestError
from qwen3edge.hub import entries, find, pull, remove
from qwen3edge.hub.inventory import Origin
from tests.hub.conftest import NAME, left_over, tiny_files
from tests.hub.servers import Fault, Repository

TEXTS = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"}


def test_a_model_is_fetched_and_packed(hub, cache, tiny_int4):
    hub.repositories[NAME] = Repository(tiny_files())
    pulled = pull(NAME)
    assert (pulled.name, pulled.already, pulled.source) == (f"{NAME}:int4", False, hub.source)
    assert pulled.path == cache / "models" / hub.source / NAME / "int4.q3e" == find(NAME)
    needed = sum(len(data) for path, data in tiny_files().items() if path in TEXTS | {"model.safetensors"})
    assert pulled.fetched == needed and left_over(cache) == []
    with qwen3edge.load(NAME, context=64) as ours, qwen3edge.load(tiny_int4, context=64) as theirs:
        assert (ours.logits([1, 2, 3]) == theirs.logits([1, 2, 3])).all() and ours.name == "tiny-qwen3"


def test_only_what_is_needed_is_asked_for(hub):
    pull(NAME)
    asked = " ".join(ask.path for ask in hub.asked) + " ".join(hub.fetched())
    assert not any(name in asked for name in (".bin", ".pth", ".onnx", ".png", "original", "README"))


def test_a_second_pull_ends_at_once_and_says_so(hub, command):
    pull(NAME)
    before = len(hub.asked)
    again = pull(NAME)
    assert again.already and again.fetched == 0
    new = hub.asked[before:]
    assert [ask.path for ask in new if "agent" not in ask.path] == [hub.asked[0].path]
    assert "is there already" in command("pull", NAME, "--quiet").out


def test_another_quant_fetches_nothing_again(either):
    pull(NAME)
    eight = pull(NAME, quant="int8")
    assert (eight.name, eight.fetched, eight.already) == (f"{NAME}:int8", 0, False)
    assert find(f"{NAME}:int8") == eight.path != find(NAME)
    assert pull(f"{NAME}:int8").already


def test_a_changed_model_is_noticed_and_only_the_change_is_fetched(either):
    first = pull(NAME)
    files = either.repositories[NAME].files
    files["generation_config.json"] = json.dumps({"temperature": 0.25, "do_sample": True}).encode()
    again = pull(NAME)
    assert not again.already and again.fetched == len(files["generation_config.json"])
    assert "the model has changed on the hub since it was pulled" in again.notes
    assert again.path == first.path
    with qwen3edge.load(NAME, context=64) as model:
        assert model.sampling_defaults.thinking.temperature == 0.25


def test_what_is_not_part_of_the_model_may_change(either):
    pull(NAME)
    either.repositories[NAME].files["README.md"] = b"another text"
    assert pull(NAME).already


def test_a_hub_that_cannot_be_reached_leaves_what_is_there(either):
    pull(NAME)
    either.repositories[NAME].faults[""] = [Fault(status=404)] * 20
    pulled = pull(NAME)
    assert pulled.already and "whether it has changed is not known" in pulled.notes[0]
    with pytest.raises(HubError, match="404"):
        pull(f"{NAME}:int8")


def test_several_packed_files_and_none_in_int4_are_ambiguous(huggingface):
    pull(NAME, quant="int8")
    assert find(NAME).name == "int8.q3e"
    pull(NAME, quant="bf16")
    with pytest.raises(RequestError, match=f"{NAME}:bf16, {NAME}:int8"):
        find(NAME)


def test_names_and_quants_that_are_none(huggingface):
    for name in ("tiny", "a/b/c", "../x", "a/..", "/etc/passwd", "a/b:", "a/b:c/d", "a b/c", "a/b..c", "x/y.q3e"):
        with pytest.raises(RequestError, match="expected a model's name"):
            pull(name)
    with pytest.raises(RequestError, match="int5"):
        pull(NAME, quant="int5")
    with pytest.raises(RequestError, match="int5"):
        pull(f"{NAME}:int5")
    with pytest.raises(RequestError, match="int8"):
        pull(f"{NAME}:int4", quant="int8")
    with pytest.raises(RequestError, match="source"):
        pull(NAME, source="elsewhere")


def test_list_and_rm(huggingface, cache, command):
    assert "nothing in" in command("list").out
    pull(NAME)
    pull(NAME, quant="int8")
    rows = {row["name"]: row for row in json.loads(command("list", "--json").out)}
    assert set(rows) == {NAME, f"{NAME}:int4", f"{NAME}:int8"}
    assert rows[f"{NAME}:int4"]["nbytes"] == (cache / "models" / "huggingface" / NAME / "int4.q3e").stat().st_size
    assert all(row["complete"] and row["source"] == "huggingface" for row in rows.values())
    text = command("list").out
    assert str(cache) in text and "int8" in text and "checkpoint" in text
    assert "freed" in command("rm", f"{NAME}:int8").out
    assert {entry.tag for entry in entries()} == {"int4", "checkpoint"}
    assert command("rm", NAME).status == 0
    assert entries() == []
    assert command("rm", NAME).status == 2


def test_the_last_packed_file_takes_the_checkpoint_with_it(huggingface):
    pull(NAME)
    assert [entry.tag for entry in remove(f"{NAME}:int4")] == ["int4", "checkpoint"]


def test_load_and_plan_fetch_nothing(huggingface):
    for function in (qwen3edge.load, qwen3edge.plan):
        with pytest.raises(FileNotFoundError, match="qwen3edge pull Tiny/tiny-qwen3") as raised:
            function(NAME)
        assert raised.value.filename == NAME
    assert huggingface.asked == []


def test_a_draft_model_of_the_cache(huggingface, tiny_int4, command):
    """By its name, in `plan` and `load`, and with --draft."""
    with pytest.raises(FileNotFoundError, match="qwen3edge pull Tiny/tiny-qwen3"):
        qwen3edge.plan(tiny_int4, context=64, draft=NAME)
    path = pull(NAME).path
    by_name, by_path = (qwen3edge.plan(tiny_int4, context=64, draft=draft).draft for draft in (NAME, path))
    assert by_name == by_path > 0
    words = ("run", tiny_int4, "What is 12 + 7?", "--no-thinking", "--temperature", 0, "--context", 256)
    assert command(*words, "--draft", NAME) == (0, "12 + 7 = 19\n", "")


def test_a_file_of_the_name_comes_first(huggingface, tiny_int4, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    pull(NAME)
    file = tmp_path / NAME
    file.parent.mkdir()
    file.symlink_to(tiny_int4)
    assert find(NAME) == NAME
    assert command("plan", NAME, "--context", 64).status == 0


def test_run_pulls_what_is_absent(huggingface, command):
    huggingface.repositories[NAME] = Repository(tiny_files())
    words = ("run", NAME, "What is 12 + 7?", "--no-thinking", "--temperature", 0, "--context", 256)
    assert command(*words) == (0, "12 + 7 = 19\n", "")
    before = len(huggingface.asked)
    assert command(*words).out == "12 + 7 = 19\n" and len(huggingface.asked) == before


def test_what_is_not_on_the_hub_is_told_in_one_line(huggingface, command):
    result = command("run", "No/such-model", "hi")
    assert (result.status, result.out) == (1, "")
    assert result.err.count("\n") == 1 and "No/such-model" in result.err and "not there" in result.err


def test_the_file_says_where_it_is_from(either):
    pulled = pull(NAME)
    origin = Origin.of(pulled.path)
    assert origin.revision == pulled.revision
    assert pulled.revision == (either.repositories[NAME].sha if either.source == "huggingface" else "master")


def test_json_lines_are_steps_and_the_result(huggingface, command):
    *steps, result = map(json.loads, command("pull", NAME, "--json").out.splitlines())
    doing = [step["doing"] for step in steps]
    assert doing[0] == "listing" and {"downloading", "packing"} <= set(doing)
    assert result["name"] == f"{NAME}:int4" and result["already"] is False
    error = json.loads(command("pull", "No/such", "--json").out.splitlines()[-1])
    assert "No/such" in error["error"]
