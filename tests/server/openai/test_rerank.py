"""Scores of documents: the library's, in Jina's form and in Cohere's."""

import shutil

import pytest
from starlette.testclient import TestClient

from qwen3edge.convert import convert
from qwen3edge.generation.model import load
from qwen3edge.server.app import make_app
from qwen3edge.server.hosted import Models
from qwen3edge.server.metrics import Metrics
from qwen3edge.server.safety import Access
from tests.conftest import TINY
from tests.reranking import add_yes
from tests.server.conftest import SETTINGS
from tests.server.held import Held
from tests.server.scripted import URL

QUERY = "What is the capital of China?"
DOCUMENTS = ["Beijing.", "Gravity is a force.", "", "naïve 東京 🙂"]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reranker")
    shutil.copytree(TINY, folder / "hf", ignore=shutil.ignore_patterns("training"))
    add_yes(folder / "hf" / "tokenizer.json")
    convert(folder / "hf", folder / "reranker.q3e", "int4")
    return folder / "reranker.q3e"


@pytest.fixture(scope="module")
def client(path):
    metrics = Metrics()
    models = Models({"reranker": path}, {}, SETTINGS, count=metrics.count_answer)
    with TestClient(make_app(models, metrics, Access()), base_url=URL) as found:
        yield found


@pytest.fixture(scope="module")
def scores(path):
    with load(path, **SETTINGS) as model:
        yield lambda *arguments: model.rerank(*arguments).tolist()


def ask(client, path="/v1/rerank", **body):
    response = client.post(path, json={"query": QUERY, "documents": DOCUMENTS, **body})
    assert response.status_code == 200, response.text
    return response.json()


def test_the_library_says_the_same(client, scores):
    for instruction in ([], ["find what is short"]):
        expected = scores(QUERY, DOCUMENTS, *instruction)
        found = ask(client, **({"instruction": instruction[0]} if instruction else {}))
        by_index = {each["index"]: each["relevance_score"] for each in found["results"]}
        assert [by_index[index] for index in range(4)] == pytest.approx(expected, abs=1e-7)
        told = [each["relevance_score"] for each in found["results"]]
        assert told == sorted(told, reverse=True) and len(set(told)) == 4
    assert found["usage"]["prompt_tokens"] == found["meta"]["tokens"]["input_tokens"] > 4 * 40


def test_jinas_form(client):
    found = ask(client, documents=[{"text": DOCUMENTS[0]}, DOCUMENTS[1]], model="reranker", top_n=1)
    assert found["object"] == "list" and found["model"] == "reranker" and len(found["results"]) == 1
    assert found["results"][0]["document"] == {"text": DOCUMENTS[found["results"][0]["index"]]}
    for name in ("/rerank", "/v1/reranking", "/reranking"):
        assert ask(client, name)["results"] == ask(client)["results"]
    assert "document" not in ask(client, return_documents=False)["results"][0]


def test_coheres_form(client):
    found = ask(client, "/v2/rerank", top_n=9)
    assert found["id"] and len(found["results"]) == 4 and set(found["results"][0]) == {"index", "relevance_score"}
    assert found["meta"]["api_version"] == {"version": "2"}
    assert "document" in ask(client, "/v2/rerank", return_documents=True)["results"][0]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"documents": []}, "documents: "), ({"documents": [7]}, "documents.0: "), ({"top_n": 0}, "top_n: "),
        ({"documents": [{"image": "x"}]}, "documents.0"), ({"max_tokens_per_doc": 9}, "max_tokens_per_doc"),
        ({"documents": ["word " * 3000]}, "documents[0]: expected at most 2048 tokens"),
        ({"query": "word " * 3000}, "query: expected at most 2048 tokens"),
    ],
)  # fmt: skip
def test_what_is_refused(client, body, said):
    response = client.post("/v1/rerank", json={"query": QUERY, "documents": DOCUMENTS, **body})
    assert response.status_code == 400 and said in response.json()["error"]["message"]


def test_a_model_that_is_no_judge(tiny):
    response = tiny.post("/v1/rerank", json={"query": QUERY, "documents": DOCUMENTS})
    assert response.status_code == 400 and response.json()["error"]["code"] == "unsupported"


def test_tokens_are_counted(client):
    def read():
        lines = client.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("qwen3edge_prompt_tokens_total"))

    before = read()
    assert read() - before == 0 < ask(client)["usage"]["prompt_tokens"] == read() - before


def test_texts_are_logged_where_that_is_asked_for(client, noted):
    ask(client)
    assert [each in line for each, line in zip(("Beijing.", "Gravity"), noted(), strict=False)] == [True, True]


def test_answers_are_those_of_the_document(client):
    held = Held(client)
    for path in ("/v1/rerank", "/v2/rerank"):
        held.ask("POST", path, {"query": QUERY, "documents": DOCUMENTS})
    assert held.asked == {"Reranking"}
