"""What is served."""


def test_models(tiny):
    found = tiny.get("/v1/models").json()
    assert [each["id"] for each in found["data"]] == ["tiny", "other"] and found["models"] == found["data"]
    first = found["data"][0]
    assert (first["object"], first["loaded"], first["context_length"]) == ("model", True, 2048)
    assert tiny.get("/v1/models/tiny").json() == first
    assert tiny.get("/v1/models/none").status_code == 404


def test_a_model_that_is_not_served(tiny):
    response = tiny.post(
        "/v1/chat/completions", json={"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
    )
    error = response.json()["error"]
    assert response.status_code == 404 and error["code"] == "model_not_found" and "tiny, other" in error["message"]
    response = tiny.post(
        "/v1/chat/completions",
        json={"model": "other", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1},
    )
    assert response.json()["model"] == "other"
