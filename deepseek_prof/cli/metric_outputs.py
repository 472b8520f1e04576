"""What ``run`` does with metrics besides writing them into the run: serves, sends and watches them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from deepseek_prof.recording.metric_hub import MetricHub

if TYPE_CHECKING:
    from deepseek_prof.config import RunSettings
    from deepseek_prof.narration import Narrator
    from deepseek_prof.recording.alert_rules import AlertRule
    from deepseek_prof.recording.alerts import AlertWatch


class MetricOutputs:
    """Made before the run directory and the program, so that what cannot work is told before anything has begun.

    Raises:
        UsageError: an alert is not understood, the port is in use, or OTLP cannot be sent.
    """

    def __init__(self, settings: RunSettings, narrator: Narrator) -> None:
        self._settings = settings
        self._narrator = narrator
        self._hub = MetricHub()
        self._stack = ExitStack()
        self._watch: AlertWatch | None = None
        self._rules: tuple[AlertRule, ...] = ()
        if settings.alerts:
            from deepseek_prof.recording.alert_rules import parse_alert

            self._rules = tuple(parse_alert(text) for text in settings.alerts)
        if settings.otlp is not None:
            from deepseek_prof.exporters.otlp import OtlpSender

            sender = OtlpSender(self._hub, settings.otlp, narrator.warn)
            self._stack.callback(sender.close)
        if settings.metrics_port is not None:
            from deepseek_prof.exporters.prometheus import PrometheusServer

            server = PrometheusServer(self._hub, settings.metrics_host, settings.metrics_port)
            self._stack.callback(server.close)
            narrator.say(f"serving metrics at {server.url}")

    @contextmanager
    def into(self, run_dir: Path) -> Iterator[MetricHub]:
        """The hub, watched for alerts, whose events go into the run; at the end, whatever serves or sends is closed."""
        if self._rules:
            from deepseek_prof.recording.alerts import AlertWatch
            from deepseek_prof.recording.event_files import RecordingEvents

            self._watch = AlertWatch(self._rules, RecordingEvents(run_dir), self._narrator.warn)
            self._hub.subscribe(self._watch)
        with self._stack:
            yield self._hub
        for text in self._watch.unseen() if self._watch is not None else ():
            self._narrator.warn(f"--alert {text!r}: the run had no such metric. docs/metrics.md lists them.")

    def exit_status(self, returncode: int) -> int | None:
        """``--alert-exit-status`` where an alert fired and the program itself ended well."""
        fired = self._watch is not None and self._watch.fired
        return self._settings.alert_exit_status if fired and returncode == 0 else None
