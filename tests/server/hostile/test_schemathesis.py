"""What schemathesis makes of the OpenAPI document: no fault of the server, no hang.

QWEN3EDGE_REQUESTS says how many requests; a full run has 20,000.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import seed as seeded
from hypothesis.errors import Unsatisfiable
from schemathesis import APIOperation, Case, GenerationMode

from tests.server.hostile.bodies import bound, mend
from tests.server.hostile.watching import Watched, amount

HANG_SECONDS = 60


class Attack:
    """What came of the requests, by operation and status."""

    def __init__(self, url: str, document: dict[str, Any]) -> None:
        self._url, self._schemas = url, document["components"]["schemas"]
        self._paths = document["paths"]
        self.found: Counter[tuple[str, int]] = Counter()
        self.slowest = 0.0

    def make(self, operation: APIOperation, mode: GenerationMode, examples: int, seed: int) -> None:
        """Requests of one kind, right or wrong by the document. Raises for a fault of the server."""
        properties = self._properties(operation)

        @settings(max_examples=examples, database=None, deadline=None, suppress_health_check=list(HealthCheck))
        @seeded(seed)
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Case) -> None:
            bound(case.body, properties)
            if mode is GenerationMode.POSITIVE:
                mend(case.body, properties)
            begun = time.monotonic()
            response = case.call(base_url=self._url, timeout=HANG_SECONDS)
            self.slowest = max(self.slowest, time.monotonic() - begun)
            self.found[operation.label, response.status_code] += 1
            assert response.status_code < 500, response.text

        ask()

    def _properties(self, operation: APIOperation) -> dict[str, Any]:
        """Of its body."""
        about = self._paths[operation.path][operation.method.lower()]
        if "requestBody" not in about:
            return {}
        reference = about["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        found = self._schemas[reference.rpartition("/")[2]]["properties"]
        assert isinstance(found, dict)
        return found


@pytest.mark.slow
def test_the_document(serve, tmp_path, seed):
    server = Watched(serve("--alias", "tiny=int4", "--sessions", str(tmp_path / "sessions"), "--memory", "400MiB"))
    document = server.client.get("/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) == sum(len(methods) for methods in document["paths"].values()) > 10
    varied = [each for each in operations if each.body or each.path_parameters]
    attack = Attack(str(server.client.base_url), document)
    found, rounds = attack.found, 0
    while found.total() < amount(500):  # hypothesis ends early where it has no more ideas: once more, with other ones
        before, left = found.total(), amount(500) - found.total()
        for operation in varied if rounds else operations:
            examples = max(left // len(varied) // 2, 1) if operation in varied else 1
            for mode in GenerationMode:
                with contextlib.suppress(Unsatisfiable):  # nothing is wrong where nothing is given
                    attack.make(operation, mode, examples, seed + rounds)
        rounds += 1
        assert found.total() > before
    print(f"{found.total()} requests, the slowest {attack.slowest:.1f} s:")
    for (label, status), count in sorted(found.items()):
        print(f"  {label}: {count} x {status}")
    print(server.status())
    server.assert_unharmed()
    assert server.end() == ""
