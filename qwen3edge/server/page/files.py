"""`/`, which is the page for a browser and a line of text for a program; and the page's files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from qwen3edge.errors import shown
from qwen3edge.server.errors import NotFoundError
from qwen3edge.server.route import get, router
from qwen3edge.server.safety import PAGE_FILES

INDEX = "index.html"
_FOLDER = Path(__file__).parent / "files"
HEADERS = {
    # All from this server, no script or style within the page's text, and no script may make elements of a text.
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",  # it may be kept, but another version of the server has another page
}
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

routes = router("page")


@dataclass(frozen=True)
class File:
    """One of the page's. tag: of its content, so that a browser that has it already is not sent it again."""

    content: bytes
    media_type: str
    tag: str

    @classmethod
    def of(cls, path: Path) -> File:
        """Reads it."""
        content = path.read_bytes()
        tag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
        return cls(content, _TYPES[path.suffix], tag)


@cache
def files() -> dict[str, File]:
    """All of them by their paths, read once. Nothing else can be asked for, whatever a path says."""
    paths = [path for path in _FOLDER.rglob("*") if path.suffix in _TYPES]
    return {path.relative_to(_FOLDER).as_posix(): File.of(path) for path in paths}


@get(routes, "/")
async def root(request: Request) -> Response:
    """The page for who accepts text/html; for others a line that says that the server runs, as Ollama's clients ask
    for. Needs no key.
    """
    if not _wants_html(request.headers.get("accept", "")):
        return PlainTextResponse("qwen3edge is running", headers={"Vary": "Accept"})
    response = _response(request, files()[INDEX])
    response.headers["Vary"] = "Accept"
    return response


async def file(request: Request) -> Response:
    """One of the page's files."""
    name = request.path_params["name"]
    found = files().get(name)
    if found is None:
        raise NotFoundError(f"expected a file of the page, found {shown(name)}")
    return _response(request, found)


routes.add_api_route("/", root, methods=["HEAD"], include_in_schema=False)
routes.add_api_route(PAGE_FILES + "{name:path}", file, methods=["GET", "HEAD"], include_in_schema=False)


def _response(request: Request, found: File) -> Response:
    headers = {**HEADERS, "ETag": found.tag}
    if found.tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(found.content, media_type=found.media_type, headers=headers)


def _wants_html(accept: str) -> bool:
    """A client that takes anything (`*/*`) is a program."""
    kinds = (each.partition(";") for each in accept.lower().split(","))
    return any(kind.strip() == "text/html" and "q=0" not in rest.replace(" ", "").split(";") for kind, _, rest in kinds)
