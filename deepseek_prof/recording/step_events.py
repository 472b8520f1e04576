"""``step_summary`` and ``slow_step``: events made in the recording process from where steps began and ended."""

from __future__ import annotations

from statistics import median

from deepseek_prof.recording.event_files import RecordingEvents
from deepseek_prof.recording.steps import StepBoundaries

SLOW_FACTOR = 2.0
"""A slow step takes more than this times the median of the steps before it."""
WINDOW = 50
MIN_STEPS = 10
"""Steps that must have gone before, so that the first ones, which warm up, are no measure."""
_SUMMARY_NS = 1_000_000_000


class StepEvents:
    """The step events of one process; call :meth:`refresh` as its steps grow."""

    def __init__(self, events: RecordingEvents, offset_ns: int, since_ns: int = 0) -> None:
        """``offset_ns`` leads to the Unix epoch; steps that ended by ``since_ns`` were told before."""
        self._events = events
        self._offset_ns = offset_ns
        self._since_ns = since_ns
        self._seen = 0
        self._first = 0
        self._summary_due_ns: int | None = None

    def refresh(self, boundaries: StepBoundaries, rank: int, *, ended: bool) -> None:
        """Tell what is new; with ``ended`` no more steps will come."""
        starts = boundaries.start_ns[self._seen :].tolist()
        durations = boundaries.dur_ns[self._seen :].tolist()
        for start_ns, dur_ns in zip(starts, durations, strict=True):
            self._one(boundaries, rank, start_ns + dur_ns + self._offset_ns, dur_ns)
        if ended and self._seen > self._first:
            self._summary(boundaries, rank)

    def _one(self, boundaries: StepBoundaries, rank: int, end_ns: int, dur_ns: int) -> None:
        step = self._seen
        self._seen += 1
        if end_ns <= self._since_ns:
            self._first = self._seen
            return
        if step >= MIN_STEPS:
            usual_ns = median(boundaries.dur_ns[max(1, step - WINDOW) : step].tolist())
            if dur_ns > SLOW_FACTOR * usual_ns > 0:
                self._events.emit(
                    "warning",
                    "slow_step",
                    {
                        "message": f"{dur_ns / usual_ns:.1f} times the median of the steps before",
                        "dur_ns": dur_ns,
                        "median_ns": round(usual_ns),
                    },
                    ts_ns=end_ns,
                    rank=rank,
                    step=step,
                )
        if self._summary_due_ns is None:
            self._summary_due_ns = end_ns + _SUMMARY_NS
        if end_ns >= self._summary_due_ns:
            self._summary(boundaries, rank)
            self._summary_due_ns = end_ns + _SUMMARY_NS

    def _summary(self, boundaries: StepBoundaries, rank: int) -> None:
        durations = boundaries.dur_ns[self._first : self._seen]
        last = self._seen - 1
        self._events.emit(
            "info",
            "step_summary",
            {"steps": len(durations), "mean_ns": round(float(durations.mean())), "max_ns": int(durations.max())},
            ts_ns=int(boundaries.start_ns[last] + boundaries.dur_ns[last]) + self._offset_ns,
            rank=rank,
            step=last,
        )
        self._first = self._seen
