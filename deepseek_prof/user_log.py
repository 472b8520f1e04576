"""``deepseek_prof.log`` and ``log_metric``: the user's own events and numbers, beside what is recorded.

Standard library only.

The package is imported into profiled programs, so this is a no-op until a recorder sets its sink.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Sink = Callable[[str, str, Mapping[str, Any]], None]
"""Takes a level, an event and its fields."""


class UserLog:
    """Writes events into the run that is being recorded, with the step, phase and layer active at the call.

    Nothing is printed, and nothing happens while nothing is recorded. Fields may be anything; what JSON cannot hold is
    kept as its ``repr``.
    """

    def __init__(self) -> None:
        self._sink: Sink | None = None

    def debug(self, event: str, /, **fields: Any) -> None:
        """Record an event of level ``debug``."""
        if self._sink is not None:
            self._sink("debug", event, fields)

    def info(self, event: str, /, **fields: Any) -> None:
        """Record an event of level ``info``."""
        if self._sink is not None:
            self._sink("info", event, fields)

    def warning(self, event: str, /, **fields: Any) -> None:
        """Record an event of level ``warning``."""
        if self._sink is not None:
            self._sink("warning", event, fields)

    def error(self, event: str, /, **fields: Any) -> None:
        """Record an event of level ``error``."""
        if self._sink is not None:
            self._sink("error", event, fields)

    def send_to(self, sink: Sink | None) -> None:
        """Where events go from now on; None: nowhere. For recorders."""
        self._sink = sink


MetricSink = Callable[[str, Any, str], None]
"""Takes a name, a number or scalar tensor, and its unit."""

_metric_sink: MetricSink | None = None


def log_metric(name: str, value: Any, unit: str = "") -> None:
    """Record a number, such as an accuracy, at this moment of the run. Nothing happens while nothing is recorded.

    Args:
        name: what it is called in the report; the same each time.
        value: a number, or a tensor or array of one element; one on an accelerator is not waited for.
        unit: shown behind the value; empty for a plain number.
    """
    if _metric_sink is not None:
        _metric_sink(name, value, unit)


def send_metrics_to(sink: MetricSink | None) -> None:
    """Where metrics go from now on; None: nowhere. For recorders."""
    global _metric_sink
    _metric_sink = sink


log = UserLog()
