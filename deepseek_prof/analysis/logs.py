"""Log records of a run, ordered by time: operator records made from spans, and the events of the ``logs`` view."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any

from deepseek_prof.trace.run import Condition, Run

_FETCH_ROWS = 2000

SPAN_COLUMNS = ("start_ns", "rank", "pid", "tid", "step", "phase", "layer", "name", "type", "kind", "dur_ns", "self_ns")
"""Columns of the ``spans`` view that :func:`operator_record` takes, in this order."""

EVENT_COLUMNS = ("ts_ns", "rank", "level", "event", "step", "phase", "layer", "op", "fields")
"""Columns of the ``logs`` view that :func:`event_record` takes, in this order."""


@dataclass(frozen=True)
class LogRecord:
    """One record. An operator record has ``type``, ``kind``, ``dur_ns``, ``self_ns``, ``pid`` and ``tid``; an event
    has ``level``, ``event`` and ``fields``. Both have a moment, and a place in the program where that is known."""

    ts_ns: int
    """Since the Unix epoch; of an operator, its start."""
    rank: int
    step: int | None
    phase: str | None
    layer: str | None
    op: str | None
    level: str | None = None
    event: str | None = None
    type: str | None = None
    kind: str | None = None
    dur_ns: int | None = None
    self_ns: int | None = None
    pid: int | None = None
    tid: int | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    python: str | None = None
    """The innermost Python frame that was sampled within an operator, where that was asked for."""

    @property
    def is_event(self) -> bool:
        """Whether this is an event, not an operator."""
        return self.kind is None


def operator_record(row: tuple[Any, ...]) -> LogRecord:
    """The record of a span, given as :data:`SPAN_COLUMNS`."""
    start_ns, rank, pid, tid, step, phase, layer, name, operator_type, kind, dur_ns, self_ns = row
    return LogRecord(
        start_ns,
        rank,
        step,
        phase,
        layer,
        name,
        type=operator_type,
        kind=kind,
        dur_ns=dur_ns,
        self_ns=self_ns,
        pid=pid,
        tid=tid,
    )


def event_record(row: tuple[Any, ...]) -> LogRecord:
    """The record of an event, given as :data:`EVENT_COLUMNS`; ``fields`` as JSON text or a mapping."""
    ts_ns, rank, level, event, step, phase, layer, op, fields = row
    if isinstance(fields, str):
        fields = json.loads(fields)
    return LogRecord(
        ts_ns,
        rank,
        step,
        phase,
        layer,
        op,
        level=level,
        event=event,
        fields=fields if isinstance(fields, dict) else {},
    )


@dataclass(frozen=True)
class Selection:
    """Which records: conditions on the two views, as ``query.compile_tree`` makes them, and bounds."""

    spans: Condition
    events: Condition
    since_step: int | None = None
    limit: int | None = None
    """At most so many, the earliest; None: all."""
    newest: bool = False
    """With ``limit``: the latest instead of the earliest."""


def records(run: Run, selection: Selection) -> Iterator[LogRecord]:
    """The selected records by time. Where times are equal, events come first.

    Raises:
        RunDamagedError: a file turned out to be damaged while it was read; names the file.
    """
    with ExitStack() as stack:
        streams = [
            _stream(run, stack, "logs", EVENT_COLUMNS, selection.events, selection),
            _stream(run, stack, "spans", SPAN_COLUMNS, selection.spans, selection),
        ]
        makers = (event_record, operator_record)
        made = [map(maker, rows) for maker, rows in zip(makers, streams, strict=True)]
        merged = heapq.merge(*made, key=lambda record: record.ts_ns, reverse=selection.newest)
        if selection.newest:
            newest = [record for _, record in zip(range(selection.limit or 0), merged, strict=False)]
            yield from reversed(newest)
            return
        for number, record in enumerate(merged):
            if selection.limit is not None and number >= selection.limit:
                return
            yield record


def statement(
    table: str, columns: tuple[str, ...], condition: Condition, selection: Selection
) -> tuple[str, list[Any]]:
    """The SQL that reads one view, and its parameters."""
    params = list(condition.params)
    where = condition.sql
    if selection.since_step is not None:
        where = f"({where}) AND step >= ?"
        params.append(selection.since_step)
    # What begins at once: the outer span first.
    forward, backward = ("DESC", "ASC") if selection.newest else ("ASC", "DESC")
    order = f"{columns[0]} {forward}" + (f", dur_ns {backward}" if "dur_ns" in columns else "")
    limit = "" if selection.limit is None else f" LIMIT {int(selection.limit)}"
    return f"SELECT {', '.join(columns)} FROM {table} WHERE {where} ORDER BY {order}{limit}", params


def _stream(
    run: Run, stack: ExitStack, table: str, columns: tuple[str, ...], condition: Condition, selection: Selection
) -> Iterator[tuple[Any, ...]]:
    """The rows, fetched as they are taken."""
    sql, params = statement(table, columns, condition, selection)
    cursor = stack.enter_context(closing(run.connection.cursor()))
    run.guarded(lambda: cursor.execute(sql, params))
    while rows := run.guarded(lambda: cursor.fetchmany(_FETCH_ROWS)):
        yield from rows
