"""``run --metrics-port``: the metrics of a run in progress in Prometheus' text format, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import start_http_server
from prometheus_client.core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from deepseek_prof.errors import UsageError
from deepseek_prof.exporters.metric_names import latest_by_name
from deepseek_prof.recording.metric_hub import MetricHub


class HubCollector(Collector):
    """The last sample of each series as gauges, whoever published it."""

    def __init__(self, hub: MetricHub) -> None:
        self._hub = hub

    def collect(self) -> Iterator[Metric]:
        """One family a name."""
        for name, series in sorted(latest_by_name(self._hub.latest()).items()):
            family = Metric(name, series[0].help, "gauge")
            for metric in series:
                family.add_sample(name, dict(metric.labels), metric.value)
            yield family


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
