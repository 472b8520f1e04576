"""Conditions on metrics as text: ``p99_latency > 50ms for 30s``, ``loss is nan``, ``throughput drops 30% for 60s``.

::

    rule      := metric test ["for" duration]
    test      := (">" | ">=" | "<" | "<=" | "==" | "!=") number [unit]
               | "is" ("nan" | "inf" | "finite" | "not finite") | "drops" number "%"
    duration  := number ("ms" | "s" | "m" | "min" | "h")
    metric    := a name of the hub, such as step_latency_p99, or one of ALIASES
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Container
from dataclasses import dataclass

from deepseek_prof.errors import UsageError
from deepseek_prof.query.units import SIZE_UNITS, TIME_UNITS

ALIASES = {
    "p50_latency": ("request_latency_p50", "step_latency_p50"),
    "p90_latency": ("request_latency_p90", "step_latency_p90"),
    "p99_latency": ("request_latency_p99", "step_latency_p99"),
    "throughput": ("throughput_steps",),
    "utilisation": ("gpu_utilisation",),
    "utilization": ("gpu_utilisation",),
}
"""Short names, each for the first of these that the run has. ``loss`` is every loss: a program may have several."""
_LOSS = re.compile(r"(?:^|[^a-z])loss(?:es)?(?:$|[^a-z])", re.IGNORECASE)

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_IS: dict[str, Callable[[float], bool]] = {
    "nan": math.isnan,
    "inf": math.isinf,
    "finite": math.isfinite,
    "not finite": lambda value: not math.isfinite(value),
}
# By unit as written: the dimension, and the factor to its base.
_UNITS = {
    **{unit: ("time", float(factor)) for unit, factor in TIME_UNITS.items()},
    "µs": ("time", 1e3), "m": ("time", 60e9), "min": ("time", 60e9), "h": ("time", 3600e9),
    **{unit: ("bytes", float(factor)) for unit, factor in SIZE_UNITS.items()},
    "B/s": ("bytes a second", 1.0), "KB/s": ("bytes a second", 1e3), "MB/s": ("bytes a second", 1e6),
    "GB/s": ("bytes a second", 1e9), "MHz": ("frequency", 1.0), "GHz": ("frequency", 1e3),
    "%": ("percent", 1.0), "/s": ("rate", 1.0), "1/s": ("rate", 1.0), "W": ("power", 1.0), "C": ("temperature", 1.0),
}  # fmt: skip
# By unit of the hub: the dimension, and the factor from the unit to the dimension's base.
_HUB_UNITS = {
    **{unit: ("time", float(factor)) for unit, factor in TIME_UNITS.items()}, "bytes": ("bytes", 1.0),
    "bytes/s": ("bytes a second", 1.0), "MHz": ("frequency", 1.0),
    "percent": ("percent", 1.0), "1/s": ("rate", 1.0), "W": ("power", 1.0), "C": ("temperature", 1.0),
}  # fmt: skip

_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_RULE = re.compile(r"\s*(?P<metric>[^\s<>=!]+)\s*(?P<test>.*?)\s*(?:\bfor\s+(?P<for>\S.*?))?\s*", re.DOTALL)
_COMPARE = re.compile(rf"(?P<op>>=|<=|==|!=|>|<)\s*(?P<number>{_NUMBER})\s*(?P<unit>[^\s\d]\S*|1/s)?")
_DROPS = re.compile(rf"drops\s+(?:by\s+)?(?P<number>{_NUMBER})\s*%")
_FORM = "Write it as 'p99_latency > 50ms for 30s', 'loss is nan' or 'throughput drops 30% for 60s'."


@dataclass(frozen=True)
class AlertRule:
    """One condition. Exactly one of ``compare``, ``state`` and ``drop`` is what it asks for."""

    text: str
    """As the user wrote it."""
    metric: str
    for_ns: int
    compare: tuple[str, float] | None = None
    """An operator and a bound, in the base of ``dimension``."""
    dimension: str | None = None
    """What the bound's unit measures; None for a bare number, which is in the metric's own unit."""
    state: str | None = None
    drop: float | None = None
    """A fraction of what is usual."""

    def watches(self, name: str, seen: Container[str]) -> bool:
        """Whether it is on the metric ``name`` of a run that has had the metrics ``seen``, this one among them."""
        if self.metric == "loss":
            return _LOSS.search(name) is not None
        names = (*ALIASES.get(self.metric, ()), self.metric)  # the program may have a metric of that very name
        return name == next((each for each in names if each in seen), None)

    def unit_problem(self, unit: str) -> str | None:
        """Why the rule does not fit a metric in ``unit`` of the hub; None where it does."""
        if self.dimension is None:
            return None
        actual = _HUB_UNITS.get(unit, (unit or "plain numbers", 1.0))[0]
        return (
            None if actual == self.dimension else f"{self.metric} is in {unit or 'plain numbers'}, not {self.dimension}"
        )

    def holds(self, value: float, unit: str, usual: float | None) -> bool:
        """Whether a value meets the condition; ``usual`` is what a drop is measured from, None while not known."""
        if self.state is not None:
            return _IS[self.state](value)
        if self.drop is not None:
            return usual is not None and value < (1.0 - self.drop) * usual
        assert self.compare is not None
        comparison, bound = self.compare
        factor = _HUB_UNITS.get(unit, ("", 1.0))[1] if self.dimension is not None else 1.0
        return _COMPARISONS[comparison](value * factor, bound)


def parse_alert(text: str) -> AlertRule:
    """The rule that the text describes. Raises UsageError, which says what of it is not understood."""
    match = _RULE.fullmatch(text)
    if match is None or not match["test"]:
        raise UsageError(f"--alert: {text!r} is not a condition. {_FORM}")
    metric, test = match["metric"], " ".join(match["test"].split())
    for_ns = _duration_ns(match["for"], text) if match["for"] else 0
    if found := _COMPARE.fullmatch(test):
        dimension, factor = None, 1.0
        if found["unit"]:
            if found["unit"] not in _UNITS:
                raise UsageError(f"--alert: {text!r}: {found['unit']!r} is no unit. Known: {', '.join(_UNITS)}.")
            dimension, factor = _UNITS[found["unit"]]
        bound = float(found["number"]) * factor
        return AlertRule(text, metric, for_ns, compare=(found["op"], bound), dimension=dimension)
    if test.startswith("is ") and test[3:].lower() in _IS:
        return AlertRule(text, metric, for_ns, state=test[3:].lower())
    if found := _DROPS.fullmatch(test):
        drop = float(found["number"]) / 100
        if not 0 < drop <= 1:
            raise UsageError(f"--alert: {text!r}: a drop is above 0% and at most 100%.")
        return AlertRule(text, metric, for_ns, drop=drop)
    raise UsageError(f"--alert: {text!r}: {test!r} is not understood after {metric!r}. {_FORM}")


def _duration_ns(text: str, rule: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-zµ]+)", text)
    dimension, factor = _UNITS.get(match[2], ("", 0.0)) if match else ("", 0.0)
    if match is None or dimension != "time":
        raise UsageError(f"--alert: {rule!r}: {text!r} is no duration. Write it as 30s, 500ms or 2min.")
    return round(float(match[1]) * factor)
