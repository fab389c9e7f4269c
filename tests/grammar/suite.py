"""The JSON Schema Test Suite, which jsonschema's source distribution carries."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

DRAFTS = ("draft3", "draft4", "draft6", "draft7", "draft2019-09", "draft2020-12")


def fetch_suite(folder: Path) -> str:
    """Puts the archive into a folder. Returns what pip said where it has none."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    command += ["--dest", str(folder), f"jsonschema=={version('jsonschema')}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stderr.strip()[-200:] or "nothing") if done.returncode else ""


def read_suite(folder: Path) -> dict[str, dict[str, Any]]:
    """Groups of tests by draft, file and description, also those that a draft leaves to programs (`optional`). Raises
    FileNotFoundError where the archive cannot be had.
    """
    if not list(folder.glob("jsonschema-*.tar.gz")) and (said := fetch_suite(folder)):
        raise FileNotFoundError(f"pip has no source distribution of jsonschema here: {said}")
    found = {}
    with tarfile.open(next(folder.glob("jsonschema-*.tar.gz"))) as archive:
        for member in archive:
            parts = Path(member.name).parts[1:]
            if parts[:2] != ("json", "tests") or len(parts) < 4 or parts[2] not in DRAFTS or not member.isfile():
                continue
            file = archive.extractfile(member)
            assert file is not None
            for group in json.load(file):
                found["/".join((*parts[2:], group["description"]))] = group
    return found
