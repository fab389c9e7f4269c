"""What the server gives of the page, to whom, and how."""

import re
import sys

import pytest
from starlette.testclient import TestClient

from qwen3edge.server.app import make_app
from qwen3edge.server.metrics import Metrics
from qwen3edge.server.page.files import files
from qwen3edge.server.safety import Access
from tests.conftest import ROOT
from tests.server.scripted import URL

FOLDER = ROOT / "qwen3edge" / "server" / "page" / "files"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
OURS = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file()}


def imported(name: str) -> list[str]:
    """The modules that one of the page's imports, as paths."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    found = re.findall(r'^(?:import|export) [^;]*?from "([^"]+)";', text, re.MULTILINE)
    return [(FOLDER / name).parent.joinpath(each).resolve().relative_to(FOLDER).as_posix() for each in found]


@pytest.mark.parametrize("accept", [BROWSER, "text/html", "TEXT/HTML;q=0.9", "image/png, text/html"])
def test_a_browser_gets_the_page(scripted, accept):
    response = scripted.client.get("/", headers={"Accept": accept})
    assert response.status_code == 200 and response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["vary"] == "Accept" and response.text.startswith("<!doctype html>")


@pytest.mark.parametrize(
    "accept", ["*/*", "", "application/json", "text/plain", "text/html;q=0", "text/html; q=0, */*"]
)
def test_a_program_gets_a_line_that_says_that_it_runs(scripted, accept):
    response = scripted.client.get("/", headers={"Accept": accept})
    assert response.status_code == 200 and response.text == "qwen3edge is running"
    assert response.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("accept", [BROWSER, "*/*"])
@pytest.mark.parametrize("path", ["/", "/page/js/page.js"])
def test_head_says_what_get_says_without_its_body(scripted, path, accept):
    whole = scripted.client.get(path, headers={"Accept": accept})
    head = scripted.client.head(path, headers={"Accept": accept})
    assert head.status_code == 200 and head.content == b""
    assert dict(head.headers) == dict(whole.headers) and int(head.headers["content-length"]) == len(whole.content)


def test_other_methods_are_none_of_the_page(scripted):
    for path in ("/", "/page/js/page.js"):
        assert scripted.client.post(path, json={}).status_code == 405


def test_every_file_is_given_with_its_type_and_a_policy(scripted):
    assert set(files()) == OURS and len(OURS) > 20
    for name in OURS:
        response = scripted.client.get(f"/page/{name}")
        assert response.status_code == 200 and response.content == (FOLDER / name).read_bytes()
        policy = dict(each.split(" ", 1) for each in response.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'self'" and policy["require-trusted-types-for"] == "'script'"
        assert not {"script-src", "style-src", "connect-src"} & set(policy)  # nothing is let in beside our own
        assert response.headers["x-content-type-options"] == "nosniff"
    types = {scripted.client.get(f"/page/{name}").headers["content-type"].partition(";")[0] for name in OURS}
    assert types == {"text/html", "text/css", "text/javascript", "image/svg+xml"}


def test_a_file_that_the_browser_has_is_not_sent_again(scripted):
    first = scripted.client.get("/page/js/page.js")
    assert first.headers["cache-control"] == "no-cache"
    again = scripted.client.get("/page/js/page.js", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304 and again.content == b""
    other = scripted.client.get("/page/js/app.js", headers={"If-None-Match": first.headers["etag"]})
    assert other.status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "../files.py", "../../app.py", "%2e%2e/files.py", "..%2f..%2fapp.py", "js/../../files.py",
        "js/..%2f..%2ffiles.py", "/etc/passwd", "%2fetc%2fpasswd", "....//files.py", "..%5cfiles.py", "js", "js/", "",
        "js/page.js%00.css", "JS/PAGE.JS", "js//page.js", "./js/page.js%20", "x" * 3000,
    ],
)  # fmt: skip
def test_nothing_else_can_be_asked_for(scripted, path):
    response = scripted.client.get(f"{URL}/page/{path}")
    assert response.status_code == 404 and response.json()["error"]["message"].startswith("expected")
    assert "import" not in response.text and "root:" not in response.text


def test_with_a_key_the_page_loads_and_nothing_else(scripted):
    app = make_app(scripted.models, Metrics(), Access("0.0.0.0", ["secret"]))
    client = TestClient(app, base_url=URL)
    assert client.get("/", headers={"Accept": BROWSER}).status_code == 200
    assert client.get("/page/js/page.js").status_code == client.head("/page/icon.svg").status_code == 200
    for path in ("/props", "/v1/models", "/metrics", "/page", "/pages/x"):
        assert client.get(path).status_code == 401
    foreign = client.get("/", headers={"Accept": BROWSER, "Host": "evil.com"})
    assert foreign.status_code == 403


def test_the_page_names_only_what_is_there():
    """All addresses are relative, and none is of another server."""
    index = (FOLDER / "index.html").read_text(encoding="utf-8")
    named = re.findall(r'(?:href|src)="([^"]+)"', index)
    assert len(named) > 5 and {each.removeprefix("page/") for each in named} <= OURS
    assert all(each.startswith("page/") for each in named)
    for name in OURS:
        text = (FOLDER / name).read_text(encoding="utf-8")
        assert set(re.findall(r"https?://[\w.]+", text)) <= {"http://www.w3.org"}, name  # which names a kind of markup
        if name.endswith(".js"):
            assert set(imported(name)) <= OURS


def test_every_module_is_used():
    reached, todo = set(), ["js/page.js"]
    while todo:
        name = todo.pop()
        if name not in reached:
            reached.add(name)
            todo += imported(name)
    assert reached == {name for name in OURS if name.endswith(".js")}


def test_no_text_becomes_markup():
    """Nor does any of the page's own stand where a policy would refuse it."""
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|srcdoc|DOMParser"
    )
    for name in OURS:
        assert not forbidden.search((FOLDER / name).read_text(encoding="utf-8")), name
    index = (FOLDER / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|style=|\son\w+=|<script(?![^>]*\ssrc=)", index)


def test_files_are_short():
    lengths = {name: len((FOLDER / name).read_text(encoding="utf-8").splitlines()) for name in OURS}
    assert {name: length for name, length in lengths.items() if length > 340} == {}


def test_both_languages_have_all_texts_that_are_used():
    texts = {
        each: set(re.findall(r"^  (\w+):", (FOLDER / f"js/texts/{each}.js").read_text(encoding="utf-8"), re.MULTILINE))
        for each in ("en", "zh")
    }
    assert texts["en"] == texts["zh"] and len(texts["en"]) > 100
    sources = "".join((FOLDER / name).read_text(encoding="utf-8") for name in OURS if "texts/" not in name)
    plain = set(re.findall(r'\bt\("(\w+)"', sources))
    prefixes = tuple(re.findall(r"\bt\(`(\w+_)\$\{", sources))
    assert plain <= texts["en"] and len(prefixes) >= 4
    quoted = set(re.findall(r'"(\w+)"', sources)) | set(re.findall(r"^  (\w+): \{ min:", sources, re.MULTILINE))
    assert {name for name in texts["en"] if name not in quoted and not name.startswith(prefixes)} == set()


def test_the_files_are_part_of_the_package():
    """Of a wheel they are what pyproject.toml says; tests/test_installed.py builds one."""
    if sys.version_info < (3, 11):
        pytest.skip("tomllib comes with Python 3.11")
    import tomllib  # noqa: PLC0415

    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    (pattern,) = data["qwen3edge.server.page"]
    found = {path.relative_to(FOLDER.parent).as_posix() for path in FOLDER.parent.glob(pattern) if path.is_file()}
    assert found == {f"files/{name}" for name in OURS}
