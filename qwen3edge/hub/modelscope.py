"""ModelScope: by modelscope_hub, the client that `modelscope` itself is built on, which knows MODELSCOPE_ENDPOINT,
MODELSCOPE_API_TOKEN and logins.

Its own downloads join the paths that a server sends to a folder unchecked, and keep large files twice while they are
put together. So only its listing and its stream of a file are used.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from modelscope_hub import HubApi, HubConfig
from modelscope_hub import HubError as ModelScopeError
from modelscope_hub.errors import APIError, NotExistError

from qwen3edge.errors import HubError
from qwen3edge.hub.repository import (
    InterruptedTransfer,
    Listing,
    Stream,
    Told,
    checked_listing,
    require_success,
    stream_place,
)

_TOKEN = "MODELSCOPE_API_TOKEN"
_REVISION = "master"
_CHUNK = 1 << 16  # bytes; what a break loses of one


class ModelScope:
    """A Hub. Branches are listed without their commits: `revision` is the branch, files are told apart by hashes."""

    source = "modelscope"

    def __init__(self) -> None:
        self._api = HubApi(HubConfig())
        self._endpoint = ""  # modelscope.cn or modelscope.ai, which is asked for

    def listing(self, repository: str) -> Listing:
        """See Hub."""
        with self._refusals(repository):
            if not self._endpoint:
                self._endpoint = self._api.resolve_endpoint_for_read(repository)
                self._api = HubApi(HubConfig(), endpoint=self._endpoint)
            try:
                files = self._api.legacy.list_repo_files(repository, "model", _REVISION)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise HubError(f"{self._named(repository)}: expected the hub's JSON: {type(error).__name__}") from None
        if not isinstance(files, list) or not all(isinstance(file, dict) for file in files):
            raise HubError(f"{self._named(repository)}: expected a list of files, found another answer")
        told = (
            Told(file.get("Path"), file.get("Size"), {"sha256": file.get("Sha256")})
            for file in files
            if file.get("Type") != "tree"
        )
        return checked_listing(repository, _REVISION, told)

    @contextmanager
    def stream(self, listing: Listing, path: str, start: int) -> Iterator[Stream]:
        """See Hub. The token goes to the hub alone: where it redirects to another host, the client leaves it out."""
        what = f"{listing.repository}: {path}"
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
        with self._refusals(what):
            response = self._api.legacy.download_stream(listing.repository, "model", path, listing.revision, headers)
            with response:
                place = stream_place(response.status_code, response.headers, self._named(what))
                yield Stream(*place, response.iter_content(_CHUNK))

    def in_own_cache(self, listing: Listing, path: str) -> Path | None:
        """Its layouts differ by version: none."""
        return None

    @contextmanager
    def _refusals(self, what: str) -> Iterator[None]:
        """Its errors as ours."""
        try:
            yield
        except APIError as error:
            after = getattr(error, "retry_after", None)
            status = error.status_code or (404 if isinstance(error, NotExistError) else 500)
            require_success(status, None if after is None else str(after), self._named(what), _TOKEN)
            raise HubError(f"{self._named(what)}: expected success, found {type(error).__name__}") from None
        except ModelScopeError as error:
            raise InterruptedTransfer(f"{self._named(what)}: {type(error).__name__}") from None
        except requests.RequestException as error:
            raise InterruptedTransfer(f"{self._named(what)}: {type(error).__name__}") from None

    def _named(self, what: str) -> str:
        return f"{what} on {self._endpoint or 'modelscope'}"
