"""The table ``context_totals``: every span summed once, so that most questions are answered without the spans."""

from __future__ import annotations

from deepseek_prof.analysis.aggregate import has_devices
from deepseek_prof.trace.run import Run

_KEY = "rank, pid, tid, context_id"


def keep_totals(run: Run) -> None:
    """Sum every span once, so that what only asks for contexts, threads and processes is answered without the spans.

    For who asks many questions of one run; made before :meth:`Run.cursor`, it serves the cursors too.
    """
    write_totals(run, sums_of("raw_spans", with_device=has_devices(run)))


def sums_of(spans: str, *, with_device: bool = True) -> str:
    """SQL: the sums of ``spans``, a table with the columns of ``raw_spans``, by process, thread, context and device."""
    # Each column of a key takes its time.
    device, key = ("device", ", device") if with_device else ("NULL::VARCHAR", "")
    return (
        f"SELECT {_KEY}, {device} AS device, count(*) AS count, sum(dur_ns)::BIGINT AS sum_dur_ns, "
        "sum(self_ns)::BIGINT AS sum_self_ns, max(dur_ns) AS max_dur_ns, min(start_ns) AS first_start_ns "
        f"FROM {spans} GROUP BY {_KEY}{key}"
    )


def added(sums: str) -> str:
    """SQL: ``sums``, a table of such sums of several parts of the spans, added up."""
    return (
        f"SELECT {_KEY}, device, sum(count)::BIGINT AS count, sum(sum_dur_ns)::BIGINT AS sum_dur_ns, "
        "sum(sum_self_ns)::BIGINT AS sum_self_ns, max(max_dur_ns) AS max_dur_ns, "
        f"min(first_start_ns) AS first_start_ns FROM {sums} GROUP BY {_KEY}, device"
    )


def write_totals(run: Run, sums: str) -> None:
    """Make the result of ``sums``, SQL for the sums of all spans, the run's totals."""
    run.guarded(
        lambda: run.connection.execute(
            "CREATE OR REPLACE TABLE context_totals AS SELECT t.*, c.phase, c.kind, c.name, c.type, c.layer "
            f"FROM ({sums}) t LEFT JOIN process_contexts c USING (rank, pid, context_id)"
        )
    )
    run.has_totals = True


def first_start_ns(run: Run) -> int | None:
    """When the first span of a run with totals began; None where it has no spans."""
    first: int | None = run.rows("SELECT min(first_start_ns) FROM context_totals")[0][0]
    return first
