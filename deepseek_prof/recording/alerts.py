"""Watches the metrics of a run for the conditions of ``--alert`` and writes when one begins and ends to hold."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from deepseek_prof.interfaces import CounterSample
from deepseek_prof.recording.alert_rules import AlertRule
from deepseek_prof.recording.event_files import RecordingEvents

USUAL_VALUES = 300
"""The usual value, from which a drop is measured, is the median of so many values at most that were no drop."""
MIN_USUAL_VALUES = 5


@dataclass
class _State:
    """Of one rule on one series."""

    since_ns: int | None = None
    """When the condition began to hold."""
    fired: bool = False
    usual: deque[float] = field(default_factory=lambda: deque(maxlen=USUAL_VALUES))


class AlertWatch:
    """Subscribe it to the hub. Times are those of the samples, so that recorded series give the same alerts."""

    def __init__(
        self, rules: Sequence[AlertRule], events: RecordingEvents, warn: Callable[[str], None] | None = None
    ) -> None:
        self._rules = tuple(rules)
        self._events = events
        self._warn = warn or (lambda _: None)
        self._lock = threading.Lock()
        self._states: dict[tuple[int, str, str, int], _State] = {}
        self._seen: set[str] = set()
        self._misfits: set[tuple[str, str]] = set()
        self.fired: dict[str, int] = {}
        """How often each rule fired, by its text."""

    def __call__(self, sample: CounterSample) -> None:
        """Look at a sample."""
        with self._lock:
            self._seen.add(sample.name)
            for number, rule in enumerate(self._rules):
                if rule.watches(sample.name, self._seen):
                    self._look(number, rule, sample)

    def unseen(self) -> list[str]:
        """The rules on metrics that the run did not have, at its end."""
        return [rule.text for rule in self._rules if not any(rule.watches(name, self._seen) for name in self._seen)]

    def _look(self, number: int, rule: AlertRule, sample: CounterSample) -> None:
        problem = rule.unit_problem(sample.unit)
        if problem is not None:
            if (rule.text, problem) not in self._misfits:
                self._misfits.add((rule.text, problem))
                self._warn(f"--alert {rule.text!r} is not watched: {problem}")
            return
        state = self._states.setdefault((number, sample.name, sample.device, sample.rank), _State())
        known = rule.drop is not None and len(state.usual) >= MIN_USUAL_VALUES
        usual = median(state.usual) if known else None
        if not rule.holds(sample.value, sample.unit, usual):
            if math.isfinite(sample.value):
                state.usual.append(sample.value)
            if state.fired:
                self._tell("info", "alert_cleared", rule, sample, usual)
            state.since_ns, state.fired = None, False
            return
        if state.since_ns is None:
            state.since_ns = sample.ts_ns
        if not state.fired and sample.ts_ns - state.since_ns >= rule.for_ns:
            state.fired = True
            self.fired[rule.text] = self.fired.get(rule.text, 0) + 1
            self._tell("warning", "alert_fired", rule, sample, usual)

    def _tell(self, level: str, event: str, rule: AlertRule, sample: CounterSample, usual: float | None) -> None:
        what = "fired" if event == "alert_fired" else "cleared"
        fields: dict[str, Any] = {
            "message": f"alert {what}: {rule.text}",
            "alert": rule.text,
            "metric": sample.name,
            "value": sample.value if math.isfinite(sample.value) else str(sample.value),
            "unit": sample.unit,
            "device": sample.device,
        }
        if rule.drop is not None and usual is not None:
            fields["usual"] = usual
        self._events.emit(level, event, fields, ts_ns=sample.ts_ns, rank=sample.rank)
        if event == "alert_fired":
            found = f"{sample.name} is {sample.value:.6g} {sample.unit}".rstrip()
            self._warn(f"alert: {rule.text}" + (f" ({found})" if found != rule.text else ""))
