"""The work of one accelerator as arrays, and what the host did meanwhile that can explain its idle time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deepseek_prof.analysis.gpu.intervals import Int64s, Intervals, union
from deepseek_prof.trace.run import Run

COMPUTE, COMMUNICATION, COPY = 0, 1, 2
"""Kinds of work: kernels; kernels of collectives; copies and memsets."""

_WORK_KINDS = "kind IN ('kernel', 'memcpy', 'memset')"
_SYNCHRONOUS = "('cudaMemcpy', 'cudaMemcpy2D', 'cudaFree', 'hipMemcpy', 'hipFree')"
"""Calls that wait for the device without saying so in their name."""


@dataclass(frozen=True)
class DeviceTimeline:
    """Everything that ran on one device between ``begin_ns`` and ``end_ns``, by start; arrays have one entry each."""

    rank: int
    device: str
    begin_ns: int
    end_ns: int
    start_ns: Int64s
    end_of_ns: Int64s
    stream: Int64s
    kind: npt.NDArray[np.int8]
    launched_ns: Int64s
    """When the launching call began; -1 where it was not seen."""
    syncs: Intervals
    """When a thread of the host waited for the device."""
    data_waits: Intervals
    """When the host waited for its data loader."""

    @property
    def extent_ns(self) -> int:
        """The length of the time looked at."""
        return self.end_ns - self.begin_ns

    def busy(self, *kinds: int) -> Intervals:
        """When work of these kinds (none given: of any) ran on any stream, within the time looked at."""
        chosen = np.isin(self.kind, kinds) if kinds else np.ones(len(self.kind), dtype=bool)
        return union(self.start_ns[chosen], self.end_of_ns[chosen]).within(self.begin_ns, self.end_ns)


def timelines(run: Run, where: str, params: Sequence[Any]) -> list[DeviceTimeline]:
    """A timeline for each device of each rank, from the first to the last of its work that ``where`` selects.

    All work of that time is in it, selected or not: a device that runs something else is not idle.

    Raises:
        RunDamagedError: a file of the run is damaged.
    """
    extents = run.rows(
        "SELECT rank, device, min(start_ns), max(start_ns + dur_ns) FROM spans "
        f"WHERE ({where}) AND device IS NOT NULL AND {_WORK_KINDS} GROUP BY 1, 2 ORDER BY 1, 2",
        params,
    )
    return [_timeline(run, *extent) for extent in extents]


def _timeline(run: Run, rank: int, device: str, begin_ns: int, end_ns: int) -> DeviceTimeline:
    during = [rank, end_ns, begin_ns]
    # Of two launches that the join cannot tell apart, work of one stream that starts at one moment, the earlier counts.
    work = _arrays(
        run,
        "WITH calls AS (SELECT device, stream, start_ns, min(launched_ns) AS launched_ns FROM raw_launches "
        "WHERE rank = ? AND start_ns <= ? AND start_ns + dur_ns >= ? AND device = ? GROUP BY ALL) "
        "SELECT s.start_ns, s.start_ns + s.dur_ns AS end_ns, coalesce(s.stream, 0)::BIGINT AS stream, "
        f"CASE WHEN s.kind <> 'kernel' THEN {COPY} WHEN s.type = 'collective' THEN {COMMUNICATION} ELSE {COMPUTE} END "
        "::BIGINT AS kind, coalesce(c.launched_ns, -1) AS launched_ns "
        "FROM spans s LEFT JOIN calls c USING (device, stream, start_ns) "
        f"WHERE s.rank = ? AND s.start_ns <= ? AND s.start_ns + s.dur_ns >= ? AND s.device = ? AND {_WORK_KINDS} "
        "ORDER BY s.start_ns, end_ns",
        [*during, device, *during, device],
    )
    return DeviceTimeline(
        rank,
        device,
        begin_ns,
        end_ns,
        work["start_ns"],
        work["end_ns"],
        work["stream"],
        work["kind"].astype(np.int8),
        work["launched_ns"],
        _host(run, f"(kind = 'sync' OR (kind = 'runtime' AND name IN {_SYNCHRONOUS}))", during),
        _host(run, "kind = 'data'", during),
    )


def _host(run: Run, which: str, during: list[Any]) -> Intervals:
    found = _arrays(
        run,
        "SELECT start_ns, start_ns + dur_ns AS end_ns FROM spans WHERE rank = ? AND start_ns <= ? "
        f"AND start_ns + dur_ns >= ? AND device IS NULL AND {which}",
        during,
    )
    return union(found["start_ns"], found["end_ns"])


def _arrays(run: Run, sql: str, params: Sequence[Any]) -> dict[str, Int64s]:
    found = run.guarded(lambda: run.connection.execute(sql, list(params)).fetchnumpy())
    return {name: np.asarray(values, dtype=np.int64) for name, values in found.items()}
