"""What a server counts, for Prometheus. No label has a client's text in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from qwen3edge import _core
from qwen3edge.generation.answer import Usage

if TYPE_CHECKING:
    from qwen3edge.server.hosted import Models

CONTENT_TYPE = CONTENT_TYPE_LATEST

_FIRST = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_EACH = (0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.2, 0.5, 1)
_KINDS = ("weights", "kv_cache", "scratch", "program", "buffers", "draft")
_COUNTS = (
    ("running", GaugeMetricFamily, "requests_running", "answers that are computed"),
    ("waiting", GaugeMetricFamily, "requests_waiting", "answers in the queue"),
    ("steps", CounterMetricFamily, "steps", "steps of the engine"),
    ("preemptions", CounterMetricFamily, "preemptions", "answers that were sent back to the queue for want of memory"),
    ("drafted", CounterMetricFamily, "drafted_tokens", "tokens that were guessed"),
    ("accepted_drafts", CounterMetricFamily, "accepted_draft_tokens", "guessed tokens that answers have"),
)


class Metrics:
    """Of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        model = ["model"]

        def counter(name: str, what: str) -> Counter:
            return Counter(f"qwen3edge_{name}", what, model, registry=self._registry)

        self._counters: list[tuple[Counter, Callable[[Usage], int]]] = [
            (counter("answers", "answers that have begun and ended"), lambda usage: int(usage.completion_tokens > 0)),
            (counter("prompt_tokens", "tokens of prompts, embeddings and scores"), lambda usage: usage.prompt_tokens),
            (
                counter("cached_tokens", "tokens of prompts, computed before"),
                lambda usage: usage.cached_tokens,
            ),
            (counter("completion_tokens", "tokens of answers"), lambda usage: usage.completion_tokens),
            (counter("reasoning_tokens", "tokens of thoughts"), lambda usage: usage.reasoning_tokens),
        ]
        self._responses = Counter("qwen3edge_responses", "responses by status", ["status"], registry=self._registry)
        self._first = Histogram(
            "qwen3edge_time_to_first_token_seconds", "from the request on, the queue included", model,
            buckets=_FIRST, registry=self._registry,
        )  # fmt: skip
        self._each = Histogram(
            "qwen3edge_time_per_token_seconds", "mean of an answer, after the first", model,
            buckets=_EACH, registry=self._registry,
        )  # fmt: skip

    def watch(self, models: Models) -> None:
        """Adds what is asked of the models when somebody looks."""
        self._registry.register(_Now(models))

    def count_answer(self, model: str, usage: Usage) -> None:
        """Of one that has ended, by itself or because its client left; or of prompts that have no answer."""
        for counter, number in self._counters:
            counter.labels(model).inc(number(usage))
        if usage.completion_tokens:
            self._first.labels(model).observe(usage.queue_seconds + usage.prefill_seconds)
        if usage.completion_tokens > 1:
            self._each.labels(model).observe(usage.decode_seconds / (usage.completion_tokens - 1))

    def count_response(self, status: int) -> None:
        """Of any request."""
        self._responses.labels(str(status)).inc()

    def text(self) -> bytes:
        """In Prometheus' form."""
        return generate_latest(self._registry)


class _Now(Collector):
    def __init__(self, models: Models) -> None:
        self._models = models

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        loaded = self._models.loaded
        counts = {name: model.engine.scheduler.counts for name, model in loaded.items()}
        for key, kind, metric_name, what in _COUNTS:
            metric = kind(f"qwen3edge_{metric_name}", what, labels=["model"])
            for name, found in counts.items():
                metric.add_metric([name], found[key])  # type: ignore[literal-required]
            yield metric
        memory = GaugeMetricFamily("qwen3edge_memory_planned_bytes", "by what it is for", labels=["model", "kind"])
        for name, model in loaded.items():
            for each in _KINDS:
                memory.add_metric([name, each], getattr(model.plan, each))
        yield memory
        yield GaugeMetricFamily("qwen3edge_memory_budget_bytes", "of the process", value=self._models.budget)
        yield GaugeMetricFamily("qwen3edge_memory_resident_bytes", "of the process", value=_core.resident_bytes())
        yield GaugeMetricFamily("qwen3edge_memory_peak_bytes", "of the process", value=_core.peak_resident_bytes())
