"""`make pythons`: builds and runs the package on every Python that pyproject.toml allows and that is found here.

For each: a wheel from the sdist in a new environment, all verbs of the command, and tests that need no torch, run
outside the checkout so that they meet the wheel. Says which Pythons are absent; fails if one that is here fails.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.installed import TINY, Environment, done, run_verbs, source_distribution  # noqa: E402

VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
TESTS = ("tests/generation", "tests/cli/test_cli.py", "tests/test_settings.py", "tests/test_checks.py")


def interpreter(version: str) -> Path | None:
    """One that starts: on PATH, else of pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    on_path = shutil.which(f"python{version}")
    for candidate in (on_path, *sorted(pyenv.glob(f"{version}.*/bin/python"))):
        if candidate is None:
            continue
        said = subprocess.run([candidate, "--version"], capture_output=True, text=True, check=False).stdout
        if said.startswith(f"Python {version}."):
            return Path(candidate)
    return None


def check(python: Path, source: Path, folder: Path) -> str:
    """Builds and runs with that Python; what the tests' last line says."""
    environment = Environment.new(python, folder / "venv")
    environment.install(f"{environment.wheel(source, folder)}[convert]", "pytest", "hypothesis", "matplotlib")
    model = folder / "tiny.q3e"
    done(environment.folder / "bin" / "qwen3edge", "convert", TINY, model, "--quiet", cwd=folder)
    lacking = {verb for verb, line in run_verbs(environment, model, folder).items() if line}
    assert lacking == {"aot"}, f"expected only aot to lack its extra, found {lacking}"
    # The tests find the wheel's package: there is no other beside them.
    (folder / "there").mkdir()
    shutil.copytree(ROOT / "tests", folder / "there" / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(ROOT / "pyproject.toml", folder / "there" / "pyproject.toml")
    said = done(
        environment.python, "-m", "pytest", "-q", "-m", "not slow", *TESTS, cwd=folder / "there",
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )  # fmt: skip
    return said.strip().splitlines()[-1]


def main() -> int:
    failed = []
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        builder = Environment.new(sys.executable, room / "builder")
        builder.install("build")
        source = source_distribution(room, builder.python)
        for version in VERSIONS:
            python = interpreter(version)
            if python is None:
                print(f"Python {version}: absent", flush=True)
                continue
            (room / version).mkdir()
            try:
                print(f"Python {version}: {check(python, source, room / version)}", flush=True)
            except AssertionError as error:
                failed.append(version)
                print(f"Python {version}: FAILED\n{error}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
