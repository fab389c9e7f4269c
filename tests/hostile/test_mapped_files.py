"""Files that change or vanish while they are mapped, and mappings that cannot be had: typed errors, never a crash."""

import os
import resource
import signal
import struct
import subprocess
import sys
import threading

import pytest

from qwen3edge import _core
from qwen3edge.errors import TruncatedFileError
from tests.hostile.model_image import STRING, array, good_image, text

GOOD = good_image()


@pytest.fixture
def large(tmp_path, tiny_q3e):
    """The tiny model in f32: 18 MB, opened, and its path."""
    path = tmp_path / "large.q3e"
    path.write_bytes(tiny_q3e("f32").read_bytes())
    return path, _core.ModelFile(str(path))


def test_a_mapped_file_that_shrinks(large):
    path, file = large
    os.truncate(path, 1 << 20)
    with pytest.raises(TruncatedFileError, match="shrank"):
        file.verify()
    with pytest.raises(TruncatedFileError, match="shrank"):
        file.dequantize("output_norm.weight")
    assert int(file.packed("output_norm.weight").sum()) == 0  # zeros instead of a crash
    path.write_bytes(path.read_bytes())  # the damage stays known
    with pytest.raises(TruncatedFileError):
        file.verify()


def test_a_mapped_file_that_vanishes(large):
    path, file = large
    os.truncate(path, 0)
    for call in (file.verify, lambda: file.dequantize("token_embd.weight"), lambda: file.get("qwen3edge.recipe")):
        with pytest.raises(TruncatedFileError, match="shrank"):
            call()
    with pytest.raises(TruncatedFileError, match="empty"):
        _core.ModelFile(str(path))


def test_a_mapped_file_that_somebody_writes_to(tmp_path):
    path = tmp_path / "m.q3e"
    data = GOOD.copy().set("x", array(STRING, [text("abc"), text("def")])).build()
    path.write_bytes(data)
    file = _core.ModelFile(str(path))
    for length in (2**64 - 1, 2**63, 2**20, 4):
        at = data.index(text("abc"))
        with open(path, "r+b") as target:
            os.pwrite(target.fileno(), struct.pack("<Q", length), at)
        with pytest.raises(TruncatedFileError, match="changed"):
            file.get("x")


def test_a_file_that_shrinks_under_several_readers(large):
    path, file = large
    other = path.with_name("other.q3e")
    other.write_bytes(path.read_bytes())
    healthy = _core.ModelFile(str(other))
    results = []

    def read(model):
        try:
            model.verify()
            results.append("good")
        except TruncatedFileError:
            results.append("shrank")

    os.truncate(path, 100_000)
    threads = [threading.Thread(target=read, args=(model,)) for model in (file, healthy, file, healthy)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["good", "good", "shrank", "shrank"]


def run_python(code: str, *arguments: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, **options
    )


def test_faults_elsewhere_still_kill(tiny_q3e):
    code = """if True:
        import mmap, sys, tempfile
        from qwen3edge import _core
        model = _core.ModelFile(sys.argv[1])
        with tempfile.TemporaryFile() as file:
            file.truncate(8192)
            view = mmap.mmap(file.fileno(), 8192)
            file.truncate(0)
            print(view[5000])
    """
    assert run_python(code, str(tiny_q3e("int4"))).returncode == -signal.SIGBUS


def test_a_signal_that_somebody_sent_still_kills(tiny_q3e):
    code = """if True:
        import os, signal, sys
        from qwen3edge import _core
        model = _core.ModelFile(sys.argv[1])
        os.kill(os.getpid(), signal.SIGBUS)
    """
    assert run_python(code, str(tiny_q3e("int4"))).returncode == -signal.SIGBUS


def test_an_address_space_that_is_too_small(tmp_path):
    path = tmp_path / "sparse.q3e"
    path.write_bytes(GOOD.build())
    os.truncate(path, 64 << 30)
    code = """if True:
        import sys
        from qwen3edge import _core
        try:
            _core.ModelFile(sys.argv[1])
        except MemoryError as error:
            print(error)
    """
    limit = (8 << 30, 8 << 30)
    result = run_python(code, str(path), preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, limit))
    assert "cannot map" in result.stdout, result.stderr


def test_opening_costs_no_memory_for_what_a_header_claims(tmp_path):
    """The size of every list is compared with the file before it is made."""
    image = GOOD.copy().set("x", array(STRING, [], 2**40)).build()
    (tmp_path / "m.q3e").write_bytes(image)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(100):
        with pytest.raises(TruncatedFileError):
            _core.ModelFile(str(tmp_path / "m.q3e"))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB


def test_many_files_open_at_once(tmp_path):
    path = tmp_path / "m.q3e"
    path.write_bytes(GOOD.build())
    files = [_core.ModelFile(str(path)) for _ in range(500)]
    views = [file.packed("token_embd.weight") for file in files]
    del files
    assert len({view.tobytes() for view in views}) == 1
