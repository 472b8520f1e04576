"""What a benchmark run yields: samples by round, rows for the table, and the JSON document that holds both."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.statistics import estimate

RESULT_SCHEMA_VERSION = 1

Sample = Mapping[str, float]
"""The raw figures of one complete round, by name with unit (``bare_step_s``)."""


class BenchmarkError(Exception):
    """A program or command of a benchmark failed, so that its figure would mean nothing."""


@dataclass(frozen=True)
class Row:
    """One line of the table: a median over rounds, the bar it is held to (an upper limit) and what to compare with."""

    quantity: str
    unit: str
    median: float
    low: float
    high: float
    rounds: int
    bar: float | None = None
    reference: str = ""

    @property
    def verdict(self) -> str:
        """``reached`` or ``missed`` by the median; empty without a bar."""
        if self.bar is None:
            return ""
        return "reached" if self.median <= self.bar else "missed"


@dataclass(frozen=True)
class MeasurementResult:
    """One measurement: its rows, the raw samples they came from, how long it took, and why it failed if it did."""

    name: str
    title: str
    seconds: float
    rows: tuple[Row, ...]
    samples: tuple[Sample, ...]
    error: str | None = None


@dataclass(frozen=True)
class BenchmarkResult:
    """All measurements of one invocation, with the machine and the versions they were made with."""

    started: str
    quick: bool
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    measurements: tuple[MeasurementResult, ...] = ()
    interrupted: bool = False
    schema_version: int = field(default=RESULT_SCHEMA_VERSION)

    def write(self, path: Path) -> None:
        """Write the result as JSON, atomically."""
        partial = path.with_name(path.name + ".partial")
        partial.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        partial.replace(path)

    @classmethod
    def read(cls, path: Path) -> BenchmarkResult:
        """Read what ``write`` wrote. Raises BenchmarkError for another schema version."""
        data = json.loads(path.read_text(encoding="utf-8"))
        if data.get("schema_version") != RESULT_SCHEMA_VERSION:
            raise BenchmarkError(f"{path}: schema version {data.get('schema_version')}, not {RESULT_SCHEMA_VERSION}")
        measurements = tuple(
            MeasurementResult(**{**entry, "rows": tuple(Row(**row) for row in entry["rows"])})
            for entry in data.pop("measurements")
        )
        return cls(**data, measurements=measurements)


def row(
    samples: Sequence[Sample],
    value: Callable[[Sample], float],
    quantity: str,
    unit: str,
    *,
    bar: float | None = None,
    reference: str = "",
) -> Row | None:
    """Return the row of ``value`` over the rounds that have it; None where none has (an arm that was left out)."""
    values = []
    for sample in samples:
        try:
            values.append(value(sample))
        except KeyError:
            continue
    if not values:
        return None
    middle = estimate(values)
    return Row(quantity, unit, middle.median, middle.low, middle.high, middle.rounds, bar, reference)


def present(*rows: Row | None) -> tuple[Row, ...]:
    """Return the rows that there are."""
    return tuple(entry for entry in rows if entry is not None)
