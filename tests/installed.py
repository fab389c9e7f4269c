"""The package as others install it: an sdist, a wheel, an empty environment, and every verb of the command there."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TINY = ROOT / "tests" / "data" / "tiny-qwen3"


def done(*command: object, **options: object) -> str:
    """What a command prints, which must end well."""
    result = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, **options)
    assert result.returncode == 0, f"{' '.join(map(str, command))}\n{result.stdout[-4000:]}{result.stderr[-4000:]}"
    return result.stdout


def source_distribution(folder: Path, python: str | Path = sys.executable) -> Path:
    """The sdist, by that Python's `build`."""
    done(python, "-m", "build", "--sdist", "--outdir", folder, ROOT)
    (found,) = folder.glob("*.tar.gz")
    return found


@dataclass(frozen=True)
class Environment:
    """A virtual environment."""

    folder: Path

    @classmethod
    def new(cls, python: str | Path, folder: Path) -> Environment:
        """An empty one, with that Python."""
        done(python, "-m", "venv", folder)
        return cls(folder)

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def wheel(self, source: Path, folder: Path) -> Path:
        """A wheel of ours, built from an sdist by this environment's Python."""
        done(self.python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, source)
        (found,) = folder.glob("qwen3edge-*.whl")
        return found

    def install(self, *what: object) -> None:
        done(self.python, "-m", "pip", "install", "--quiet", *what)

    def qwen3edge(self, *arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """The command, run elsewhere than in this checkout."""
        return subprocess.run(
            [str(self.folder / "bin" / "qwen3edge"), *map(str, arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
        )


def verbs(model: Path, folder: Path) -> dict[str, list[object]]:
    """Arguments of each verb of the command, on a `.q3e` file; what they write goes to the folder."""
    text = folder / "text.txt"
    text.write_text("What is 47 + 38? 47 + 38 = 85. " * 8)
    return {
        "convert": [TINY, folder / "new.q3e", "--quiet"],
        "export": [model, folder / "new.gguf", "--quiet"],
        "run": [model, "What is 47 + 38?", "--no-thinking", "--max-tokens", 8],
        "chat": [model, "--no-thinking", "--max-tokens", 8],
        "info": [model, "--verify"],
        "plan": [model],
        "bench": [model, "--prompt", 16, "--generate", 4, "--repeat", 1],
        "aot": ["--target", "sm_87", "--model", "0.6B", "--out", folder / "aot"],
        "calibrate": [model, "--out", folder / "new.npz", "--text", text, "--limit", 64, "--window", 32, "--quiet"],
        "embed": [model, text, "--dimensions", 4],
        "rerank": ["--help"],  # the tiny model has no token for yes
        "serve": ["--help"],  # it would not end
        "pull": ["--help"],  # there may be no hub
        "list": [],
        "rm": ["--help"],
        "eval": [model, "--text", text, "--limit", 64, "--window", 32, "--quiet"],
    }


def run_verbs(environment: Environment, model: Path, folder: Path) -> dict[str, str | None]:
    """What each verb said it lacks (a line of the error), or None where it worked. Anything else raises."""
    found: dict[str, str | None] = {}
    for verb, arguments in verbs(model, folder).items():
        result = environment.qwen3edge(verb, *arguments, stdin="What is 47 + 38?\n" if verb == "chat" else "")
        if result.returncode == 0:
            found[verb] = None
            continue
        lines = result.stderr.splitlines()
        assert len(lines) == 1 and "pip install 'qwen3edge[" in lines[0], f"{verb}: {result.stderr}"
        assert (result.returncode, result.stdout) == (1, "")
        found[verb] = lines[0]
    return found
