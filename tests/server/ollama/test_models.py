"""What is served, as Ollama lists it; what is kept in memory."""

import asyncio
import re
import shutil
from datetime import datetime

import pytest
from starlette.testclient import TestClient

from qwen3edge.server import hosted
from qwen3edge.server.app import make_app
from qwen3edge.server.hosted import Models
from qwen3edge.server.metrics import Metrics
from qwen3edge.server.ollama.options import seconds_of
from qwen3edge.server.safety import Access
from tests.server.conftest import SETTINGS
from tests.server.scripted import URL


@pytest.fixture
def own(tiny_int4, tmp_path):
    """A client of a server whose models come and go."""
    path = tmp_path / "own.q3e"
    shutil.copyfile(tiny_int4, path)
    models = Models({"own": path}, {}, SETTINGS)
    with TestClient(make_app(models, Metrics(), Access()), base_url=URL) as client:
        client.models, client.path = models, path
        yield client


def test_tags(tiny):
    found = tiny.get("/api/tags").json()["models"]
    assert [each["name"] for each in found] == [each["model"] for each in found] == ["tiny:latest", "other:latest"]
    first = found[0]
    assert first["size"] > 100_000 and re.fullmatch("[0-9a-f]{64}", first["digest"])
    datetime.fromisoformat(first["modified_at"].replace("Z", "+00:00"))
    assert first["details"]["family"] == "qwen3" and re.fullmatch(r"[\d.]+[KM]", first["details"]["parameter_size"])
    assert first["details"]["quantization_level"].startswith("q")


def test_show(tiny):
    """What VS Code's Copilot cannot do without: the context and what the model can do, by any of its names."""
    for name in ("tiny", "tiny:latest", "other"):
        found = tiny.post("/api/show", json={"model": name}).json()
        assert found["model_info"]["general.architecture"] == "qwen3"
        assert found["model_info"]["qwen3.context_length"] == 2048
        assert found["capabilities"] == ["completion", "tools", "thinking"]
    assert tiny.post("/api/show", json={"name": "tiny", "verbose": True}).json() == {
        **found, "modelfile": "FROM tiny\n",
    }  # fmt: skip
    assert "temperature 0.6" in found["parameters"] and "<think>" in found["template"]
    refused = tiny.post("/api/show", json={"model": "none"})
    assert refused.status_code == 404 and "tiny, other" in refused.json()["error"]
    assert tiny.post("/api/show", json={}).status_code == 400


def test_an_embedding_model(tiny_q3e, tmp_path):
    """Cannot chat."""
    from qwen3edge.config import ModelConfig  # noqa: PLC0415
    from qwen3edge.server.ollama.facts import Facts  # noqa: PLC0415

    config = ModelConfig.from_metadata(hosted._core.ModelFile(str(tiny_q3e("int4"))))
    headless = {**config.__dict__, "headless": True}
    assert Facts(1, ModelConfig(**headless), 1, "q4", "<think> tools", {}).capabilities == ["embedding"]
    assert Facts(1, config, 1_500_000_000, "q4", "", {}).details["parameter_size"] == "1.5B"
    assert Facts(1, config, 1, "q4", "{{ tools }}", {}).capabilities == ["completion", "tools"]


def test_version(tiny):
    """A bare one, and recent enough for Copilot, which demands 0.6.4."""
    numbers = tiny.get("/api/version").json()["version"].split(".")
    assert tuple(map(int, numbers)) >= (0, 6, 4)


def test_ps_and_keep_alive(own):
    def running():
        return own.get("/api/ps").json()["models"]

    def chat(**body):
        asked = {"messages": [{"role": "user", "content": "Hi"}], "options": {"num_predict": 2}, "stream": False}
        return own.post("/api/chat", json={"model": "own", **asked, **body}).json()

    (first,) = running()
    assert first["name"] == "own:latest" and first["context_length"] == 2048 and first["size"] > 100_000
    assert first["expires_at"] == "9999-12-31T23:59:59Z"
    assert chat(keep_alive="5m")["done"]
    left = datetime.fromisoformat(running()[0]["expires_at"].replace("Z", "+00:00")).timestamp()
    assert 200 < left - datetime.now().timestamp() < 400
    assert chat(keep_alive=-1)["done"] and running()[0]["expires_at"].startswith("9999")
    assert own.post("/api/chat", json={"model": "own", "keep_alive": 0}).json()["done_reason"] == "unload"
    assert running() == [] and own.post("/api/show", json={"model": "own"}).json()["capabilities"]
    assert own.post("/api/generate", json={"model": "own"}).json()["done_reason"] == "load"
    assert len(running()) == 1
    assert chat(keep_alive="0")["message"]["role"] == "assistant"
    asyncio.run(own.models.unload_idle())  # as it is called every few seconds
    assert running() == []
    assert chat()["done"] and len(running()) == 1
    own.models.keep("own", 0)
    asyncio.run(with_a_user(own.models))
    assert len(running()) == 1  # whoever asks for it last decides


async def with_a_user(models):
    lease = await models.lease("own")
    models.keep("own", 0)
    await models.unload_idle()
    lease.release()
    (await models.lease("own")).release()
    await models.unload_idle()


def test_the_context_of_a_model_that_is_out_of_memory(tiny_int4):
    """Is the one that it comes back with, not the one that it was trained for."""
    models = Models({"own": tiny_int4}, {}, {**SETTINGS, "context": 256})
    with TestClient(make_app(models, Metrics(), Access()), base_url=URL) as client:
        client.post("/api/chat", json={"model": "own", "keep_alive": 0})
        assert models.loaded == {}
        assert client.get("/v1/models").json()["data"][0]["context_length"] == 256
        told = client.post("/api/show", json={"model": "own"}).json()["model_info"]
        assert told["qwen3.context_length"] == 256
        props = client.get("/props").json()
        assert props["default_generation_settings"]["n_ctx"] == 256 and props["models"]["own"]["plan"]["peak"] > 0


def test_a_file_that_is_gone_is_listed(own):
    own.path.unlink()
    own.models.find("own").modified = 1.0  # not read before
    (listed,) = own.get("/api/tags").json()["models"]
    assert listed["name"] == "own:latest" and listed["size"] == 0
    assert own.post("/api/show", json={"model": "own"}).json()["capabilities"] == []


def test_keep_alive():
    for given, seconds in (
        (None, None), (0, 0), (300, 300), ("300s", 300), ("300.0s", 300), ("5m", 300), ("1h30m", 5400), ("10", 10),
        ("500ms", 0.5), (1.5, 1.5),
    ):  # fmt: skip
        assert seconds_of(given) == seconds
    for given in (-1, "-1", "-1m", "-5s", 1e300, "999999999999h"):
        assert seconds_of(given) == float("inf")


def test_what_is_not_there(tiny):
    """Errors in Ollama's form, also of what no server of ours does."""
    for method, path in (("DELETE", "delete"), ("POST", "create"), ("POST", "copy"), ("POST", "push")):
        response = tiny.request(method, f"/api/{path}")
        assert response.status_code == 404 and list(response.json()) == ["error"]
    assert tiny.get("/api/chat").status_code == 405
    assert tiny.get("/api/tags", headers={"Host": "evil.com"}).json()["error"].startswith("Host: expected")
