"""New spans of a run while it is recorded, read from the live segments beside the converter, which owns them."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from deepseek_prof.analysis.logs import SPAN_COLUMNS, LogRecord, operator_record
from deepseek_prof.errors import DeepseekProfError
from deepseek_prof.recording.live_process import LiveProcess, find_processes
from deepseek_prof.recording.segments import Segment, scan_segment
from deepseek_prof.recording.span_table import spans_to_arrow
from deepseek_prof.trace.log_view import rank_of_live
from deepseek_prof.trace.run import Condition, Run
from deepseek_prof.trace.run_file import read_run_file


class SpanTail:
    """Gives the spans that ended since the last call and match a condition.

    A thread's spans stand in order of their ends, so that the end of the last one that was given tells what is new.
    """

    def __init__(self, run_dir: Path, condition: Condition, since_step: int | None) -> None:
        self._run_dir = run_dir
        self._condition = condition
        self._since_step = since_step
        self._processes: dict[str, LiveProcess] = {}
        self._ends_ns: dict[tuple[int, int], int] = {}
        self._started_ns = time.time_ns()
        clock = read_run_file(run_dir).get("clock") or {}
        self._offset_ns = int(clock.get("epoch_ns") or 0) - int(clock.get("monotonic_ns") or 0)
        self._connection = duckdb.connect(":memory:", config={"threads": "1"})
        # Columns are in lower case: a condition without one is the same for every span.
        constant = not any(char.islower() for char in condition.sql)
        self._nothing = constant and not self._connection.execute(f"SELECT {condition.sql}").fetchall()[0][0]

    def poll(self) -> list[LogRecord]:
        """New records, in no order."""
        if self._nothing:
            return []
        try:
            processes, _ = find_processes(self._run_dir / "live", self._processes)
        except FileNotFoundError:
            return []  # converted to its end
        records: list[LogRecord] = []
        for process in processes:
            with suppress(OSError, DeepseekProfError):  # segments are moved and deleted beside us
                records.extend(self._new_spans(process))
        return records

    def rest(self) -> list[LogRecord]:
        """When the run is complete: the records that no poll has seen."""
        if self._nothing or (self._run_dir / "live").is_dir():
            return self.poll()
        oldest_ns = min((self._started_ns, *self._ends_ns.values()))
        with Run.open(self._run_dir) as run:
            where, params = self._where()
            sql = f"SELECT {', '.join(SPAN_COLUMNS)} FROM spans WHERE {where} AND start_ns + dur_ns > ?"
            found = [operator_record(row) for row in run.rows(sql, [*params, oldest_ns])]
        return [record for record in found if self._is_new(record)]

    def _is_new(self, record: LogRecord) -> bool:
        end_ns = record.ts_ns + (record.dur_ns or 0)
        return end_ns > self._ends_ns.get((record.pid or 0, record.tid or 0), self._started_ns)

    def _where(self) -> tuple[str, list[object]]:
        where, params = f"({self._condition.sql})", list(self._condition.params)
        if self._since_step is not None:
            where = f"{where} AND step >= ?"
            params.append(self._since_step)
        return where, params

    def _new_spans(self, process: LiveProcess) -> list[LogRecord]:
        new: list[Segment] = []
        ends: dict[tuple[int, int], int] = {}
        for path in process.segments():
            with suppress(FileNotFoundError):
                segment = scan_segment(path, being_written=True)
                key = process.pid, segment.tid
                end_ns = segment.start_ns + segment.dur_ns + self._offset_ns
                fresh = end_ns > self._ends_ns.get(key, 0)
                if fresh.any():
                    ends[key] = max(ends.get(key, 0), int(end_ns.max()))
                    new.append(_selected(segment, fresh))
        if not new:
            return []
        # After the segments: both then hold all that the spans refer to.
        process.refresh_contexts()
        process.steps.refresh(being_written=True)
        boundaries = process.steps.boundaries
        table, _ = spans_to_arrow(new, process.contexts, process.signatures, boundaries, self._offset_ns)
        self._ends_ns.update(ends)
        return self._matching(table, process)

    def _matching(self, table: pa.Table, process: LiveProcess) -> list[LogRecord]:
        where, params = self._where()
        connection: Any = self._connection
        connection.register("new_spans", table)
        connection.register("new_contexts", process.contexts.to_arrow())
        rank, pid = int(rank_of_live(process.directory)), int(process.pid)
        rows = connection.execute(
            f"WITH spans AS (SELECT {rank} AS rank, {pid} AS pid, s.*, c.phase, c.kind, c.name, c.type, c.layer "
            "FROM new_spans s JOIN new_contexts c USING (context_id)) "
            f"SELECT {', '.join(SPAN_COLUMNS)} FROM spans WHERE {where}",
            params,
        ).fetchall()
        return [operator_record(row) for row in rows]


def _selected(segment: Segment, which: npt.NDArray[np.bool_]) -> Segment:
    return replace(
        segment,
        start_ns=segment.start_ns[which],
        dur_ns=segment.dur_ns[which],
        self_ns=segment.self_ns[which],
        context=segment.context[which],
        signature=segment.signature[which],
    )
