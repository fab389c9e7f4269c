"""tests/sanitize.py: what it runs and leaves out exists, and a copy follows the repository."""

import os

from tests import sanitize


def test_names_are_those_of_tests():
    for name in [*sanitize.LEFT_OUT, *(folder for folders in sanitize.FOLDERS.values() for folder in folders)]:
        path, _, test = name.partition("::")
        assert (sanitize.ROOT / path).exists(), path
        assert not test or f"def {test}(" in (sanitize.ROOT / path).read_text(), name


def test_a_copy_follows(tmp_path, monkeypatch):
    root, copy = tmp_path / "root", tmp_path / "copy"
    monkeypatch.setattr(sanitize, "ROOT", root)
    monkeypatch.setattr(sanitize, "PARTS", ["csrc", "setup.py"])
    (root / "csrc" / "io").mkdir(parents=True)
    for name in ("csrc/io/a.cpp", "csrc/io/b.cpp", "csrc/built.so", "setup.py"):
        (root / name).write_text(name)
    sanitize.copy_repository(copy)
    assert sorted(str(p.relative_to(copy)) for p in copy.rglob("*") if p.is_file()) == [
        "csrc/io/a.cpp", "csrc/io/b.cpp", "setup.py",
    ]  # fmt: skip
    before = (copy / "csrc/io/a.cpp").stat()
    (root / "csrc/io/b.cpp").unlink()
    (root / "setup.py").write_text("new")
    os.utime(root / "setup.py", ns=(1, 1))
    (copy / "csrc" / "built.so").write_text("the copy's own")
    sanitize.copy_repository(copy)
    assert not (copy / "csrc/io/b.cpp").exists()
    assert (copy / "setup.py").read_text() == "new" and (copy / "csrc" / "built.so").exists()
    assert (copy / "csrc/io/a.cpp").stat().st_ctime_ns == before.st_ctime_ns  # not written again
