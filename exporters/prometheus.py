"""``run --metrics-port``: the metrics of a run in progress in Prometheus' text format, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import start_http_server
from prometheus_client.core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from deepseek_prof.errors import UsageError
from deepseek_prof.exporters.metric_names import exported
from deepseek_prof.recording.metric_hub import MetricHub


class HubCollector(Collector):
    """The last sample of each series as gauges, whoever published it."""

    def __init__(self, hub: MetricHub) -> None:
        self._hub = hub

    def collect(self) -> Iterator[Metric]:
        """One family a name; of series that become one, the latest value."""
        families: dict[str, tuple[Metric, dict[tuple[tuple[str, str], ...], float]]] = {}
        for sample in sorted(self._hub.latest(), key=lambda sample: sample.ts_ns):
            metric = exported(sample)
            family = families.setdefault(metric.name, (Metric(metric.name, metric.help, "gauge"), {}))
            family[1][metric.labels] = metric.value
        for name, (family_, values) in sorted(families.items()):
            for labels, value in values.items():
                family_.add_sample(name, dict(labels), value)
            yield family_


class PrometheusServer:
    """Answers ``GET /metrics`` until closed, on threads of its own.

    Raises:
        UsageError: the address cannot be had.
    """

    def __init__(self, hub: MetricHub, host: str, port: int) -> None:
        registry = CollectorRegistry()
        registry.register(HubCollector(hub))
        try:
            started: tuple[WSGIServer, Thread] = start_http_server(port, addr=host, registry=registry)
        except (OSError, OverflowError) as error:
            raise UsageError(
                f"metrics cannot be served at {host}:{port}: {getattr(error, 'strerror', None) or error}. Choose "
                "another port with --metrics-port (0: any free one) or another address with --metrics-host."
            ) from error
        self._server, self._thread = started
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self._server.server_port}/metrics"

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
