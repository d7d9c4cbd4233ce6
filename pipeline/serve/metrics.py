"""Metrics for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.serve.runs import RunIndex


class RunCollector(Collector):
    """Metrics of all runs, read from their manifests at each scrape."""

    def __init__(self, index: RunIndex) -> None:
        self.index = index

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics, as prometheus_client's Collector requires."""
        done = GaugeMetricFamily("zhclip_shards_done", "Shards that are committed.", labels=("run", "stage"))
        expected = GaugeMetricFamily(
            "zhclip_shards_expected",
            "Shards that a stage will have; absent while that is not known.",
            labels=("run", "stage"),
        )
        rows = GaugeMetricFamily(
            "zhclip_rows",
            "Rows of a run by source and what became of them; `read` is all of them.",
            labels=("run", "source", "outcome"),
        )
        changed = GaugeMetricFamily("zhclip_last_commit_seconds", "Unix time of the last commit.", labels=("run",))
        for entry in self.index.runs():
            if entry.live_run is None:
                continue
            progress = entry.live_run.progress()
            changed.add_metric((entry.name,), progress.changed)
            for stage in progress.stages:
                done.add_metric((entry.name, stage.name), stage.done)
                if stage.expected is not None:
                    expected.add_metric((entry.name, stage.name), stage.expected)
            for funnel in progress.funnels:
                for outcome, count in {"read": funnel.read, **funnel.outcomes}.items():
                    rows.add_metric((entry.name, funnel.source, outcome), count)
        yield from (done, expected, rows, changed)


class Metrics:
    """The registry, and the metrics of the service itself."""

    def __init__(self, index: RunIndex) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(RunCollector(index))
        self.requests = Histogram(
            "zhclip_http_request_seconds",
            "Time to answer a request.",
            ("route", "method", "status"),
            registry=self.registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
        )
        self.queries = Counter(
            "zhclip_sql_queries", "Queries on the SQL page, by result.", ("result",), registry=self.registry
        )


class TimingMiddleware:
    """The middleware that times requests, by route and not by path: a path can hold anything."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Time one ASGI request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status = time.perf_counter(), "500"

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self.app(scope, receive, sent)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST") else "other"
            self.metrics.requests.labels(route, method, status).observe(time.perf_counter() - begun)
