"""Files that appear when they are complete."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3edge.errors import CheckpointError
from qwen3edge.formats import atomic

BLOCK = 64


@settings(deadline=None)
@given(sizes=st.lists(st.integers(0, 3 * BLOCK), max_size=12), seed=st.integers(0, 99))
def test_writes_whole_blocks_and_loses_nothing(tmp_path_factory, sizes, seed):
    rng, target = np.random.default_rng(seed), tmp_path_factory.mktemp("atomic") / "file"
    pieces = [rng.integers(0, 256, size, np.uint8) for size in sizes]
    writes = []

    class Recorder:
        """Takes a write in parts, as a system call may."""

        def __init__(self, file):
            self.file = file

        def write(self, data):
            writes.append((self.file.tell(), len(data)))
            return self.file.write(data[: max(1, int(rng.integers(len(data) + 1)))])

        def __getattr__(self, name):
            return getattr(self.file, name)

    before, atomic.BLOCK = atomic.BLOCK, BLOCK
    try:
        with atomic.AtomicFile(target, sum(sizes)) as file:
            file._file = Recorder(file._file)
            for piece in pieces:
                file.write(piece if piece.size % 2 else piece.tobytes())
            file.commit()
    finally:
        atomic.BLOCK = before
    assert target.read_bytes() == b"".join(piece.tobytes() for piece in pieces)
    # All but the file's end is written up to a multiple of the block.
    assert all((at + size) % BLOCK == 0 or at + size == sum(sizes) for at, size in writes)


def test_matrices_are_written_row_by_row(tmp_path):
    matrix = np.arange(12, dtype="<u4").reshape(3, 4)
    with atomic.AtomicFile(tmp_path / "file", matrix.nbytes) as file:
        file.write(matrix)
        file.commit()
    assert (tmp_path / "file").read_bytes() == matrix.tobytes()


def test_a_target_that_is_no_file_stays(tmp_path):
    """What renames onto a device or a pipe replaces it: as root even /dev/null."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(CheckpointError, match="found a device or a pipe"):
        atomic.AtomicFile(pipe, 1)
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]
