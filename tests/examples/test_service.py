"""The unit, the image and the compose file of examples/service: their arguments are the verb's, and they are closed."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from configparser import RawConfigParser
from urllib.parse import urlsplit

import pytest
import yaml

from qwen3edge.cli.main import parser
from qwen3edge.server.safety import Access
from tests.conftest import ROOT
from tests.server.conftest import serve  # noqa: F401  # a fixture

FOLDER = ROOT / "examples" / "service"
UNIT = FOLDER / "qwen3edge.service"


def parsed(words):
    """The verb's arguments. Fails for one that it does not know."""
    assert words[0].rpartition("/")[2] == "qwen3edge"
    return parser(["serve"]).parse_args(words[1:])


@pytest.fixture(scope="module")
def unit():
    found = RawConfigParser(strict=True)
    found.optionxform = str
    found.read(UNIT)
    return found


@pytest.fixture(scope="module")
def image():
    """Instructions by name; those of the last stage."""
    lines = re.sub(r"\\\n\s*", "", (FOLDER / "Dockerfile").read_text()).splitlines()
    stages, found = 0, {}
    for line in lines:
        name, _, rest = line.partition(" ")
        if line.startswith("#") or not line:
            continue
        if name == "FROM":
            stages, found = stages + 1, {}
        found.setdefault(name, []).append(rest)
    assert stages == 2
    return found


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((FOLDER / "compose.yaml").read_text())


def test_the_unit(unit):
    service = unit["Service"]
    found = parsed(shlex.split(service["ExecStart"]))
    assert found.host == "127.0.0.1" and int(service["TimeoutStopSec"]) > found.grace
    assert str(found.sessions).startswith(f"/var/lib/{service['StateDirectory']}/")
    for name in ("DynamicUser", "NoNewPrivileges", "ProtectHome", "PrivateDevices", "MemoryDenyWriteExecute"):
        assert service[name] == "yes"
    assert service["ProtectSystem"] == "strict" and service["CapabilityBoundingSet"] == ""


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_knows_all_of_the_unit(unit, tmp_path):
    """Its program is another one here, as ours is not installed in its place."""
    text = UNIT.read_text()
    copy = tmp_path / UNIT.name
    copy.write_text(text.replace(shlex.split(unit["Service"]["ExecStart"])[0], sys.executable))
    result = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_the_image(image):
    assert image["FROM"] == ["python:3.12-slim"] and image["USER"] == ["qwen3edge"]
    words = json.loads(image["ENTRYPOINT"][0]) + json.loads(image["CMD"][0])
    found = parsed(words)
    with pytest.raises(ValueError, match="--api-key"):
        Access(found.host)
    assert image["EXPOSE"] == [str(found.port)]
    extras = re.search(r"qwen3edge\[([\w,]+)\]", image["RUN"][0])[1].split(",")
    project = (ROOT / "pyproject.toml").read_text()
    assert all(f"\n{extra} = [" in project for extra in extras) and 'readme = "README.md"' in project
    kept = re.findall(r"^!(\S+)$", (FOLDER / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    assert all((ROOT / path).exists() for path in kept)
    assert {"csrc", "kernels", "qwen3edge", "setup.py", "pyproject.toml", "README.md", "MANIFEST.in"} <= set(kept)


def test_the_image_knows_whether_it_is_well(image, serve, monkeypatch):  # noqa: F811
    """Its check, word for word but for the port; without the key that it has from its environment."""
    command = json.loads(re.search(r"CMD (\[.*\])$", image["HEALTHCHECK"][0])[1])
    monkeypatch.setenv("QWEN3EDGE_API_KEY", "key")
    server = serve()
    assert server.get("/v1/models").status_code == 401
    assert server.get("/v1/models", headers={"Authorization": "Bearer key"}).status_code == 200
    for address, status in ((str(server.base_url).rstrip("/"), 0), ("http://127.0.0.1:9", 1)):
        words = [sys.executable, *(word.replace("http://127.0.0.1:8080", address) for word in command[1:])]
        assert subprocess.run(words, capture_output=True, check=False).returncode == status


def test_the_compose_file(image, compose):
    ours, page = compose["services"]["qwen3edge"], compose["services"]["open-webui"]
    found = parsed(json.loads(image["ENTRYPOINT"][0]) + ours["command"])
    url = urlsplit(page["environment"]["OPENAI_API_BASE_URL"])
    assert (url.hostname, url.port, url.path) == ("qwen3edge", found.port, "/v1")
    access = Access(found.host, ["key"], found.allow_host)
    headers = [(b"host", url.netloc.encode()), (b"authorization", b"Bearer key")]
    access.check({"type": "http", "path": "/v1/models", "headers": headers})
    assert ours["environment"]["QWEN3EDGE_API_KEY"] == page["environment"]["OPENAI_API_KEY"]
    assert ours["read_only"] and ours["cap_drop"] == ["ALL"] and "ports" not in ours
    targets = [volume.split(":")[1] for volume in ours["volumes"]]
    assert str(found.sessions) in targets and all(path in image["RUN"][1] for path in targets)
    assert (FOLDER / ours["build"]["context"]).resolve() == ROOT and (ROOT / ours["build"]["dockerfile"]).exists()
    assert all(port.startswith("127.0.0.1:") for port in page["ports"])
    named = {volume.split(":")[0] for each in (ours, page) for volume in each["volumes"]}
    assert {name for name in named if not name.startswith((".", "/"))} == set(compose["volumes"])
    assert int(ours["stop_grace_period"].removesuffix("s")) > found.grace
