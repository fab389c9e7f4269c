"""A calibration that was killed goes on where it was, to the same bytes."""

import json

import pytest

from qwen3edge.calibrate import calibration, checkpoint
from qwen3edge.calibrate.calibration import Wanted, calibrate
from qwen3edge.errors import RequestError

WINDOW = 64


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def text(tmp_path_factory, tiny_model_path):
    path = tmp_path_factory.mktemp("text") / "text.jsonl"
    path.write_text("\n".join((tiny_model_path / "heldout.jsonl").read_text("utf-8").splitlines()[:6]), "utf-8")
    return path


@pytest.fixture
def always_saved(monkeypatch):
    monkeypatch.setattr(checkpoint, "SAVE_SECONDS", -1e9)


def run(model, out, wanted, resume, kill_at=None) -> list[tuple[str, int, int]]:
    """What it told. kill_at: the number of reports after which it dies."""
    told = []

    def progress(*step):
        told.append(step)
        if len(told) == kill_at:
            raise Killed

    calibrate(model, out, wanted, threads=1, progress=progress, resume=resume)
    return told


def test_the_same_bytes(tiny_q3e, text, tmp_path, always_saved):
    """Killed in the first pass, in a later one, and among the sensitivities."""
    wanted = Wanted(text, WINDOW, 300, grams=True, gram_bytes=6 << 20, sensitivities=True, sensitivity_tokens=32)
    model, state = tiny_q3e("f32"), tmp_path / "state"
    whole = run(model, tmp_path / "whole.npz", wanted, None)
    reading = [i for i, (what, _, _) in enumerate(whole) if what.startswith("reading")]
    for kill_at in (2, len(reading) // 2, 12):
        with pytest.raises(Killed):
            run(model, tmp_path / "resumed.npz", wanted, state, kill_at)
        assert not (tmp_path / "resumed.npz").exists()
    assert len(list(state.glob("pass-*.npz"))) > 2
    with pytest.raises(Killed):
        run(model, tmp_path / "resumed.npz", wanted, state, 20)
    done = json.loads((state / "sensitivities.json").read_text("utf-8"))
    assert len(done) > 1
    rest = run(model, tmp_path / "resumed.npz", wanted, state)
    assert not any(what.startswith("reading") for what, _, _ in rest)
    assert (tmp_path / "resumed.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_text_is_not_written_twice(tiny_q3e, tmp_path, always_saved, monkeypatch):
    wanted = Wanted(None, WINDOW, 128)
    model, state = tiny_q3e("bf16"), tmp_path / "state"
    run(model, tmp_path / "whole.npz", wanted, None)
    with pytest.raises(Killed):
        run(model, tmp_path / "resumed.npz", wanted, state, 2)
    monkeypatch.setattr(calibration, "write_text", None)
    run(model, tmp_path / "resumed.npz", wanted, state)
    assert (tmp_path / "resumed.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_what_is_refused(tiny_q3e, text, tmp_path, always_saved):
    model, state, out = tiny_q3e("bf16"), tmp_path / "state", tmp_path / "out.npz"
    wanted = Wanted(text, WINDOW, 128)
    run(model, out, wanted, state)
    for other, path in ((Wanted(text, WINDOW, 64), model), (Wanted(text, 32, 128), model), (wanted, tiny_q3e("f32"))):
        with pytest.raises(RequestError, match="expected the beginning of this calibration"):
            run(path, out, other, state)
    saved = (state / "pass-0.npz").read_bytes()
    for damaged in (b"", saved[:-40], b"PK\x05\x06" + bytes(18)):
        (state / "pass-0.npz").write_bytes(damaged)
        with pytest.raises(RequestError, match=r"pass-0\.npz"):
            run(model, out, wanted, state)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("x", "utf-8")
    with pytest.raises(RequestError, match="found other files"):
        run(model, out, wanted, tmp_path / "other")
