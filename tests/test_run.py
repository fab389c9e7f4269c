"""tests/run.py: a failure in any process is in the last line and in the exit status."""

import sys

import pytest

from tests import run

PASS, FAIL, SKIP = (
    "def test_a(): pass",
    "def test_a(): assert 0",
    "import pytest\npytest.skip('x', allow_module_level=True)",
)
CRASH = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"


@pytest.mark.parametrize(
    ("sources", "status", "summary"),
    [
        ([PASS, PASS], 0, "2 passed in "),
        ([FAIL, PASS], 1, "1 failed, 1 passed in "),
        ([PASS, FAIL], 1, "1 failed, 1 passed in "),
        ([SKIP, PASS], 0, "1 passed, 1 skipped in "),
        ([CRASH, PASS], 137, "1 passed, 1 error in "),
        (["1 +", PASS], 2, "1 passed, 1 error in "),
    ],
)
def test_summary_and_status(monkeypatch, tmp_path, capfdbinary, sources, status, summary):
    paths = [tmp_path / f"test_{i}.py" for i in range(len(sources))]
    for path, source in zip(paths, sources, strict=True):
        path.write_text(source)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # which take longer than the tests
    monkeypatch.setattr(run, "processes", lambda: [([str(path), "-p", "no:cacheprovider"], {}) for path in paths])
    found = run.main([f"--rootdir={tmp_path}", "-o", "addopts=-q"])
    sys.stdout.flush()
    assert found == status
    assert capfdbinary.readouterr().out.decode().splitlines()[-1].startswith(summary)


def test_kernels_are_collected_in_their_own_process_only(pytestconfig):
    assert not [item for item in run.processes()[2][0] if "kernels" in item]
    (interpreted, first), (compiled, second), _ = run.processes()
    assert interpreted[0] == "tests/kernels" and first == {"TRITON_INTERPRET": "1"}
    assert compiled[0] == "tests/kernels_compiled" and not second
