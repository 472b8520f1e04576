"""Arrows between spans: from an operator to the kernels that it launched, and from a layer's forward to its backward.

A run keeps contexts, not the numbers of single launches: arrows are drawn only where that leaves one answer.

- Where calls into the driver are recorded, those within an operator in a step, and the work that hangs below it, belong
  together one by one, in order of time, if there are as many of both.
- Elsewhere, the kernels of a context were launched by the operator that it hangs below. Where in a step they are a
  whole multiple of that operator's calls, each call launched as many, in order of time.
- Autograd runs the calls of a layer last to first: the last forward call of a step leads to the step's first backward
  work of that layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepseek_prof.analysis.aggregate import has_devices

if TYPE_CHECKING:
    import pyarrow as pa

    from deepseek_prof.exporters.span_stream import SpanStream, Window
    from deepseek_prof.trace.run import Run

_END = "struct_pack(context := context, track := track, ns := start_ns, selected := selected)"
_WHERE = "{where}"
_MARKED = f"(SELECT *, coalesce({_WHERE}, FALSE) AS selected FROM exported_spans)"
_BACKWARD = f"""
    SELECT 'backward' AS kind, forward.last AS source, backward.first AS target FROM (
        SELECT rank, pid, step, layer, arg_max({_END}, start_ns) AS last FROM {_MARKED}
        WHERE kind = 'layer' AND phase = 'forward' AND step IS NOT NULL GROUP BY ALL
    ) forward JOIN (
        SELECT rank, pid, step, layer, arg_min({_END}, (start_ns, -dur_ns)) AS first FROM {_MARKED}
        WHERE kind <> 'layer' AND phase = 'backward' AND device IS NULL GROUP BY ALL
    ) backward USING (rank, pid, step, layer)
"""
_WORK = "device IS NOT NULL AND kind IN ('kernel', 'memcpy', 'memset') AND parent_id IS NOT NULL"
_LAUNCHED = """CASE WHEN kind <> 'runtime' THEN NULL WHEN name ILIKE '%memcpy%' THEN 'memcpy'
    WHEN name ILIKE '%memset%' THEN 'memset' WHEN name ILIKE '%launch%' THEN 'kernel' END"""
"""The kind of work that a call into the driver starts; NULL for calls that start none."""
_BY_CALL = f"""
    UNION ALL SELECT 'launch', call.source, work.target FROM (
        SELECT rank, pid, step, parent_id, kind, {_END} AS target,
            count(*) OVER same AS count, row_number() OVER (same ORDER BY start_ns, track) AS place
        FROM {_MARKED} WHERE {_WORK}
        WINDOW same AS (PARTITION BY rank, pid, step, parent_id, kind)
    ) work JOIN (
        SELECT rank, pid, step, parent_id, launched, {_END} AS source,
            count(*) OVER same AS count, row_number() OVER (same ORDER BY start_ns) AS place
        FROM (SELECT *, {_LAUNCHED} AS launched FROM {_MARKED}) WHERE device IS NULL AND launched IS NOT NULL
        WINDOW same AS (PARTITION BY rank, pid, step, parent_id, launched)
    ) call ON call.rank = work.rank AND call.pid = work.pid AND call.parent_id = work.parent_id
        AND call.step IS NOT DISTINCT FROM work.step AND call.launched = work.kind
        AND call.count = work.count AND call.place = work.place
"""
_BY_OPERATOR = f"""
    UNION ALL SELECT 'launch', operator.source, work.target FROM (
        SELECT rank, pid, step, parent_id, {_END} AS target,
            count(*) OVER same AS count, row_number() OVER (same ORDER BY start_ns, track) - 1 AS place
        FROM {_MARKED} WHERE {_WORK} AND (rank, pid, parent_id, kind) NOT IN (
            SELECT (rank, pid, parent_id, launched) FROM (SELECT *, {_LAUNCHED} AS launched FROM exported_contexts)
            WHERE launched IS NOT NULL AND parent_id IS NOT NULL)
        WINDOW same AS (PARTITION BY rank, pid, step, context_id)
    ) work JOIN (
        SELECT rank, pid, step, context_id, {_END} AS source,
            count(*) OVER same AS calls, row_number() OVER (same ORDER BY start_ns) - 1 AS place
        FROM {_MARKED} WHERE device IS NULL AND (rank, pid, context_id) IN (
            SELECT (rank, pid, parent_id) FROM exported_contexts
            WHERE kind IN ('kernel', 'memcpy', 'memset') AND parent_id IS NOT NULL)
        WINDOW same AS (PARTITION BY rank, pid, step, context_id)
    ) operator ON operator.rank = work.rank AND operator.pid = work.pid
        AND operator.context_id = work.parent_id AND operator.step IS NOT DISTINCT FROM work.step
        AND work.count % operator.calls = 0 AND work.place // (work.count // operator.calls) = operator.place
"""


class Arrows:
    """The arrows of which both ends are selected and the second is not the earlier one.

    Raises, as its methods do:
        RunDamagedError: a file of the run is damaged.
    """

    def __init__(self, run: Run, stream: SpanStream) -> None:
        self._run = run
        # Ends are found among all spans: a selection does not change what launched what.
        ends = _BACKWARD + (_BY_CALL + _BY_OPERATOR if has_devices(run) else "")
        ends_sql = ends.replace(_WHERE, stream.where)
        sql = (
            "CREATE OR REPLACE TEMP TABLE exported_arrows AS SELECT row_number() OVER () AS arrow, kind, "
            "source.context AS from_context, source.track AS from_track, source.ns AS from_ns, "
            f"target.context AS to_context, target.track AS to_track, target.ns AS to_ns FROM ({ends_sql}) "
            "WHERE source.selected AND target.selected AND target.ns >= source.ns"
        )
        params = stream.params * ends.count(_WHERE)
        run.guarded(lambda: run.connection.execute(sql, params))

    def leaving(self, window: Window) -> pa.Table:
        """Arrows whose first end starts in the window: ``arrow, kind, context, track, start_ns`` of that end."""
        return self._ends("from", window)

    def arriving(self, window: Window) -> pa.Table:
        """Arrows whose second end starts in the window: the same columns, of that end."""
        return self._ends("to", window)

    def _ends(self, end: str, window: Window) -> pa.Table:
        return self._run.table(
            f"SELECT arrow, kind, {end}_context AS context, {end}_track AS track, {end}_ns AS start_ns "
            f"FROM exported_arrows WHERE start_ns >= ? AND start_ns < ? ORDER BY start_ns, arrow",
            (window.first_ns, window.end_ns),
        )
