"""The tracks of a timeline: a run's processes, their threads, and the streams of their devices, numbered for viewers.

Viewers want process numbers that are unique in a file and, like thread numbers, above 0 and within 32 bits. A run has
others: one process number on two hosts, threads whose numbers an import invented, steps on thread 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepseek_prof.trace.run import Run

_FIRST_INVENTED = 1 << 24
"""Above every process and thread number of Linux."""
_STEPS_TID = 0

TRACKS_SQL = """
CREATE OR REPLACE TEMP TABLE exported_tracks AS
    SELECT row_number() OVER (ORDER BY device <> '', rank, pid, device, stream, tid) - 1 AS track, *
    FROM (SELECT DISTINCT rank, pid, tid, coalesce(device, '') AS device, coalesce(stream, -1) AS stream FROM raw_spans)
"""
"""Numbers the tracks; neither a device is named ``''`` nor a stream numbered -1."""


@dataclass(frozen=True)
class Track:
    """A thread or a stream of a device: ``rank`` to ``stream`` as in its spans, the rest for viewers."""

    rank: int
    pid: int
    tid: int
    device: str | None
    stream: int | None
    shown_pid: int
    shown_tid: int
    process_name: str
    name: str

    @property
    def place(self) -> int:
        """Where it stands among the tracks of its process, from the top: the steps, the main thread, the others."""
        return 2 if self.device or self.tid not in (_STEPS_TID, self.pid) else int(self.tid == self.pid)


class _Numbers:
    """Hands out numbers that are unique and good for viewers: the wanted ones where they are."""

    def __init__(self) -> None:
        self._used: set[int] = set()
        self._invented = count(_FIRST_INVENTED)

    def take(self, wanted: int) -> int:
        number = wanted if 0 < wanted < _FIRST_INVENTED and wanted not in self._used else next(self._invented)
        self._used.add(number)
        return number


def tracks_of(run: Run) -> tuple[Track, ...]:
    """The tracks of ``exported_tracks``, in the order of their numbers: the host's before those of devices."""
    processes = {(each.get("rank") or 0, each.get("pid")): each for each in run.processes}
    several_ranks = len({rank for rank, _ in processes}) > 1
    pids = _Numbers()
    shown_pids: dict[tuple[int, int, str], int] = {}
    tids: defaultdict[int, _Numbers] = defaultdict(_Numbers)
    found = []
    for rank, pid, tid, device, stream in run.rows(
        "SELECT rank, pid, tid, device, stream FROM exported_tracks ORDER BY track"
    ):
        place = (rank, pid, device)
        if place not in shown_pids:
            shown_pids[place] = pids.take(0 if device else pid)
        process = processes.get((rank, pid), {})
        rank_name = f"rank {rank} " if several_ranks else ""
        program = str(run.info.get("script") or run.name)
        found.append(
            Track(
                rank,
                pid,
                tid,
                device or None,
                None if stream == -1 else stream,
                shown_pids[place],
                tids[shown_pids[place]].take(tid if stream == -1 else stream),
                utf8(f"{rank_name}{device} of {pid}" if device else f"{rank_name}{program}"),
                utf8(f"stream {tid if stream == -1 else stream}" if device else _thread_name(process, pid, tid)),
            )
        )
    return tuple(found)


def utf8(text: str) -> str:
    """``text`` with what UTF-8 cannot hold made visible: file names of a program may be any bytes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _thread_name(process: Mapping[str, Any], pid: int, tid: int) -> str:
    if tid == _STEPS_TID:
        return "steps"
    names = process.get("threads")
    name = names.get(str(tid)) if isinstance(names, dict) else None
    return name if isinstance(name, str) else "main thread" if tid == pid else f"thread {tid}"
