"""Files that appear when they are complete."""

import errno
import os
import stat

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


def refuse(monkeypatch, code, kind):
    """fsync of files or of folders fails with this code."""

    def fsync(descriptor):
        if kind(os.fstat(descriptor).st_mode):
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("kind", [stat.S_ISDIR, stat.S_ISREG], ids=["folder", "file"])
@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP], ids=errno.errorcode.get)
def test_a_file_system_with_nothing_to_sync(tmp_path, monkeypatch, code, kind):
    """As CIFS and DrvFs answer for folders: the file is whole, and no failure is told."""
    refuse(monkeypatch, code, kind)
    with atomic.AtomicFile(tmp_path / "file", 4) as file:
        file.write(b"all.")
        file.commit()
    assert (tmp_path / "file").read_bytes() == b"all."
    with atomic.AtomicFolder(tmp_path / "folder", 4) as folder:
        folder.write_text("name", "all.")
        folder.commit()
    assert (tmp_path / "folder" / "name").read_text() == "all."


@pytest.mark.parametrize("kind", [stat.S_ISDIR, stat.S_ISREG], ids=["folder", "file"])
def test_a_disk_that_fails_at_sync_is_told(tmp_path, monkeypatch, kind):
    refuse(monkeypatch, errno.EIO, kind)
    with pytest.raises(OSError, match="Input/output"), atomic.AtomicFile(tmp_path / "file", 4) as file:
        file.write(b"all.")
        file.commit()


def test_a_folder_that_may_not_be_read(tmp_path, monkeypatch):
    """A drop box: files can be made in it, but not listed. As root all may be read, so that open is told to refuse."""
    opened, listed = os.open, os.scandir

    def open_(path, flags, *rest, **kw):
        if flags & os.O_DIRECTORY:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return opened(path, flags, *rest, **kw)

    def scandir(path):
        if str(path) == str(tmp_path):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "open", open_)
    monkeypatch.setattr(os, "scandir", scandir)
    with atomic.AtomicFile(tmp_path / "file", 4) as file:
        file.write(b"all.")
        file.commit()
    assert (tmp_path / "file").read_bytes() == b"all."


@pytest.mark.parametrize("length", [200, 231, 232, 254, 255])
@pytest.mark.parametrize("letter", ["x", "ß"])
def test_names_as_long_as_the_file_system_takes(tmp_path, length, letter):
    """The temporary name is longer than the target's; what a dead writer left is found again all the same."""
    name = letter * (length // len(letter.encode()))
    dead = atomic.AtomicFile(tmp_path / name, 4)
    dead._file.close()  # its lock ends with it
    with atomic.AtomicFile(tmp_path / name, 4) as file:
        file.write(b"all.")
        file.commit()
    assert os.listdir(tmp_path) == [name]
