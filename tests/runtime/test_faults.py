"""Faults while a model runs: reads and allocations that fail are errors, and everything else goes on."""

import os
import re
import subprocess
import sys

import pytest

from qwen3edge import _core
from qwen3edge.errors import MemoryBudgetError
from tests.checkpoints import Shape, make_model, save, to_q3e

SETTINGS = {"context": 256, "threads": 2, "program": 1 << 20, "chunk": 64}


def smallest_budget(path) -> int:
    """With everything streamed."""
    with pytest.raises(MemoryBudgetError) as caught:
        _core.plan(_core.ModelFile(str(path)), memory=1 << 20, **SETTINGS)
    return int(re.search(r"memory=(\d+)MiB", str(caught.value))[1]) << 20


SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
static long left(const char* name) { const char* v = getenv(name); return v ? atol(v) : 0; }
ssize_t pread(int fd, void* to, size_t n, off_t at) {
  static ssize_t (*real)(int, void*, size_t, off_t);
  if (!real) real = (ssize_t (*)(int, void*, size_t, off_t))dlsym(RTLD_NEXT, "pread");
  if (left("FAIL_READS")) { errno = EIO; return -1; }
  return real(fd, to, n, at);
}
ssize_t pread64(int fd, void* to, size_t n, off_t at) { return pread(fd, to, n, at); }
void* mmap(void* p, size_t n, int access, int flags, int fd, off_t at) {
  static void* (*real)(void*, size_t, int, int, int, off_t);
  if (!real) real = (void* (*)(void*, size_t, int, int, int, off_t))dlsym(RTLD_NEXT, "mmap");
  const int many = left("FAIL_MAPS") && (long)n >= left("FAIL_MAPS");
  if (fd == -1 && (many || (long)n == left("FAIL_MAP"))) { errno = ENOMEM; return MAP_FAILED; }
  return real(p, n, access, flags, fd, at);
}
void* mmap64(void* p, size_t n, int access, int flags, int fd, off_t at) { return mmap(p, n, access, flags, fd, at); }
"""

READ_ERROR = """
import ctypes, sys
import numpy as np
from qwen3edge import _core
def run(engine, tokens, start=0):
    n = len(tokens)
    return engine.forward(tokens, np.arange(start, start + n), np.zeros(n, int), np.ones(n, bool))
setenv = ctypes.CDLL(None).setenv
file = _core.ModelFile(sys.argv[1])
settings = {"context": 256, "threads": 2, "program": 1 << 20, "chunk": 64}
engine = _core.Engine(file, memory=int(sys.argv[2]), **settings)
expected = run(engine, np.arange(20))
setenv(b"FAIL_READS", b"1", 1)
for _ in range(4):  # what was read ahead may still serve a call
    try:
        run(engine, np.arange(10), start=20)
    except OSError as error:
        print(error)
        break
    else:
        continue
assert engine.length(0) == 20
setenv(b"FAIL_READS", b"0", 1)
print((run(engine, np.arange(20)) == expected).all())
"""

NO_MEMORY = """
import ctypes, sys
import numpy as np
from qwen3edge import _core
def run(engine, tokens, start=0):
    n = len(tokens)
    return engine.forward(tokens, np.arange(start, start + n), np.zeros(n, int), np.ones(n, bool))
setenv = ctypes.CDLL(None).setenv
file = _core.ModelFile(sys.argv[1])
settings = {"context": 256, "threads": 2, "program": 1 << 20, "chunk": 64}
first = _core.Engine(file, **settings)
expected = run(first, np.arange(20))
plan = _core.plan(file, memory=int(sys.argv[2]), **settings)
for name, part in ((b"FAIL_MAP", "buffers"), (b"FAIL_MAPS", "kv_cache"), (b"FAIL_MAPS", "scratch")):
    setenv(name, str(plan[part]).encode(), 1)
    try:
        _core.Engine(file, memory=int(sys.argv[2]), **settings)
    except MemoryError as error:
        print(error)
    setenv(name, b"0", 1)
print((run(first, np.arange(20)) == expected).all())
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    library = folder / "shim.so"
    command = [os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O1", "-o", library, folder / "shim.c", "-ldl"]
    subprocess.run(command, check=True)
    return library


def faulty(shim, code, tiny_int4, memory):
    preload = f"{os.environ.get('LD_PRELOAD', '')} {shim}".strip()  # a sanitizer's runtime must come first
    environment = {**os.environ, "LD_PRELOAD": preload, "QWEN3EDGE_READER": "threads"}
    result = subprocess.run(
        [sys.executable, "-c", code, str(tiny_int4), str(memory)],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    shape = Shape(
        "moe", family="qwen3_moe", hidden=128, layers=3, heads=2, kv_heads=1, ffn=96, vocab=300, experts=16, top=3
    )
    return save(make_model(shape, 5), tmp_path_factory.mktemp("experts"))


@pytest.fixture(scope="module")
def experts(checkpoint):
    return to_q3e(checkpoint, "int4")


@pytest.mark.parametrize("kind", ["dense", "experts"])
def test_a_read_error(shim, tiny_int4, experts, kind):
    path = tiny_int4 if kind == "dense" else experts
    lines = faulty(shim, READ_ERROR, path, smallest_budget(path))
    assert "cannot read" in lines[0] and lines[1] == "True"


@pytest.mark.parametrize("kind", ["dense", "experts"])
def test_an_allocation_that_fails(shim, tiny_int4, experts, kind):
    path = tiny_int4 if kind == "dense" else experts
    memory = smallest_budget(path)
    if kind == "experts":  # in slots, all else resident
        memory = _core.plan(_core.ModelFile(str(path)), **SETTINGS)["peak"] - 1
    lines = faulty(shim, NO_MEMORY, path, memory)
    assert len(lines) == 4 and all("expected" in line for line in lines[:3]) and lines[3] == "True"
    assert ("slots for experts" in lines[0]) == (kind == "experts")


CONVERT = """
import resource, signal, sys
from qwen3edge.convert import convert
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    convert(sys.argv[1], sys.argv[2], "int4", allow_missing_tokenizer=True)
except OSError as error:
    print(error)
"""


@pytest.mark.parametrize("share", [0.4, 0.99])
def test_a_disk_that_fills_up_amid_the_experts(checkpoint, experts, tmp_path, share):
    tensor = max(_core.ModelFile(str(experts)).tensors(), key=lambda t: t["nbytes"])
    assert tensor["name"].endswith("_exps.weight")
    limit = int(share * experts.stat().st_size)
    command = [sys.executable, "-c", CONVERT, checkpoint, tmp_path / "m.q3e", str(limit)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "File too large" in result.stdout
    assert not list(tmp_path.iterdir())
