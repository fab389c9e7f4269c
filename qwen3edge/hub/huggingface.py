"""Hugging Face, and what speaks like it: by huggingface_hub, which knows HF_ENDPOINT, HF_TOKEN, proxies and logins.

Its `hf_hub_download` throws away what a broken or killed process had fetched, and compares no hashes. So the bytes come
through its client, with its headers, by requests of ours; they go on where they stopped, and are checked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, get_session, get_token, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

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

_TOKEN = "HF_TOKEN"
_TIMEOUT = httpx2.Timeout(30, connect=10)
_CHUNK = 1 << 16  # bytes; what a break loses of one


class HuggingFace:
    """A Hub."""

    source = "huggingface"

    def __init__(self) -> None:
        self._endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
        self._api = HfApi(endpoint=self._endpoint, library_name="qwen3edge")

    def listing(self, repository: str) -> Listing:
        """See Hub."""
        try:
            info = self._api.model_info(repository, files_metadata=True, timeout=30)
        except HfHubHTTPError as error:
            response = error.response
            require_success(response.status_code, response.headers.get("retry-after"), self._named(repository), _TOKEN)
            raise HubError(f"{self._named(repository)}: expected a model, found HTTP {response.status_code}") from None
        except (OfflineModeIsEnabled, HFValidationError) as error:
            raise HubError(f"{self._named(repository)}: {error}") from None
        except httpx2.HTTPError as error:
            raise InterruptedTransfer(f"{self._named(repository)}: {_kind(error)}") from None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise HubError(f"{self._named(repository)}: expected the hub's JSON: {_kind(error)}") from None
        told = (
            Told(file.rfilename, file.size, {"sha256": getattr(file.lfs, "sha256", None), "git": file.blob_id})
            for file in info.siblings or []
        )
        return checked_listing(repository, info.sha, told)

    @contextmanager
    def stream(self, listing: Listing, path: str, start: int) -> Iterator[Stream]:
        """See Hub. The token goes to the hub alone: where it redirects to another host, the client leaves it out."""
        url = hf_hub_url(listing.repository, path, revision=listing.revision, endpoint=self._endpoint)
        ours = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
        headers = build_hf_headers(token=get_token() or False, library_name="qwen3edge", headers=ours)
        what = f"{self._named(listing.repository)}: {path}"
        try:
            with get_session().stream("GET", url, headers=headers, timeout=_TIMEOUT) as response:
                require_success(response.status_code, response.headers.get("retry-after"), what, _TOKEN)
                place = stream_place(response.status_code, response.headers, what)
                yield Stream(*place, response.iter_bytes(_CHUNK))
        except OfflineModeIsEnabled as error:
            raise HubError(f"{what}: {error}") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
            raise InterruptedTransfer(f"{what}: {_kind(error)}") from None

    def in_own_cache(self, listing: Listing, path: str) -> Path | None:
        """The file where huggingface_hub itself has it, of the same revision."""
        found = try_to_load_from_cache(listing.repository, path, revision=listing.revision)
        return Path(found) if isinstance(found, str) else None

    def _named(self, repository: str) -> str:
        return f"{repository} on {self._endpoint}"


def _kind(error: Exception) -> str:
    """Without addresses: those of a CDN are signed."""
    return type(error).__name__
