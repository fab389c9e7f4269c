"""Who may ask: hosts and origins that are allowed, and the server's key."""

from __future__ import annotations

import hmac
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qwen3edge.errors import RequestError, shown
from qwen3edge.server.errors import ForbiddenError, KeyRequiredError, ServerError
from qwen3edge.server.route import REQUEST_ID
from qwen3edge.server.tools import LEFT_OUT

OPEN_PATHS = ("/", "/health", "/v1/health")
"""What needs no key: it tells nothing, and a browser that opens a page sends none."""
PAGE_FILES = "/page/"
"""Nor do the files of the page."""

_ORIGIN = re.compile(r"https?://[^/*]+/?|(?!https?:)[a-z][a-z0-9+.-]*://(\*|[^/*]+)/?", re.ASCII | re.IGNORECASE)
"""Apps that show pages of their own have schemes of their own; some take a new name for each page."""

_CORS = {
    "Access-Control-Allow-Methods": "GET, POST, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "*, Authorization",
    "Access-Control-Max-Age": "600",
}
_READABLE = {"Access-Control-Expose-Headers": f"{LEFT_OUT}, {REQUEST_ID}, retry-after"}


@dataclass(frozen=True)
class Access:
    """host: that the server listens on. keys: one of which every request must have; none: no key is asked for. hosts:
    names by which clients may call it, beside addresses and its own. origins: of pages that may call it from a browser
    or an app, beside its own. pulls: whether clients may have models fetched from hubs.
    """

    host: str = "127.0.0.1"
    keys: Sequence[str] = ()
    hosts: Collection[str] = ()
    origins: Collection[str] = ()
    insecure: bool = False
    pulls: bool = False

    def __post_init__(self) -> None:
        if not all(self.keys):
            raise RequestError("expected an API key, found an empty one")
        if not all(key.isascii() for key in self.keys):
            raise RequestError("expected an API key of ASCII characters, found another")
        if strange := [origin for origin in self.origins if not _ORIGIN.fullmatch(origin)]:
            raise RequestError(
                "--allow-origin: expected http://HOST or https://HOST, or an app's, such as app://NAME or "
                f"vscode-webview://* for all of that kind, found {shown(strange[0])}"
            )
        if not (self.keys or self.insecure or _is_loopback(self.host)):
            raise RequestError(
                f"--host {self.host}: expected --api-key KEY beside a host that others reach, or --insecure if "
                "everybody there may use this server, found neither"
            )

    def check(self, scope: Scope) -> None:
        """Raises ForbiddenError for a foreign Host or Origin, KeyRequiredError without the key."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._knows(host):
            raise ForbiddenError(f"Host: expected an address, localhost or a name of --allow-host, found {shown(host)}")
        origin = headers.get("origin")
        if origin is not None and not self._allows(origin, host):
            raise ForbiddenError(f"Origin: expected this server's own, or one of --allow-origin, found {shown(origin)}")
        path = scope["path"]
        if self.keys and path not in OPEN_PATHS and not path.startswith(PAGE_FILES) and not self._has_key(headers):
            raise KeyRequiredError

    def _knows(self, host: str) -> bool:
        """A page that leads its own name to this machine's address (DNS rebinding) sends that name; addresses cannot be
        led anywhere.
        """
        name = _name_of(host)
        if name is None or _is_address(name):
            return name is not None
        return name in ("localhost", *(each.lower() for each in (self.host, socket.gethostname(), *self.hosts)))

    def _allows(self, origin: str, host: str) -> bool:
        scheme, _, name = origin.lower().partition("://")
        return self.shares_with(origin) or (scheme in ("http", "https") and name == host.lower())

    def shares_with(self, origin: str | None) -> bool:
        """Whether pages of an origin may read what they are answered."""
        if origin is None:
            return False
        allowed = {each.lower().rstrip("/") for each in self.origins}
        return bool({origin.lower(), f"{origin.lower().partition('://')[0]}://*"} & allowed)

    def _has_key(self, headers: Headers) -> bool:
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        given = bearer.strip() if kind.lower() == "bearer" else headers.get("x-api-key", "")
        found = False
        for key in self.keys:  # all, so that the time tells nothing
            found |= hmac.compare_digest(given.encode(), key.encode())
        return found


class Guarded:
    """An ASGI application that only those see who may."""

    def __init__(self, app: ASGIApp, access: Access, refuse: Callable[[Scope, ServerError], Response]) -> None:
        """refuse: makes the response to a request that is refused."""
        self._app, self._access, self._refuse = app, access, refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        origin = Headers(scope=scope).get("origin")
        asked = self._access.shares_with(origin)
        if asked and scope["method"] == "OPTIONS":
            await Response(status_code=204, headers=_shared_with(origin, _CORS))(scope, receive, send)
            return
        shared = _sharing(send, origin) if asked else send
        try:
            self._access.check(scope)
        except ServerError as error:
            await self._refuse(scope, error)(scope, receive, shared)
            return
        await self._app(scope, receive, shared)


def _sharing(send: Send, origin: str | None) -> Callable[[Message], Awaitable[None]]:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(_shared_with(origin, _READABLE))
        await send(message)

    return sent


def _shared_with(origin: str | None, more: dict[str, str]) -> dict[str, str]:
    return {"Access-Control-Allow-Origin": origin or "", "Vary": "Origin", **more}


def _name_of(host: str) -> str | None:
    """Without the port; None for what names no host."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)
