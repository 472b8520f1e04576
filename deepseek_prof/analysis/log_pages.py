"""Log records by their number, without reading those before: counts by stretch of time, refined where it is full.

The records of millions of spans are never sorted as a whole. One pass counts how many begin in each of some thousand
stretches; a page then reads only the stretch that it stands in, which the row groups' statistics of Parquet make cheap.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, islice
from typing import Any

from deepseek_prof.analysis.aggregate import source_of
from deepseek_prof.analysis.logs import LogRecord, Selection, records
from deepseek_prof.trace.run import Condition, Run

_STRETCHES = 8_192
_FULL = 3_000
"""A stretch with more records is counted once more, in stretches of its own."""


@dataclass(frozen=True)
class _Bounded:
    sql: str
    params: Sequence[Any]


@dataclass
class _Counts:
    """Stretches of ``width_ns`` each from ``start_ns`` on; ``before[i]`` records begin before stretch ``i``."""

    start_ns: int
    width_ns: int
    before: list[int]
    finer: dict[int, _Counts] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return self.before[-1]


class LogPages:
    """The selected records of a run by number. Belongs to the thread that reads it."""

    def __init__(self, run: Run, spans: Condition, events: Condition) -> None:
        """Count the records that the two conditions select.

        Raises:
            RunDamagedError: a file of the run is damaged.
        """
        self._spans, self._events = spans, events
        first, last = run.kept_rows(
            "SELECT least(s.first, l.first), greatest(s.last, l.last) FROM "
            "(SELECT min(start_ns) AS first, max(start_ns) AS last FROM raw_spans) s, "
            "(SELECT min(ts_ns) AS first, max(ts_ns) AS last FROM logs) l"
        )[0]
        self._counts = self._count(run, first, last) if first is not None else _Counts(0, 1, [0])

    def __len__(self) -> int:
        return self._counts.total

    def page(self, run: Run, first: int, count: int) -> list[LogRecord]:
        """Records ``first`` to ``first + count``, fewer at the end, by time.

        Raises:
            RunDamagedError: a file of the run is damaged.
        """
        found: list[LogRecord] = []
        while len(found) < count and first + len(found) < len(self):
            number = first + len(found)
            start_ns, end_ns, before, held = self._stretch(run, self._counts, number)
            wanted = min(held - (number - before), count - len(found))
            if wanted <= 0:
                break
            inside = self._records(run, start_ns, end_ns, number - before + wanted)
            found.extend(islice(inside, number - before, number - before + wanted))
        return found

    def _records(self, run: Run, start_ns: int, end_ns: int, limit: int) -> list[LogRecord]:
        spans = _within(self._spans, "start_ns", start_ns, end_ns)
        events = _within(self._events, "ts_ns", start_ns, end_ns)
        return list(records(run, Selection(spans, events, limit=limit)))

    def _stretch(self, run: Run, counts: _Counts, number: int) -> tuple[int, int, int, int]:
        """The stretch that record ``number`` stands in: its ends, the number before it, and the number in it."""
        index = bisect.bisect_right(counts.before, number) - 1
        before, held = counts.before[index], counts.before[index + 1] - counts.before[index]
        start_ns = counts.start_ns + index * counts.width_ns
        end_ns = start_ns + counts.width_ns
        if held <= _FULL or counts.width_ns == 1:
            return start_ns, end_ns, before, held
        if index not in counts.finer:
            counts.finer[index] = self._count(run, start_ns, end_ns - 1)
        finer = self._stretch(run, counts.finer[index], number - before)
        return finer[0], finer[1], before + finer[2], finer[3]

    def _count(self, run: Run, first_ns: int, last_ns: int) -> _Counts:
        width_ns = max(1, -(-(last_ns - first_ns + 1) // _STRETCHES))
        counts = [0] * (-(-(last_ns - first_ns + 1) // width_ns))
        for source, moment, condition in (
            (source_of(self._spans.sql), "start_ns", self._spans),
            ("logs", "ts_ns", self._events),
        ):
            bounded = _within(condition, moment, first_ns, last_ns + 1)
            rows = run.rows(
                f"SELECT (({moment} - ?) // ?)::INTEGER, count(*) FROM {source} WHERE {bounded.sql} GROUP BY 1",
                [first_ns, width_ns, *bounded.params],
            )
            for index, number in rows:
                counts[index] += number
        return _Counts(first_ns, width_ns, [0, *accumulate(counts)])


def _within(condition: Condition, column: str, start_ns: int, end_ns: int) -> _Bounded:
    return _Bounded(f"({condition.sql}) AND {column} >= ? AND {column} < ?", [*condition.params, start_ns, end_ns])
