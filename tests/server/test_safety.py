"""Who may ask."""

import pytest

from qwen3edge.errors import RequestError
from qwen3edge.server.errors import ForbiddenError, KeyRequiredError
from qwen3edge.server.safety import Access


def check(access, path="/v1/models", **headers):
    named = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    access.check({"type": "http", "path": path, "headers": named})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "server.local"])
def test_a_host_that_others_reach_needs_a_key(host):
    with pytest.raises(RequestError, match="--api-key KEY beside a host that others reach, or --insecure"):
        Access(host)
    Access(host, ["secret"])
    Access(host, insecure=True)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "::1"])
def test_loopback_needs_none(host):
    Access(host)


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost:8080", "127.0.0.1:8080", "[::1]:8080", "192.168.1.4", "box:1"]
)
def test_hosts_that_may_be_called(host):
    check(Access(hosts=["BOX"]), host=host)


@pytest.mark.parametrize(
    "host", ["evil.com", "evil.com:8080", "localhost.evil.com", "", "127.0.0.1.evil.com", "[", "a b"]
)
def test_foreign_hosts_are_refused(host):
    """A page whose name leads to this machine (DNS rebinding) gets nothing."""
    with pytest.raises(ForbiddenError, match="Host: expected an address"):
        check(Access(), host=host)
    with pytest.raises(ForbiddenError):
        check(Access("0.0.0.0", insecure=True), host=host)


def test_origins():
    host = "localhost:8080"
    check(Access(), host=host, origin="http://localhost:8080")
    check(Access(origins=["https://App.example/"]), host=host, origin="https://app.example")
    for origin in (
        "http://evil.com",
        "http://localhost:3000",
        "null",
        "",
        "localhost:8080",
        "http://[",
        "https://app.example",
    ):
        with pytest.raises((ForbiddenError), match="Origin: expected this server's own"):
            check(Access(), host=host, origin=origin)


APPS = ("app://obsidian.md", "tauri://localhost", "chrome-extension://abcdef", "vscode-webview://1a-2b")


def test_origins_of_apps():
    """With schemes of their own; one that changes its name each time is allowed as a whole."""
    host = "localhost:8080"
    for origin in APPS:
        check(Access(origins=[origin]), host=host, origin=origin)
        with pytest.raises(ForbiddenError):
            check(Access(origins=[each for each in APPS if each != origin]), host=host, origin=origin)
    access = Access(origins=["vscode-webview://*"])
    check(access, host=host, origin="vscode-webview://other")
    assert access.shares_with("vscode-webview://other") and not access.shares_with("vscode-webview-x://other")
    for wrong in (
        "http://*",
        "https://*",
        "*",
        "*://a",
        "evil",
        "app:",
        "app://",
        "app://a/b",
        "https://*.evil.com",
        "",
    ):
        with pytest.raises(RequestError, match=r"--allow-origin: expected http://HOST .* or an app's"):
            Access(origins=[wrong])


def test_keys():
    access = Access("0.0.0.0", ["secret", "other"])
    for headers in ({"authorization": "Bearer secret"}, {"authorization": "bearer other"}, {"x_api_key": "secret"}):
        check(access, host="1.2.3.4", **headers)
    for headers in ({}, {"authorization": "Bearer secre"}, {"authorization": "secret"}, {"x_api_key": "é"},
                    {"authorization": "Basic secret"}, {"authorization": "Bearer "}):  # fmt: skip
        with pytest.raises(KeyRequiredError, match="expected the server's API key"):
            check(access, host="1.2.3.4", **headers)
    check(access, "/health", host="1.2.3.4")
    check(Access(), host="localhost", authorization="Bearer anything")
    for key in ("", "schlüssel"):
        with pytest.raises(RequestError, match="expected an API key"):
            Access(keys=[key])


def test_what_a_client_sees(tiny):
    refused = tiny.get("/v1/models", headers={"Host": "evil.com"})
    assert refused.status_code == 403 and refused.json()["error"]["type"] == "permission_error"
    assert "access-control-allow-origin" not in tiny.get("/v1/models").headers
