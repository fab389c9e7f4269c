"""Hubs that break off, stall, lie and refuse."""

import hashlib
import os
import threading

import pytest

from qwen3edge.errors import HubError, Qwen3EdgeError
from qwen3edge.hub import patience, pull
from qwen3edge.hub.inventory import CHECKPOINT, entries
from tests.hub.conftest import NAME, checkpoint_files, left_over
from tests.hub.servers import Fault, Repository

WEIGHTS = "model.safetensors"
SIZE = len(checkpoint_files()[WEIGHTS])
TOKENS = {"huggingface": "HF_TOKEN", "modelscope": "MODELSCOPE_API_TOKEN"}


def first_bytes(hub) -> list[int]:
    """From where the weights were asked for, each time."""
    return [int(ask.range.removeprefix("bytes=").rstrip("-") or 0) for ask in hub.asked if ask.host == "cdn"
            and ask.path.endswith(WEIGHTS)]  # fmt: skip


def test_a_broken_connection_goes_on_where_it_stopped(hub, cache):
    hub.repositories[NAME].faults[WEIGHTS] = [Fault(cut=SIZE // 3), Fault(cut=10), Fault(cut=0), Fault(cut=SIZE // 2)]
    pulled = pull(NAME)
    starts = first_bytes(hub)
    assert starts[0] == 0 and starts == sorted(starts) and len(starts) == 5 and starts[-1] > SIZE * 2 // 3
    assert pulled.path.exists() and left_over(cache) == []


def test_the_next_pull_goes_on_where_the_last_one_gave_up(either):
    either.repositories[NAME].faults[WEIGHTS] = [Fault(cut=SIZE // 2), *[Fault(cut=0)] * (patience.ATTEMPTS - 1)]
    with pytest.raises(HubError, match="the same pull goes on"):
        pull(NAME)
    assert [(entry.tag, entry.complete) for entry in entries()] == [(CHECKPOINT, False)]
    before = len(first_bytes(either))
    pulled = pull(NAME)
    assert first_bytes(either)[before:] == [first_bytes(either)[before - 1]] and 0 < pulled.fetched < SIZE * 2 // 3


def test_a_server_without_ranges_begins_again(either):
    either.repositories[NAME].faults[WEIGHTS] = [Fault(cut=SIZE // 3), Fault(ranges=False)]
    assert pull(NAME).path.exists()
    assert len(first_bytes(either)) == 2


def test_a_server_that_is_busy_is_asked_again(either):
    faults = either.repositories[NAME].faults
    busy = [Fault(status=429, retry_after="0.01"), Fault(status=503), Fault(status=500)]
    faults[WEIGHTS], faults["config.json"] = list(busy), list(busy)
    assert pull(NAME).path.exists()


def test_a_listing_that_is_busy_is_asked_again(huggingface):
    huggingface.repositories[NAME].faults[""] = [Fault(status=429, retry_after="0.01"), Fault(status=502)]
    assert pull(NAME).path.exists()


def test_a_server_that_stays_busy_ends_it(huggingface):
    huggingface.repositories[NAME].faults[WEIGHTS] = [Fault(status=503)] * patience.ATTEMPTS
    with pytest.raises(HubError, match=r"HTTP 503 \(6 attempts\)"):
        pull(NAME)


def test_a_server_that_stalls_is_left(huggingface, monkeypatch):
    monkeypatch.setattr("qwen3edge.hub.huggingface._TIMEOUT", 0.2)
    huggingface.repositories[NAME].faults[WEIGHTS] = [Fault(stall=0.6)]
    assert pull(NAME).path.exists()
    assert len(first_bytes(huggingface)) == 2


def test_wrong_content_is_not_kept(hub, cache):
    wrong = bytes(SIZE)
    hub.repositories[NAME].faults[WEIGHTS] = [Fault(body=wrong), Fault(body=wrong)]
    with pytest.raises(HubError, match=f"{WEIGHTS}: expected content with the sha256 hash"):
        pull(NAME)
    assert left_over(cache) == [] and not list(cache.rglob(f"*{hashlib.sha256(wrong).hexdigest()}"))
    assert pull(NAME).path.exists()


def test_a_wrong_beginning_is_noticed_and_fetched_again(either):
    """What a part holds may be of another file, as a mirror once had it."""
    either.repositories[NAME].faults[WEIGHTS] = [Fault(body=bytes(SIZE), cut=SIZE // 3)]
    assert pull(NAME).path.exists()
    assert first_bytes(either)[-1] == 0


def test_small_files_are_checked_as_well(huggingface):
    wrong = checkpoint_files()["config.json"].replace(b"256", b"257")
    huggingface.repositories[NAME].faults["config.json"] = [Fault(body=wrong), Fault(body=wrong)]
    with pytest.raises(HubError, match="git hash"):
        pull(NAME)


@pytest.mark.parametrize("body", [bytes(SIZE + 1), bytes(SIZE - 1)], ids=["longer", "shorter"])
def test_another_size_than_listed_is_refused(either, body, cache):
    either.repositories[NAME].faults[WEIGHTS] = [Fault(body=body)] * 2
    with pytest.raises(HubError, match=f"expected {SIZE:,} bytes as listed"):
        pull(NAME)
    assert not list(cache.rglob("*.q3e"))


def test_more_bytes_than_a_size_that_was_not_told_are_not_written(huggingface, cache):
    """A body without a length, as long as its server likes."""
    fault = Fault(body=bytes(SIZE + 1_000_000), headers=(("Content-Encoding", "br"),))
    huggingface.repositories[NAME].faults[WEIGHTS] = [fault]
    with pytest.raises(HubError):
        pull(NAME)
    assert all(path.stat().st_size <= SIZE for path in cache.rglob("*.part"))


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_private_model_names_the_variable(hub, status):
    hub.repositories[NAME].faults[""] = [Fault(status=status)]
    with pytest.raises(HubError, match=TOKENS[hub.source] if status != 404 else "not there"):
        pull(NAME)


def test_a_token_is_sent_to_the_hub_alone_and_told_to_nobody(hub, monkeypatch, cache, command):
    hub.repositories[NAME].token = token = "secret-of-a-user"
    assert command("pull", NAME).status == 1
    monkeypatch.setenv(TOKENS[hub.source], token)
    ran = command("pull", NAME, "--json")
    assert ran.status == 0, ran
    hub.repositories[NAME].faults[WEIGHTS] = [Fault(status=403)]
    refused = command("pull", f"{NAME}:int8", "--discard")
    sent = [ask for ask in hub.asked if token in ask.authorization + ask.cookie]
    assert sent and {ask.host for ask in sent} == {"hub"}
    assert any(ask.host == "cdn" for ask in hub.asked)
    assert token not in repr((ran, refused)) and "Signature" not in repr((ran, refused))
    assert not any(token.encode() in path.read_bytes() for path in cache.rglob("*") if path.is_file())


def hostile(key: str, value: object):
    def told(entry):
        return entry | {key: value} if entry.get("rfilename", entry.get("Path")) == WEIGHTS else entry

    return told


PATHS = {"huggingface": "rfilename", "modelscope": "Path"}
SIZES = {"huggingface": "size", "modelscope": "Size"}


ELSEWHERE = [
    "../model.safetensors",
    "/etc/cron.d/x",
    "a/../../b.safetensors",
    "a\\..\\b",
    "a\nb",
    "",
    7,
    "a//b",
    "x" * 600,
]


@pytest.mark.parametrize("path", ELSEWHERE)
def test_paths_that_lead_elsewhere_are_refused(hub, cache, path):
    hub.repositories[NAME].told = hostile(PATHS[hub.source], path)
    with pytest.raises(HubError, match="expected the paths of files"):
        pull(NAME)
    assert not list(cache.rglob("*.q3e")) and not (cache.parent / "model.safetensors").exists()


@pytest.mark.parametrize("size", [-1, 1 << 60, "9", None, 1.5])
def test_sizes_that_are_none_are_refused(hub, size):
    hub.repositories[NAME].told = hostile(SIZES[hub.source], size)
    with pytest.raises(HubError, match="expected a size"):
        pull(NAME)


@pytest.mark.parametrize("digest", ["../" * 21 + "x", "z" * 64, "ab" * 31, 5])
def test_hashes_that_are_none_are_refused(huggingface, digest):
    lfs = {"sha256": digest, "size": SIZE, "pointerSize": 130}
    huggingface.repositories[NAME].told = hostile("lfs", lfs)
    with pytest.raises(HubError, match="hexadecimal"):
        pull(NAME)


def test_without_hashes_sizes_are_all_that_is_checked(huggingface):
    huggingface.repositories[NAME].told = lambda entry: {k: v for k, v in entry.items() if k not in ("lfs", "blobId")}
    assert pull(NAME).path.exists()
    assert pull(NAME).already


NO_LISTINGS = [b"<html>", b"[]", b"{}", b'{"sha": 5, "siblings": []}', b'{"siblings": [5]}', b"null", b"{" * 100_000]


@pytest.mark.parametrize("body", NO_LISTINGS, ids=range(len(NO_LISTINGS)))
def test_listings_that_are_none_are_refused(hub, body):
    hub.repositories[NAME].faults[""] = [Fault(body=body)] * 8
    with pytest.raises(HubError):
        pull(NAME)


def test_a_link_in_the_cache_is_not_written_through(huggingface, cache, tmp_path):
    """Somebody else's file, behind the name that a part would have."""
    precious = tmp_path / "precious"
    precious.write_bytes(b"mine")
    digest = hashlib.sha256(checkpoint_files()[WEIGHTS]).hexdigest()
    folder = cache / "checkpoints" / "huggingface" / NAME
    folder.mkdir(parents=True)
    (folder / f"sha256-{digest}.part").symlink_to(precious)
    with pytest.raises(OSError):
        pull(NAME)
    assert precious.read_bytes() == b"mine"


def test_what_huggingface_hub_has_is_not_fetched_again(huggingface):
    from huggingface_hub import hf_hub_download  # noqa: PLC0415

    theirs = [hf_hub_download(NAME, path, endpoint=huggingface.url) for path in (WEIGHTS, "tokenizer.json")]
    before = len(first_bytes(huggingface))
    pulled = pull(NAME, discard=True)
    assert len(first_bytes(huggingface)) == before and 0 < pulled.fetched < 20_000
    assert pull(NAME).already
    assert all(os.path.exists(path) for path in theirs)  # discarded is only what is ours


def test_what_huggingface_hub_has_broken_is_fetched(huggingface):
    from huggingface_hub import hf_hub_download  # noqa: PLC0415

    path = hf_hub_download(NAME, WEIGHTS, endpoint=huggingface.url)
    with open(path, "r+b") as file:
        file.seek(SIZE // 2)
        file.write(b"rotten")
    assert pull(NAME).fetched > SIZE


def test_two_pulls_at_once_fetch_once(either):
    either.repositories[NAME].faults[WEIGHTS] = [Fault(stall=0.002)]
    found, steps = [], []

    def work() -> None:
        found.append(pull(NAME, show=lambda step: steps.append(step.doing)))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(pulled.already for pulled in found) == [False, True]
    assert first_bytes(either) == [0] and "waiting" in steps


def test_free_space_is_checked_before_the_weights(hub, monkeypatch, cache):
    class Usage:
        free = SIZE

    monkeypatch.setattr("qwen3edge.hub.space.shutil.disk_usage", lambda folder: Usage)
    with pytest.raises(HubError, match=r"expected [\d,]+ bytes of free space, [\d,]+ for the download and .*found"):
        pull(NAME)
    assert first_bytes(hub) == []


def test_a_model_of_another_architecture_is_refused_before_the_weights(either):
    config = checkpoint_files()["config.json"].replace(b'"qwen3"', b'"mamba"')
    assert b"mamba" in config
    either.repositories[NAME] = Repository({**checkpoint_files(), "config.json": config})
    with pytest.raises(Qwen3EdgeError, match="mamba"):
        pull(NAME)
    assert first_bytes(either) == []


def test_offline_is_said(huggingface, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="offline"):
        pull(NAME)


def test_nobody_listens(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match="ConnectError"):
        pull(NAME)
