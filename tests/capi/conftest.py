"""The library, and models that C and Python both have open."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import qwen3edge
from qwen3edge.convert import convert
from tests.capi.library import Api, open_library


@pytest.fixture(scope="session")
def library(c_build):
    return open_library(c_build / "qwen3edge" / "libqwen3edge.so")


@pytest.fixture(scope="session")
def api(library):
    return Api(library)


@dataclass
class Both:
    """One file, open twice. folder: of the checkpoint, with held-out items."""

    path: Path
    folder: Path
    python: qwen3edge.Model
    c: Any


def opened(api, path, folder, **settings):
    settings = {"context": 1024, "threads": 2, **settings}
    c = api.load(path, **settings)
    with qwen3edge.load(
        path, memory="2GiB", **{"sequences" if k == "sessions" else k: v for k, v in settings.items()}
    ) as python:
        yield Both(path, folder, python, c)
    api.library.q3e_model_free(c)


@pytest.fixture(scope="module", params=["dense", "moe", "qwen2"])
def models(request, api, tiny_int4, tiny_model_path, tmp_path_factory):
    """Of each architecture."""
    folder, path = tiny_model_path, tiny_int4
    if request.param != "dense":
        folder = request.getfixturevalue(f"tiny_{request.param}_path")
        path = tmp_path_factory.mktemp(request.param) / "int4.q3e"
        convert(folder, path, "int4")
    yield from opened(api, path, folder)


@pytest.fixture(scope="module")
def both(api, tiny_int4, tiny_model_path):
    """The dense one, for several answers at once."""
    yield from opened(api, tiny_int4, tiny_model_path, sessions=4)
