"""A model is pulled in a process of its own: what fetching and packing take of the memory does not count in the one
that loads the model.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from qwen3edge.errors import HubError
from qwen3edge.hub.cache import cached, find
from qwen3edge.hub.model_name import ModelName

_PROGRAM = "import sys; from qwen3edge.cli.main import main; sys.exit(main())"
_VERB = "pull"


def resolve(model: str, show: Callable[[dict[str, Any]], None] | None = None) -> str | os.PathLike[str]:
    """The path of a model: a file's as it is; of a name the one in the cache, pulled first if it is not there.

    show: called with the fields of each Step, on this thread; None: progress goes to standard error if that is a
    terminal. Raises RequestError, HubError.
    """
    name = None if os.path.lexists(model) else ModelName.read(model)
    if name is not None and cached(name) is None:
        _pull(name, show)
    return find(model)


def pull_command(name: ModelName, *, quiet: bool) -> list[str]:
    """Of a process that pulls a model. It prints a JSON object a line: the fields of each Step, then those of Pulled,
    or what went wrong as `error`. quiet: without progress on standard error.
    """
    return [sys.executable, "-c", _PROGRAM, _VERB, "--json", *(["--quiet"] if quiet else []), "--", str(name)]


def child_environment() -> dict[str, str]:
    """In which it finds this package."""
    paths = [os.path.abspath(path) if path else os.getcwd() for path in sys.path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}


def failure(name: ModelName, error: str, status: int) -> HubError:
    """Of such a process. error: what it printed, if anything."""
    return HubError(error or f"{name}: the process that pulled it ended with status {status}")


def _pull(name: ModelName, show: Callable[[dict[str, Any]], None] | None) -> None:
    command, environment = pull_command(name, quiet=show is not None), child_environment()
    error = ""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment) as child:
        assert child.stdout is not None
        try:
            for line in child.stdout:
                told = json.loads(line)
                error = told.get("error", error)
                if show is not None and "doing" in told:
                    show(told)
        except BaseException:
            child.terminate()
            raise
    if child.returncode:
        raise failure(name, error, child.returncode)
