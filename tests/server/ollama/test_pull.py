"""Models that clients have fetched, from hubs on loopback."""

import asyncio
import json

import pytest
from starlette.testclient import TestClient

from qwen3edge import _core
from qwen3edge.errors import MemoryBudgetError, RequestError
from qwen3edge.server.app import make_app
from qwen3edge.server.hosted import SERVER_BYTES, Models
from qwen3edge.server.metrics import Metrics
from qwen3edge.server.safety import Access
from tests.hub.conftest import NAME, cache, huggingface  # noqa: F401
from tests.hub.servers import Fault
from tests.server.conftest import SETTINGS
from tests.server.ollama.asking import lines
from tests.server.scripted import URL

CHAT = {"messages": [{"role": "user", "content": "Hi"}], "options": {"num_predict": 2}, "stream": False}


@pytest.fixture
def client(tiny_int4):
    models = Models({"own": tiny_int4}, {"alias": "own"}, {**SETTINGS, "memory": "4GiB"})
    with TestClient(make_app(models, Metrics(), Access(pulls=True)), base_url=URL) as found:
        found.models = models
        yield found


def test_a_pulled_model_is_served(client, huggingface):  # noqa: F811
    """Beside the one that was there, within the same budget."""
    assert client.post("/api/chat", json={"model": NAME, **CHAT}).status_code == 404
    response = client.post("/api/pull", json={"model": f"hf.co/{NAME}:latest"})
    assert response.status_code == 200 and response.headers["content-type"] == "application/x-ndjson"
    found = lines(response.text)
    statuses = [each["status"] for each in found]
    assert statuses[0] == "pulling manifest" and statuses[-2:] == ["writing manifest", "success"]
    bars = [each for each in found if "digest" in each]
    assert bars and all(0 <= each["completed"] <= each["total"] and len(each["digest"]) == 71 for each in bars)
    assert [each["name"] for each in client.get("/api/tags").json()["models"]] == [
        "own:latest", f"{NAME}:latest", "alias:latest",
    ]  # fmt: skip
    for model in (f"hf.co/{NAME}:latest", "own", NAME):
        assert client.post("/api/chat", json={"model": model, **CHAT}).json()["done_reason"] == "length"
    held = sum(client.models.find(name).own_bytes for name in client.models.loaded)
    assert held <= client.models.budget - SERVER_BYTES


def test_a_server_that_does_not_fetch(tiny):
    refused = tiny.post("/api/pull", json={"model": NAME})
    assert refused.status_code == 403 and "--allow-pull" in refused.json()["error"]


@pytest.mark.parametrize("name", ["llama3.2", "../../etc/passwd", "http://evil.com/a/b", "/tmp/a.q3e", "", "a/b/c"])
def test_what_is_no_name_on_a_hub(client, huggingface, name):  # noqa: F811
    """Nothing is asked for, and no path or URL of a client is opened."""
    refused = client.post("/api/pull", json={"model": name})
    assert refused.status_code == 400 and "name" in refused.json()["error"] and huggingface.asked == []


def test_what_goes_wrong_is_the_last_line(client, huggingface):  # noqa: F811
    response = client.post("/api/pull", json={"model": "Nobody/nothing"})
    *_, last = lines(response.text)
    assert response.status_code == 200 and list(last) == ["error"] and "Nobody/nothing" in last["error"]
    assert client.models.names == ["own", "alias"]


@pytest.mark.slow
def test_pulls_that_are_told_at_their_end(client, huggingface):  # noqa: F811
    refused = client.post("/api/pull", json={"model": "Nobody/nothing", "stream": False})
    assert refused.status_code == 502 and "Nobody/nothing" in refused.json()["error"]
    asked = {"name": NAME, "stream": False}
    assert client.post("/api/pull", json=asked).json() == {"status": "success"}
    assert client.post("/api/chat", json={"model": NAME, **CHAT}).json()["done"]
    assert client.post("/api/pull", json=asked).json() == {"status": "success"}
    assert NAME in client.models.loaded  # nothing of it has changed


def test_when_the_client_leaves_nothing_goes_on(client, huggingface):  # noqa: F811
    huggingface.repositories[NAME].faults["model.safetensors"] = [Fault(stall=0.5)] * 9
    app, pulling = client.app, client.app.state.service.pulling

    async def pull(left):
        incoming = [{"type": "http.request", "body": json.dumps({"model": NAME}).encode(), "more_body": False}]
        statuses = []

        async def receive():
            if incoming:
                return incoming.pop()
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        scope = {"type": "http", "method": "POST", "path": "/api/pull", "raw_path": b"", "query_string": b"",
                 "headers": [(b"host", b"localhost")], "http_version": "1.1", "scheme": "http"}  # fmt: skip
        await app(scope, receive, send)
        return statuses

    async def work():
        left, never = asyncio.Event(), asyncio.Event()
        first = asyncio.ensure_future(pull(left))
        while not huggingface.busy.is_set():
            await asyncio.sleep(0.01)
        assert await pull(never) == [429]  # one at a time
        left.set()
        await asyncio.wait_for(first, 10)
        assert not pulling.locked()

    asyncio.run(work())
    assert client.models.names == ["own", "alias"]


def test_what_is_added_shares_the_budget(tiny_int4, tmp_path):
    """It takes the place of another where there is no room beside it."""
    copy = tmp_path / "copy.q3e"
    copy.write_bytes(tiny_int4.read_bytes())
    settings = {"threads": 2, "sequences": 1, "kv": "f32", "context": 2048}
    held = _core.resident_bytes()
    with pytest.raises(MemoryBudgetError):
        Models({"a": tiny_int4}, {}, {**settings, "memory": held + SERVER_BYTES + (1 << 20)})
    models = Models({"a": tiny_int4}, {"x": "a"}, {**settings, "memory": held + SERVER_BYTES + (200 << 20)})
    own = models.find("a").own_bytes
    models.close()
    models = Models({"a": tiny_int4}, {"x": "a"}, {**settings, "memory": held + SERVER_BYTES + own * 3 // 2})

    async def work():
        await models.add("b", copy)
        await models.add("b", copy)
        assert models.names == ["a", "b", "x"] and list(models.loaded) == ["a"]
        (await models.lease("b")).release()
        assert list(models.loaded) == ["b"]
        (await models.lease("a")).release()
        assert list(models.loaded) == ["a"] and models.find("a").own_bytes == own
        with pytest.raises(RequestError, match="expected a name that is no alias, found 'x'"):
            await models.add("x", copy)
        (await models.lease("b")).release()
        copy.write_bytes(tiny_int4.read_bytes())
        await models.add("b", copy)  # another file by the same name
        assert list(models.loaded) == []
        assert (await models.lease("b")).model.plan.context == 2048

    try:
        asyncio.run(work())
    finally:
        models.close()
