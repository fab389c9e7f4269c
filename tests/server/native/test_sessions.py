"""Conversations that are saved and loaded by name."""

import os
import resource
import shutil

import pytest
from starlette.testclient import TestClient

from qwen3edge.errors import RequestError
from qwen3edge.generation.session import Session
from qwen3edge.server.app import make_app
from qwen3edge.server.hosted import Models
from qwen3edge.server.metrics import Metrics
from qwen3edge.server.safety import Access
from qwen3edge.server.sessions import MOST_SESSIONS, Sessions
from tests.server.scripted import URL

CHAT = "/v1/chat/completions"
SYSTEM = {"role": "system", "content": "You are a helpful assistant. " * 20}
TALK = {"messages": [SYSTEM, {"role": "user", "content": "What is 12 + 7?"}], "enable_thinking": False}
SETTINGS = {"sequences": 2, "threads": 2, "context": "auto"}
NONE = "expected the name of a saved session, found 'none'"


class Server:
    """In this process. Each has computed nothing before."""

    def __init__(self, model, folder, **settings):
        metrics = Metrics()
        models = Models({"tiny": model}, {}, {**SETTINGS, **settings})
        self.saved = Sessions(folder)
        self.client = TestClient(make_app(models, metrics, Access(), saved=self.saved), base_url=URL)

    def __enter__(self):
        return self.client.__enter__()

    def __exit__(self, *error):
        self.client.__exit__(*error)
        self.saved.close()


def cached(client, messages=()):
    """Tokens that a chat with this beginning need not compute."""
    body = {**TALK, "messages": [*TALK["messages"], *messages], "max_tokens": 1}
    usage = client.post(CHAT, json=body).json()["usage"]
    return usage["prompt_tokens_details"]["cached_tokens"]


@pytest.fixture(scope="module")
def folder(tiny_int4, tmp_path_factory):
    """With one conversation, of which a server had computed nothing before."""
    folder = tmp_path_factory.mktemp("sessions") / "new"
    with Server(tiny_int4, folder) as client:
        made = client.post("/sessions/first/save", json=TALK).json()
        assert made["tokens"] > 100 and made["cached_tokens"] == 0 and made["bytes"] > 1000 * made["tokens"]
        assert client.post("/sessions/first/save", json=TALK).json()["cached_tokens"] >= made["tokens"] - 64
    return folder


def test_c37_a_session_that_is_loaded_is_not_read_again(tiny_int4, folder):
    """By what the next chat tells, not by what loading does; also where the conversation goes on."""
    answer = [{"role": "assistant", "content": "12 + 7 = 19"}, {"role": "user", "content": "And 3 + 4?"}]
    with Server(tiny_int4, folder) as client:
        assert cached(client) == 0
    with Server(tiny_int4, folder) as client:
        loaded = client.post("/sessions/first/load", json={}).json()
        assert loaded["name"] == "first" and loaded["tokens"] > 100
        assert cached(client, answer) >= loaded["tokens"] // 64 * 64
        assert cached(client) >= loaded["tokens"] - 2


def test_c37_in_another_process(serve, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "sessions")
    server = serve("--alias", "tiny=int4", "--sessions", str(tmp_path / "sessions"))
    assert [each["name"] for each in server.get("/sessions").json()["sessions"]] == ["first"]
    tokens = server.post("/sessions/first/load", json={"model": "tiny"}).json()["tokens"]
    assert cached(server) >= tokens - 2


def test_names_lead_nowhere_else(tiny_int4, folder, tmp_path):
    before = sorted(os.listdir(folder))
    (folder / "link.session").symlink_to("/etc/passwd")
    with Server(tiny_int4, folder) as client:
        for name in ("..", ".hidden", "a b", "-a", "a" * 65, "%00", "a%0a", "é", "a;b", "%5C..", "..%5c", "a$(id)"):
            for method, path in (("POST", "/save"), ("POST", "/load"), ("DELETE", "")):
                response = client.request(method, f"/sessions/{name}{path}", json=TALK if path else None)
                assert response.status_code in (400, 404, 405), (name, response.text)
                assert "expected" in response.json()["error"]["message"]
        for path in ("/sessions/..%2f..%2fetc%2fpasswd/load", "/sessions/%2e%2e%2fx/load", "/sessions//load"):
            assert client.post(path, json={}).status_code == 404
        assert [each["name"] for each in client.get("/sessions").json()["sessions"]] == ["first"]
    (folder / "link.session").unlink()
    assert sorted(os.listdir(folder)) == before


def test_one_that_is_not_there(tiny_int4, tmp_path):
    with Server(tiny_int4, tmp_path) as client:
        for response in (client.post("/sessions/none/load", json={}), client.delete("/sessions/none")):
            assert response.status_code == 404 and response.json()["error"]["message"] == NONE
        assert client.post("/sessions/a/save", json=TALK).status_code == 200
        assert client.delete("/sessions/a").json() == {"name": "a", "deleted": True}
        assert client.get("/sessions").json() == {"sessions": []} and os.listdir(tmp_path) == []


def test_one_that_is_deleted_as_soon_as_it_is_saved(tiny_int4, tmp_path, monkeypatch):
    save = Session.save

    def save_and_delete(self, path):
        save(self, path)
        assert client.delete("/sessions/a").status_code == 200

    monkeypatch.setattr(Session, "save", save_and_delete)
    with Server(tiny_int4, tmp_path) as client:
        refused = client.post("/sessions/a/save", json=TALK)
        assert refused.status_code == 409 and "found it deleted: save it again" in refused.json()["error"]["message"]
        monkeypatch.undo()
        assert client.post("/sessions/a/save", json=TALK).status_code == 200


@pytest.mark.parametrize("change", ["model", "kv", "bytes", "short"])
def test_one_that_does_not_fit(tiny_int4, tiny_q3e, folder, tmp_path, change):
    """The reason is told, without a path of the server."""
    made = tmp_path / "first.session"
    shutil.copyfile(folder / made.name, made)
    data = bytearray(made.read_bytes())
    if change == "bytes":
        data[-1] ^= 1
    made.write_bytes(data[:99] if change == "short" else data)
    path = tiny_q3e("int8") if change == "model" else tiny_int4
    with Server(path, tmp_path, kv="f32" if change == "kv" else "int8") as client:
        error = client.post("/sessions/first/load", json={})
        assert error.status_code == 409 and error.json()["error"]["message"].startswith("session first: expected ")
        assert str(tmp_path) not in error.text and "found" in error.text
        assert client.post(CHAT, json={**TALK, "max_tokens": 1}).status_code == 200


def test_a_full_disk(tiny_int4, tmp_path):
    """The file that was there stays whole."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Server(tiny_int4, tmp_path) as client:
        made = client.post("/sessions/a/save", json=TALK).json()
        resource.setrlimit(resource.RLIMIT_FSIZE, (made["bytes"] - 1, hard))
        try:
            refused = client.post("/sessions/a/save", json=TALK)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert refused.status_code == 507
        assert refused.json()["error"]["message"] == "expected room to save a, found none: File too large"
        assert os.listdir(tmp_path) == ["a.session"]
    with Server(tiny_int4, tmp_path) as client:
        assert client.post("/sessions/a/load", json={}).json()["tokens"] == made["tokens"]


def test_a_folder_has_one_server_and_a_bound(tmp_path):
    for name in ("a.session.new-1-1", "b.session", "c.session.new-x", ".a"):
        (tmp_path / name).touch()
    with Sessions(tmp_path / "sub"), Sessions(tmp_path) as saved:
        assert sorted(os.listdir(tmp_path)) == [".a", "b.session", "c.session.new-x", "sub"]
        assert [each.name for each in saved.listed()] == ["b"]
        with pytest.raises(RequestError, match="expected a folder of this server's own"):
            Sessions(tmp_path)
    with pytest.raises(FileNotFoundError):
        Sessions(tmp_path / "x" / "y")
    with Sessions(tmp_path):
        pass


def test_not_ever_more(tiny_int4, tmp_path, monkeypatch):
    monkeypatch.setattr("qwen3edge.server.sessions.MOST_SESSIONS", 2)
    assert MOST_SESSIONS > 2
    with Server(tiny_int4, tmp_path) as client:
        statuses = [client.post(f"/sessions/{name}/save", json=TALK).status_code for name in "abca"]
    assert statuses == [200, 200, 409, 200]


def test_without_a_folder_there_are_none(tiny):
    for method, path in (("GET", ""), ("POST", "/a/save"), ("POST", "/a/load"), ("DELETE", "/a")):
        response = tiny.request(method, f"/sessions{path}", json=TALK if path == "/a/save" else None)
        assert response.status_code == 404 and "--sessions DIR" in response.json()["error"]["message"]


def test_what_is_checked_of_a_body(tiny_int4, tmp_path):
    with Server(tiny_int4, tmp_path) as client:
        for body in ({"messages": []}, {"messages": "hi"}, {**TALK, "x": 1}, {**TALK, "model": "y"}):
            assert client.post("/sessions/a/save", json=body).status_code in (400, 404)
        long = {"messages": [{"role": "user", "content": "word " * 3000}]}
        assert client.post("/sessions/a/save", json=long).json()["error"]["code"] == "context_length_exceeded"
        assert client.post("/sessions/a/load", json={"messages": []}).status_code == 400
    assert os.listdir(tmp_path) == []
