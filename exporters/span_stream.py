"""The selected spans of a run as Arrow tables in order of time, each window of time in memory alone.

Within a window spans stand by start, and an outer span before what it holds. Every format that shows single spans is
written from this stream, so that its memory does not grow with the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from deepseek_prof.exporters.tracks import TRACKS_SQL, Track, tracks_of

if TYPE_CHECKING:
    import pyarrow as pa

    from deepseek_prof.exporters.registry import Selection
    from deepseek_prof.trace.run import Run

WINDOW_SPANS = 250_000
_MOST_WINDOWS = 1_024
_FIRST_NS, _LAST_NS = -(2**63), 2**63 - 1

COLUMNS = (
    "rank",
    "pid",
    "tid",
    "step",
    "start_ns",
    "dur_ns",
    "self_ns",
    "context_id",
    "device",
    "stream",
    "bytes",
    "flops",
    "shapes",
    "context",
    "track",
)
"""Of each table: those of the ``spans`` view that differ from span to span, then the numbers of the span's context in
:attr:`SpanStream.contexts` and of its track in :attr:`SpanStream.tracks`, from 0."""

CONTEXT_COLUMNS = ("rank", "pid", "context_id", "parent_id", "depth", "kind", "name", "type", "layer", "phase")

_CONTEXTS_SQL = f"""
CREATE OR REPLACE TEMP TABLE exported_contexts AS
    SELECT row_number() OVER (ORDER BY rank, pid, depth, context_id) - 1 AS context, {", ".join(CONTEXT_COLUMNS)}
    FROM process_contexts
"""
# Has every column of the view `spans`, so that a condition on that view is one on this.
_SPANS_SQL = """
CREATE OR REPLACE TEMP VIEW exported_spans AS
    SELECT s.*, c.phase, c.kind, c.name, c.type, c.layer, c.parent_id, c.depth, c.context, t.track
    FROM raw_spans s JOIN exported_contexts c USING (rank, pid, context_id)
    JOIN exported_tracks t ON t.rank = s.rank AND t.pid = s.pid AND t.tid = s.tid
        AND t.device = coalesce(s.device, '') AND t.stream = coalesce(s.stream, -1)
"""


@dataclass(frozen=True)
class Window:
    """Spans that start from ``first_ns`` on and before ``end_ns``."""

    first_ns: int
    end_ns: int


class SpanStream:
    """The spans of a run that a selection holds.

    Raises:
        UsageError: there are none.
        RunDamagedError: a file of the run is damaged; so do all methods.
    """

    def __init__(self, run: Run, selection: Selection) -> None:
        self._run = run
        condition = selection.condition
        self.where, self.params = ("TRUE", ()) if condition is None else (condition.sql, tuple(condition.params))
        run.guarded(lambda: run.connection.execute(f"{_CONTEXTS_SQL};{TRACKS_SQL};{_SPANS_SQL}"))
        marks = ", ".join(str(number / _MOST_WINDOWS) for number in range(1, _MOST_WINDOWS))
        (found,) = run.rows(
            f"SELECT count(*), min(start_ns), max(start_ns + dur_ns), approx_quantile(start_ns, [{marks}]) "
            f"FROM exported_spans WHERE {self.where}",
            self.params,
        )
        self.count, self.start_ns, self.end_ns, quantiles = found
        if not self.count:
            raise selection.empty(run)
        # As many of the marks as make windows of the wanted size, which need not be exact.
        stride = max(1, _MOST_WINDOWS * WINDOW_SPANS // self.count)
        edges = sorted({_FIRST_NS, *quantiles[stride - 1 :: stride], _LAST_NS})
        self.windows = tuple(Window(first, end) for first, end in pairwise(edges))

    @cached_property
    def contexts(self) -> pa.Table:
        """The context trees of all processes: :data:`CONTEXT_COLUMNS`, in the order of their numbers."""
        return self._run.table(f"SELECT {', '.join(CONTEXT_COLUMNS)} FROM exported_contexts ORDER BY context")

    @cached_property
    def tracks(self) -> tuple[Track, ...]:
        """The threads and streams, in the order of their numbers."""
        return tracks_of(self._run)

    @cached_property
    def processes(self) -> frozenset[tuple[int, int]]:
        """Rank and number of each process that has a span in the selection."""
        return frozenset(
            self._run.rows(f"SELECT DISTINCT rank, pid FROM exported_spans WHERE {self.where}", self.params)
        )

    def table(self, window: Window) -> pa.Table:
        """The spans of one window: :data:`COLUMNS`."""
        return self._run.table(
            f"SELECT {', '.join(COLUMNS)} FROM exported_spans "
            f"WHERE start_ns >= ? AND start_ns < ? AND ({self.where}) ORDER BY start_ns, dur_ns DESC, depth, track",
            (window.first_ns, window.end_ns, *self.params),
        )

    def tables(self) -> Iterator[pa.Table]:
        """The spans of all windows in turn."""
        return map(self.table, self.windows)

    def context_values(self, name: str) -> list[Any]:
        """One column of :attr:`contexts`."""
        found: list[Any] = self.contexts[name].to_pylist()
        return found
