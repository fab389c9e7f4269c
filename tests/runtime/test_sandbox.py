"""What surrounds a model: sandboxes that refuse io_uring or kill for it, file systems, holes in files."""

import ctypes
import errno
import os
import platform
import signal
import subprocess
import sys

import pytest

import qwen3edge
from qwen3edge import _core
from qwen3edge.errors import CorruptFileError, MemoryBudgetError, RequestError
from tests.conftest import ROOT
from tests.runtime.test_cancel import streamed

IO_URING = "425,426,427"  # on every architecture

LOGITS = """
import hashlib, sys
from qwen3edge import _core
settings = {"context": 256, "sequences": 2, "chunk": 64, "threads": 2, "program": 1 << 20}
engine = _core.Engine(_core.ModelFile(sys.argv[1]), memory=int(sys.argv[2]), io_uring=sys.argv[3] == "True", **settings)
logits = engine.forward(range(50), range(50), [0] * 50, [True] * 50)
assert engine.metrics["bytes_read"] > 0
print(hashlib.sha256(logits.tobytes()).hexdigest())
"""


def logits(path, io_uring, *prefix):
    command = [*prefix, sys.executable, "-c", LOGITS, path, streamed(path)["memory"], io_uring]
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="needs seccomp's numbers of this machine")
def test_io_uring_in_sandboxes(tiny_int4):
    expected = logits(tiny_int4, True)
    assert expected.returncode == 0, expected.stderr
    filtered = [sys.executable, ROOT / "tests" / "seccomp.py"]
    for action in (errno.EPERM, errno.ENOSYS, errno.EACCES):
        assert logits(tiny_int4, True, *filtered, action, IO_URING).stdout == expected.stdout, action
    killed = logits(tiny_int4, True, *filtered, "trap", IO_URING)
    assert killed.returncode == -signal.SIGSYS, "the filter works: else what follows shows nothing"
    allowed = logits(tiny_int4, False, *filtered, "trap", IO_URING)
    assert (allowed.returncode, allowed.stdout) == (0, expected.stdout)


def test_load_without_io_uring(tiny_int4, monkeypatch):
    seen = {}
    real = _core.Engine
    monkeypatch.setattr(_core, "Engine", lambda file, **settings: (seen.update(settings), real(file, **settings))[1])
    for chosen in (True, False):
        with qwen3edge.load(tiny_int4, context=64, texts=False, io_uring=chosen):
            assert seen["io_uring"] is chosen
    with pytest.raises(RequestError, match="expected io_uring as True or False, found 'no'"):
        qwen3edge.load(tiny_int4, io_uring="no")


# Refuses shared mappings of files, as FUSE with direct_io, vboxsf and some mounts of 9p do.
NO_SHARED = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
void* mmap(void* p, size_t n, int access, int flags, int fd, off_t at) {
  static void* (*real)(void*, size_t, int, int, int, off_t);
  if (!real) real = (void* (*)(void*, size_t, int, int, int, off_t))dlsym(RTLD_NEXT, "mmap");
  const int private = getenv("NO_PRIVATE") == NULL && (flags & MAP_TYPE) == MAP_PRIVATE;
  if (fd >= 0 && !private) { errno = ENODEV; return MAP_FAILED; }
  return real(p, n, access, flags, fd, at);
}
void* mmap64(void* p, size_t n, int access, int flags, int fd, off_t at) { return mmap(p, n, access, flags, fd, at); }
"""

OPEN = """
import os, sys
from qwen3edge import _core
if len(sys.argv) > 2: os.environ["NO_PRIVATE"] = "1"
try:
    file = _core.ModelFile(sys.argv[1])
    file.verify()
    print(len(file.tensors()))
except OSError as error:
    print(error)
"""


def test_a_file_system_without_shared_mappings(tiny_int4, tmp_path):
    (tmp_path / "shim.c").write_text(NO_SHARED)
    library = tmp_path / "shim.so"
    compiler = os.environ.get("CC", "cc")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, tmp_path / "shim.c", "-ldl"], check=True)
    environment = {**os.environ, "LD_PRELOAD": f"{os.environ.get('LD_PRELOAD', '')} {library}".strip()}

    def opened(*arguments):
        command = [sys.executable, "-c", OPEN, str(tiny_int4), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout

    assert int(opened()) == len(_core.ModelFile(str(tiny_int4)).tensors())
    assert "cannot map" in opened("neither") and "copy it to a file system" in opened("neither")


def test_without_proc_the_budget_must_be_given(tiny_int4):
    if os.geteuid() != 0:
        pytest.skip("needs root, to cover /proc")
    program = (
        "import sys; from qwen3edge import _core; f = _core.ModelFile(sys.argv[1])\n"
        "try: _core.plan(f, context=64)\n"
        "except Exception as e: print(type(e).__name__, e)\n"
        "print(_core.plan(f, context=64, memory=1 << 30)['budget'] == 1 << 30)\n"
    )
    script = 'mount -t tmpfs none /proc && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", script, "sh", sys.executable, "-c", program, str(tiny_int4)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip("no mount namespaces here")
    refused, given = result.stdout.splitlines()
    assert refused.startswith(MemoryBudgetError.__name__) and "memory=600MiB" in refused
    assert given == "True"


def punch(path, offset, nbytes):
    """A hole in a file: its bytes read as zeros, and its size stays."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(path, "r+b") as file:
        done = libc.fallocate(file.fileno(), 3, ctypes.c_long(offset), ctypes.c_long(nbytes))
    if done != 0:
        if ctypes.get_errno() in (errno.EOPNOTSUPP, errno.ENOSYS):
            pytest.skip("a file system without holes")
        raise OSError(ctypes.get_errno(), "fallocate")


def test_a_hole_is_found_by_verify(tiny_int4, tmp_path):
    path = tmp_path / "hole.q3e"
    path.write_bytes(tiny_int4.read_bytes())
    with qwen3edge.load(path, context=64, texts=False, verify=True) as model:
        expected = model.logits([1, 2, 3])
    punch(path, path.stat().st_size // 2 // 4096 * 4096, 16384)
    with qwen3edge.load(path, context=64, texts=False) as model:
        assert (model.logits([1, 2, 3]) != expected).any(), "as docs/format.md says: nothing tells it"
    with pytest.raises(CorruptFileError, match="checksum"):
        qwen3edge.load(path, context=64, texts=False, verify=True)
    result = subprocess.run(
        [sys.executable, "-m", "qwen3edge", "info", "--verify", str(path)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "checksum" in result.stderr


VERIFY = """
import sys
from qwen3edge import _core
file = _core.ModelFile(sys.argv[1])
before = _core.peak_resident_bytes()
file.verify()
print(_core.peak_resident_bytes() - before)
"""


def test_verify_stays_within_a_few_mebibytes(tiny_q3e):
    """It comes before the model is loaded, under the same budget."""
    path = tiny_q3e("f32")
    nbytes = path.stat().st_size
    assert nbytes > 12 << 20
    result = subprocess.run([sys.executable, "-c", VERIFY, str(path)], capture_output=True, text=True, check=True)
    assert int(result.stdout) < 8 << 20
