"""Whatever kills a convert, and whenever: the target is the old file or the new one, and nothing else loads."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qwen3edge import _core
from qwen3edge.convert import convert
from qwen3edge.errors import CheckpointError, FileFormatError
from qwen3edge.formats.q3e import Q3eWriter, TensorSpec

# Converts, and dies by its own hand at the nth call of one function (argv: source, target, function, n).
CHILD = """if True:
    import os, signal, sys
    from qwen3edge import _core
    from qwen3edge.convert import convert
    source, target, name, last = sys.argv[1:]
    calls = 0

    def counted(call):
        def wrapper(*arguments):
            global calls
            calls += 1
            if calls == int(last):
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments)
        return wrapper

    if name == "crc32":
        _core.crc32 = counted(_core.crc32)  # after each piece that was written
    elif name != "never":
        setattr(os, name, counted(getattr(os, name)))
    print("ready", flush=True)
    convert(source, target, "int4", name="tiny")
"""


def start(source: Path, target: Path, function: str = "never", call: int = 0) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", CHILD, str(source), str(target), function, str(call)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def loadable(folder: Path) -> list[Path]:
    found = []
    for path in folder.iterdir():
        try:
            _core.ModelFile(str(path)).verify()
            found.append(path)
        except FileFormatError:
            pass
    return found


@pytest.fixture(scope="module")
def complete(tiny_q3e, tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("complete") / "m.q3e"
    convert(Path(__file__).parent / "data" / "tiny-qwen3", path, "int4", name="tiny")
    return path.read_bytes()


POINTS = [("crc32", 1), ("crc32", 2), ("crc32", 20), ("crc32", 48), ("fsync", 1), ("replace", 1), ("fsync", 2)]


@pytest.mark.parametrize("point", POINTS, ids=str)
@pytest.mark.parametrize("old", [False, True], ids=["new", "replaced"])
def test_killed_at_a_point(tmp_path, tiny_model_path, complete, point, old):
    target = tmp_path / "m.q3e"
    if old:
        target.write_bytes(b"old")
    child = start(tiny_model_path, target, *point)
    assert child.wait(60) == -signal.SIGKILL
    renamed = point == ("fsync", 2)  # only the directory's own sync was missing
    assert loadable(tmp_path) == ([target] if renamed else [])
    if renamed:
        assert target.read_bytes() == complete
    elif old:
        assert target.read_bytes() == b"old"
    convert(tiny_model_path, target, "int4", name="tiny")
    assert [path.name for path in tmp_path.iterdir()] == ["m.q3e"], "what was left is removed"
    assert target.read_bytes() == complete


def test_killed_at_random_moments(tmp_path, tiny_model_path, complete, seed):
    moments = random.Random(seed)
    target = tmp_path / "m.q3e"
    for _ in range(12):
        child = start(tiny_model_path, target)
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        time.sleep(moments.uniform(0, 0.25))
        child.kill()
        child.wait(60)
        found = loadable(tmp_path)
        assert found in ([], [target])
        if found:
            assert target.read_bytes() == complete
            target.unlink()
    convert(tiny_model_path, target, "int4", name="tiny")
    assert [path.name for path in tmp_path.iterdir()] == ["m.q3e"]


SPECS = [TensorSpec("a", "f32", 16, 32)]


def test_the_temporary_file_of_a_living_convert_stays(tmp_path):
    with Q3eWriter(tmp_path / "m.q3e", {}, SPECS):
        (mine,) = tmp_path.iterdir()
        with Q3eWriter(tmp_path / "m.q3e", {}, SPECS):
            assert mine.exists()
            assert len(list(tmp_path.iterdir())) == 2
    assert not list(tmp_path.iterdir())


def test_files_of_others_stay(tmp_path):
    others = [
        "m.q3e.part",
        ".m.q3e.part",
        ".m.q3e.0123456789abcdef.partial",
        ".n.q3e.0123456789abcdef.part",
        ".m.q3e.0123.part",
    ]
    for name in others:
        (tmp_path / name).touch()
    (tmp_path / ".m.q3e.0123456789abcdef.part").mkdir()
    (tmp_path / ".m.q3e.fedcba9876543210.part").touch()  # only this is a convert's, and dead
    Q3eWriter(tmp_path / "m.q3e", {}, SPECS).__exit__(None, None, None)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*others, ".m.q3e.0123456789abcdef.part"])


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), MemoryError()])
def test_an_error_leaves_nothing(tmp_path, tiny_model_path, monkeypatch, error):
    calls = 0

    def fail(*_):
        nonlocal calls
        calls += 1
        if calls > 10:
            raise error
        return 0

    monkeypatch.setattr(_core, "crc32", fail)
    with pytest.raises(type(error)):
        convert(tiny_model_path, tmp_path / "m.q3e", "int4")
    assert not list(tmp_path.iterdir())


def test_an_error_in_the_progress_leaves_nothing(tmp_path, tiny_model_path):
    def fail(progress):
        if progress.index == 5:
            raise CheckpointError("stop")

    with pytest.raises(CheckpointError, match="stop"):
        convert(tiny_model_path, tmp_path / "m.q3e", "int4", progress=fail)
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_up(tmp_path, tiny_model_path):
    code = """if True:
        import resource, signal, sys
        from qwen3edge.convert import convert
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        try:
            convert(sys.argv[1], sys.argv[2], "int4")
        except OSError as error:
            print(error)
    """
    command = [sys.executable, "-c", code, str(tiny_model_path), str(tmp_path / "m.q3e")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "File too large" in result.stdout
    assert not list(tmp_path.iterdir())


def test_permissions_follow_the_umask(tmp_path, tiny_model_path):
    old = os.umask(0o027)
    try:
        convert(tiny_model_path, tmp_path / "m.q3e", "int8")
    finally:
        os.umask(old)
    assert (tmp_path / "m.q3e").stat().st_mode & 0o777 == 0o640
