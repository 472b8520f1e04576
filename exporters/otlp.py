"""``run --otlp``: the metrics of a run in progress, sent over OTLP/HTTP by the OpenTelemetry SDK."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from deepseek_prof.errors import UsageError
from deepseek_prof.exporters.metric_names import exported, latest_by_name
from deepseek_prof.interfaces import CounterSample
from deepseek_prof.recording.metric_hub import MetricHub

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Observation

INTERVAL_MS = 5_000
_TIMEOUT_S = 5
_METRICS_PATH = "/v1/metrics"


def metrics_endpoint(text: str) -> str:
    """The address that metrics are posted to: a base address such as ``http://localhost:4318`` gets ``/v1/metrics``.

    Raises UsageError.
    """
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise UsageError(f"--otlp: {text!r} is no address. Write it as http://localhost:4318.")
    return urlunsplit(parts._replace(path=_METRICS_PATH)) if parts.path in ("", "/") else text


class OtlpSender:
    """Sends the last sample of each series every five seconds, and once more when closed.

    Raises:
        UsageError: ``endpoint`` is no address, or the packages are missing.
    """

    def __init__(self, hub: MetricHub, endpoint: str, warn: Callable[[str], None]) -> None:
        address = metrics_endpoint(endpoint)
        try:
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
            from opentelemetry.metrics import Observation
            from opentelemetry.sdk.metrics import MeterProvider
            from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
            from opentelemetry.sdk.resources import Resource
        except ImportError as error:
            raise UsageError(
                f"--otlp needs the OpenTelemetry SDK ({error}). Install it: pip install 'deepseek-prof[otlp]'."
            ) from error
        self._hub = hub
        self._observation = Observation
        self._known: set[tuple[str, str]] = set()
        """Names and units of the hub that have a gauge: each sample passes here, and few need a name made."""
        self._sources: dict[str, list[tuple[str, str]]] = {}
        """Of which of them each gauge tells: two may become one."""
        self._lock = threading.Lock()
        self._log = _Warnings(warn)
        logging.getLogger("opentelemetry").addHandler(self._log)
        exporter = OTLPMetricExporter(endpoint=address, timeout=_TIMEOUT_S)
        reader = PeriodicExportingMetricReader(exporter, export_interval_millis=INTERVAL_MS)
        resource = Resource.create({"service.name": "deepseek-prof"})
        self._provider: Any = MeterProvider([reader], resource=resource)
        self._meter = self._provider.get_meter("deepseek_prof")
        hub.subscribe(self._saw)
        for sample in hub.latest():
            self._saw(sample)

    def _saw(self, sample: CounterSample) -> None:
        source = (sample.name, sample.unit)
        if source in self._known:
            return
        metric = exported(sample)
        with self._lock:
            self._known.add(source)
            sources = self._sources.setdefault(metric.name, [])
            has_gauge = bool(sources)
            sources.append(source)
        if has_gauge:
            return
        self._meter.create_observable_gauge(
            metric.name, [self._observer(metric.name)], unit=metric.unit, description=metric.help
        )

    def _observer(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            sources = self._sources[name]
            samples = (sample for sample in self._hub.latest() if (sample.name, sample.unit) in sources)
            series = latest_by_name(samples).get(name, [])
            return [self._observation(metric.value, dict(metric.labels)) for metric in series]

        return observe

    def close(self) -> None:
        """Send what there is, and end."""
        self._provider.shutdown(timeout_millis=_TIMEOUT_S * 1000)
        logging.getLogger("opentelemetry").removeHandler(self._log)


class _Warnings(logging.Handler):
    """The SDK's own troubles, each kind once: an endpoint that is down would repeat itself all through the run."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._warn = warn
        self._told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Pass it on."""
        kind = str(record.msg)
        if kind not in self._told:
            self._told.add(kind)
            self._warn(f"--otlp: {record.getMessage().splitlines()[0][:300]}")
