"""What a server tells of itself."""

import asyncio
from dataclasses import replace

import jsonschema
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.generation.fakes import END, ids
from tests.server.scripted import Scripted
from tests.server.test_clients import Client, Slow, until


def test_health(tiny):
    assert tiny.get("/health").json() == {"status": "ok"}


def test_metrics(tiny):
    def read():
        families = text_string_to_metric_families(tiny.get("/metrics").text)
        return {
            (each.name, *sorted(each.labels.values())): each.value for family in families for each in family.samples
        }

    before = read()
    body = {"messages": [{"role": "user", "content": "What is 12 + 7?"}], "max_tokens": 9}
    usage = tiny.post("/v1/chat/completions", json=body).json()["usage"]
    after = read()

    def more(name):
        return after[name, "tiny"] - before.get((name, "tiny"), 0)

    assert more("qwen3edge_answers_total") == more("qwen3edge_time_to_first_token_seconds_count") == 1
    assert more("qwen3edge_prompt_tokens_total") == usage["prompt_tokens"]
    assert more("qwen3edge_completion_tokens_total") == usage["completion_tokens"]
    assert more("qwen3edge_steps_total") > 1
    assert after["qwen3edge_requests_running", "tiny"] == after["qwen3edge_requests_waiting", "tiny"] == 0
    kinds = [value for name, value in after.items() if name[0] == "qwen3edge_memory_planned_bytes"]
    assert sum(kinds) == tiny.get("/props").json()["models"]["tiny"]["plan"]["peak"]
    assert after["qwen3edge_memory_resident_bytes",] <= after["qwen3edge_memory_budget_bytes",]
    assert after["qwen3edge_responses_total", "200"] > before["qwen3edge_responses_total", "200"]


def total(server, name):
    families = text_string_to_metric_families(server.client.get("/metrics").text)
    return sum(each.value for family in families for each in family.samples if each.name == f"qwen3edge_{name}_total")


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_what_a_client_that_left_has_used_is_counted(tmp_path, stream):
    with Scripted(tmp_path) as server:
        server.core.script = [*ids("a" * 300), END]

        async def work():
            slow = Slow(server)
            client = Client(server, "word " * 10, stream)
            slow.steps.release(20)
            await until(lambda: len(server.core.log) == 20)
            client.leave()
            await asyncio.sleep(0.05)
            slow.steps.release(50)
            await client.task

        asyncio.run(work())
        written = sum(len(tokens) == 1 for tokens in server.core.log)
        assert total(server, "answers") == 1 and total(server, "prompt_tokens") > 50
        assert 1 < written <= total(server, "completion_tokens") <= written + 2


def test_embeddings_are_counted(tiny):
    def read(name):
        text = tiny.get("/metrics").text
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"qwen3edge_{name}_total"))

    before, answers = read("prompt_tokens"), read("answers")
    used = tiny.post("/v1/embeddings", json={"input": ["one", "two words"]}).json()["usage"]["prompt_tokens"]
    ollama = tiny.post("/api/embed", json={"input": "three"}).json()["prompt_eval_count"]
    assert read("prompt_tokens") - before == used + ollama > 0
    assert read("answers") == answers


def test_metrics_tell_of_a_draft(monkeypatch, tiny):
    (model,) = tiny.app.state.service.models.loaded.values()
    monkeypatch.setattr(model, "plan", replace(model.plan, draft=4711))
    assert 'qwen3edge_memory_planned_bytes{kind="draft",model="tiny"} 4711.0' in tiny.get("/metrics").text


def test_props(tiny):
    found = tiny.get("/props").json()
    assert found["total_slots"] == 4 and found["default_generation_settings"]["n_ctx"] == 2048
    model = found["models"]["tiny"]
    assert model["thinks"] and model["switches_thinking"] and model["loaded"] and "<think>" in model["chat_template"]
    memory, plan = found["memory"], model["plan"]
    assert 0 < memory["resident"] <= memory["peak"]
    planned = memory["planned"]
    assert all(
        planned[kind] == plan[kind] for kind in ("weights", "kv_cache", "scratch", "buffers", "draft", "program")
    )
    assert sum(planned.values()) == plan["peak"] + planned["server"] <= memory["budget"] and planned["server"] > 0


def test_c38_what_does_not_exist(tiny):
    absent = [("GET", "/v2/models"), ("POST", "/v1/none"), ("GET", "/../etc/passwd")]
    for method, path in [*absent, ("GET", "/v1/chat/completions"), ("POST", "/health")]:
        response = tiny.request(method, path)
        assert response.status_code == (404 if (method, path) in absent else 405)
        assert response.json()["error"]["message"].startswith("expected")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/api/chat", "/v1/rerank"])
def test_errors_are_those_of_the_document(tiny, path):
    found = tiny.get("/openapi.json").json()
    refused = tiny.post(path, json={"nonsense": 1})
    told = found["paths"][path]["post"]["responses"][str(refused.status_code)]["content"]["application/json"]["schema"]
    schema = found["components"]["schemas"][told["$ref"].rpartition("/")[2]]
    jsonschema.validate(refused.json(), schema)


def test_the_document(tiny):
    found = tiny.get("/openapi.json").json()
    body = found["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    schema = found["components"]["schemas"][body["$ref"].rpartition("/")[2]]
    assert "reasoning_effort" in schema["properties"] and schema["required"] == ["messages"]
    answers = found["paths"]["/v1/chat/completions"]["post"]["responses"]
    assert set(answers["200"]["content"]) == {"application/json", "text/event-stream"}
    assert {"400", "401", "404", "413", "429", "503"} <= set(answers)
    assert set(found["paths"]["/api/chat"]["post"]["responses"]["200"]["content"]) == {
        "application/json", "application/x-ndjson",
    }  # fmt: skip
    assert set(found["paths"]["/metrics"]["get"]["responses"]["200"]["content"]) == {"text/plain"}
    assert "application/json" not in found["paths"]["/"]["get"]["responses"]["200"]["content"]
    assert found["paths"]["/health"]["get"]["security"] == [] != found["paths"]["/metrics"]["get"]["security"]
    assert set(found["components"]["securitySchemes"]) == {"bearer", "key"}
    assert {"/v1/models", "/health", "/metrics", "/props", "/tokenize", "/apply-template"} <= set(found["paths"])
