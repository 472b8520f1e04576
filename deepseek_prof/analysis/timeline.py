"""What ran when, thread by thread and stream by stream, for a few steps: spans as events that open and close."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

from deepseek_prof.analysis.aggregate import ContextNode, ContextTree, has_evicted
from deepseek_prof.analysis.flame_paths import Frame, frame_of
from deepseek_prof.analysis.steps import common_warmup, percentile, read_steps
from deepseek_prof.analysis.window import select
from deepseek_prof.errors import UsageError
from deepseek_prof.trace.run import Condition, Run

MAX_SPANS = 60_000
"""About 5 MB of events: more is slow to draw and too much to see."""
_ASKS_FOR_STEPS = re.compile(r"\bstep\b")
_ADVICE = "Narrow it with a query such as 'step:7', 'dur>10us', 'phase:forward' or 'rank:0'."


class Event(NamedTuple):
    """A span opens or closes."""

    opens: bool
    frame: Frame
    at_ns: int


@dataclass(frozen=True)
class Timeline:
    """One thread or one stream. Its events are ordered and balanced; times count from the earliest of all timelines."""

    name: str
    step: int | None
    """The step that was taken where the condition asks for none; None: it does, or the run has no steps."""
    began_ns: int
    """The moment that times count from, since the Unix epoch."""
    end_ns: int
    events: tuple[Event, ...]


class _Span(NamedTuple):
    rank: int
    pid: int
    device: str | None
    lane: int
    """The stream of a device, or the thread."""
    start_ns: int
    dur_ns: int
    depth: int
    frame: Frame

    @property
    def place(self) -> tuple[int, int, str, int]:
        """Process, device and lane, in an order of its own: the host first."""
        return self.rank, self.pid, self.device or "", self.lane


def timelines(run: Run, condition: Condition | None = None, *, step: int | None = None) -> tuple[Timeline, ...]:
    """The timelines of what ``condition`` selects, of every process its busiest thread first, then its streams.

    A condition that asks for no step is answered for ``step``; None: of the steady steps that whose length is the
    median. Without steps everything recorded is taken. On a thread what sticks out of the span around it is cut; on a
    stream a span ends where the next begins.

    Raises:
        UsageError: nothing is selected, or more than :data:`MAX_SPANS` spans.
        RunDamagedError: a file of the run is damaged.
    """
    if condition is not None and _ASKS_FOR_STEPS.search(condition.sql):
        step = None
    elif step is None:
        step = _median_step(run)
    spans = _read(run, condition, step)
    began_ns = min(span.start_ns for span in spans)
    ends_ns = max(span.start_ns + span.dur_ns for span in spans) - began_ns
    lanes = [list(lane) for _, lane in groupby(sorted(spans, key=_order), key=lambda span: span.place)]
    lanes.sort(key=lambda lane: (*lane[0].place[:2], lane[0].device is not None, -_busy_ns(lane)))
    several = len({lane[0].place[:2] for lane in lanes}) > 1
    prefix = "" if step is None else f"step {step} · "
    return tuple(
        Timeline(prefix + _name(lane[0], process=several), step, began_ns, ends_ns, tuple(_events(lane, began_ns)))
        for lane in lanes
    )


def _median_step(run: Run) -> int | None:
    """The number of a usual step: recorded in full, no warm-up, with the median length; None without steps."""
    steps = read_steps(run)
    if not steps:
        return None
    window = select(run, steps, common_warmup(steps), evicted=has_evicted(run))
    rows = run.rows(
        f"SELECT step, dur_ns FROM raw_spans WHERE ({window.where}) AND context_id IN "
        "(SELECT context_id FROM process_contexts WHERE kind = 'step') ORDER BY rank, pid, step",
        window.params,
    )
    median_ns = percentile(sorted(dur_ns for _, dur_ns in rows), 0.5)
    return next(int(step) for step, dur_ns in rows if dur_ns == median_ns)


def _read(run: Run, condition: Condition | None, step: int | None) -> list[_Span]:
    where, params = ("TRUE", ()) if condition is None else (condition.sql, condition.params)
    asked = f"({where}) AND kind <> 'step'" + ("" if step is None else f" AND step = {step}")
    ((count,),) = run.rows(f"SELECT count(*) FROM spans WHERE {asked}", params)
    if not count and condition is None and step is None:
        raise UsageError("Nothing to show: this run holds no spans.")
    subject = "The selection" if step is None else f"Step {step}"
    if not count:
        raise UsageError(f"{subject} holds no span that fits the query.")
    if count > MAX_SPANS:
        raise UsageError(f"{subject} holds {count:,} spans; a timeline shows at most {MAX_SPANS:,}. {_ADVICE}")
    rows = run.rows(
        "SELECT rank, pid, device, CASE WHEN device IS NULL THEN tid ELSE coalesce(stream, tid) END, start_ns, dur_ns, "
        f"context_id FROM spans WHERE {asked}",
        params,
    )
    return list(_spans(rows, ContextTree.of(run)))


def _spans(rows: Iterable[Sequence[Any]], tree: ContextTree) -> Iterator[_Span]:
    known: dict[tuple[int, int, int], tuple[int, Frame]] = {}
    for rank, pid, device, lane, start_ns, dur_ns, context_id in rows:
        key = (rank, pid, context_id)
        if key not in known:
            node = tree.node(*key) or ContextNode(context_id, None, "op", "(unknown)", "other", None, "other")
            known[key] = len(tree.ancestors(rank, pid, node)), frame_of(node)
        yield _Span(rank, pid, device, lane, start_ns, dur_ns, *known[key])


def _order(span: _Span) -> tuple[Any, ...]:
    """Lanes apart, and in them what surrounds before what it surrounds."""
    return (*span.place, span.start_ns, -span.dur_ns, span.depth)


def _busy_ns(lane: Sequence[_Span]) -> int:
    """Time that the lane's spans cover; they come in the order of their starts."""
    busy_ns = reached_ns = 0
    for span in lane:
        end_ns = span.start_ns + span.dur_ns
        busy_ns += max(0, end_ns - max(span.start_ns, reached_ns))
        reached_ns = max(reached_ns, end_ns)
    return busy_ns


def _name(span: _Span, *, process: bool) -> str:
    own = f"thread {span.lane}" if span.device is None else f"{span.device} stream {span.lane}"
    return f"rank {span.rank} pid {span.pid} {own}" if process else own


def _events(lane: Sequence[_Span], began_ns: int) -> Iterator[Event]:
    open_spans: list[tuple[Frame, int]] = []
    for span in lane:
        start_ns = span.start_ns - began_ns
        end_ns = start_ns + span.dur_ns
        while open_spans and open_spans[-1][1] <= start_ns:
            frame, at_ns = open_spans.pop()
            yield Event(False, frame, at_ns)
        if span.device is None and open_spans:
            end_ns = min(end_ns, open_spans[-1][1])
        while open_spans and open_spans[-1][1] < end_ns:
            yield Event(False, open_spans.pop()[0], start_ns)
        yield Event(True, span.frame, start_ns)
        open_spans.append((span.frame, end_ns))
    while open_spans:
        frame, at_ns = open_spans.pop()
        yield Event(False, frame, at_ns)
