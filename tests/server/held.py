"""A client whose answers are held against the server's own document."""

from __future__ import annotations

from typing import Any

import jsonschema

JSON = "application/json"


def closed(schema: Any) -> Any:
    """The same, where no object may have more than its schema names."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(each) for name, each in schema.items()}
    if "properties" in schema and schema.get("type") == "object":
        found.setdefault("additionalProperties", False)
    return found


class Held:
    """Of one server. asked: names of the schemas that answers were held against."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.document = client.get("/openapi.json").json()
        self._components = closed(self.document["components"])
        self.asked: set[str] = set()

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None, name: str = "") -> Any:
        """The answer to a request. path: as the document has it. name: what stands there for a name."""
        response = self._client.request(
            method, path.replace("{name}", name), **({} if body is None else {"json": body})
        )
        assert response.status_code == 200, response.text
        whole = self.document["paths"][path][method.lower()]["responses"]["200"]["content"][JSON]["schema"]
        jsonschema.validate(response.json(), {**whole, "components": self._components})
        self.asked.add(whole["$ref"].rpartition("/")[2])
        return response.json()
