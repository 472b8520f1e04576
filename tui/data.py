"""The run that the app shows: opened once, asked in threads of its own, and opened anew while it is being recorded.

Every question is a function of a :class:`Run`, given to :meth:`RunSession.ask`. Where the awaiting task is
cancelled, as Textual does to a worker that a newer one replaces, a question that waits is dropped and one that runs is
interrupted.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from deepseek_prof.analysis.totals import first_start_ns, keep_totals
from deepseek_prof.errors import RunDamagedError
from deepseek_prof.query import Table, compile_tree, parse
from deepseek_prof.trace.run import Condition, Run
from deepseek_prof.trace.run_file import RUN_FILE_NAME

if TYPE_CHECKING:
    from deepseek_prof.recording.live_program import LiveProgram
    from deepseek_prof.recording.live_run import LiveRunReader

T = TypeVar("T")
_RECORDED = ("spans", "contexts", "sums", "counters", "samples", "logs", "live")


@dataclass(frozen=True)
class Selection:
    """What every pane shows: a query that parses, and the conditions on spans, log records and samples; None: all."""

    query: str = ""
    condition: Condition | None = None
    events: Condition | None = None
    samples: Condition | None = None


class _Lane:
    """One thread that answers questions in turn, on a connection of its own."""

    def __init__(self, name: str, run: Run) -> None:
        self._run = run
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._running: object | None = None

    async def ask(self, question: Callable[[Run], T]) -> T:
        ticket = object()

        def work() -> T:
            with self._lock:
                self._running = ticket
            try:
                return question(self._run)
            finally:
                with self._lock:
                    self._running = None

        answer = self._thread.submit(work)
        try:
            return await asyncio.wrap_future(answer)
        except asyncio.CancelledError:
            with self._lock:
                if self._running is ticket:  # else it waits, and wrap_future has cancelled it, or it is over
                    self._run.connection.interrupt()
            raise

    def close(self) -> None:
        """Interrupt what runs, drop what waits, and end the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        while self._running is not None:  # an interrupt between two statements, or before the first, is lost
            self._run.connection.interrupt()
            time.sleep(0.01)
        self._thread.shutdown(wait=True)
        self._run.close()

    def retire(self) -> None:
        """Answer what was asked, and end the thread."""
        self._thread.shutdown(wait=True)
        self._run.close()


class RunSession:
    """An open run with two lanes: one for what the user waits for, one for what may come later."""

    def __init__(self, path: Path, program: LiveProgram | None = None) -> None:
        """Open the run at ``path``; blocks, so call it in a thread.

        What a killed recording left is converted first. ``program`` is the one that we record, if any.

        Raises:
            RunNotFoundError: there is no run.
            RunDamagedError: a file of it is damaged.
        """
        self.path = path
        self.program = program
        self._live: LiveRunReader | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self.notices: tuple[str, ...] = ()
        self._stamp: object = None
        self._origin_ns = 0
        self.refresh_cost_s = 0.0
        self._recover()
        self._open()

    @property
    def name(self) -> str:
        """The run's name, as its program or its user gave it: data, to be cleaned where it is shown."""
        return self.run.name

    @property
    def in_progress(self) -> bool:
        """Whether the run was still being recorded when it was last opened."""
        return self._recording

    def select(self, query: str) -> Selection:
        """The selection of a query.

        Raises:
            QueryError: it does not parse.
        """
        if not query.strip():
            return Selection()
        tree = parse(query)
        tables = (Table.SPANS, Table.LOGS, Table.SAMPLES)
        return Selection(query, *(compile_tree(tree, table, origin_ns=self._origin_ns) for table in tables))

    async def ask(self, question: Callable[[Run], T], *, later: bool = False) -> T:
        """The answer to a question, worked out in a thread; ``later`` puts it behind what the user waits for.

        Raises:
            RunDamagedError: a file turned out to be damaged.
        """
        try:
            return await (self._background if later else self._lane).ask(question)
        except RunDamagedError:
            if not self._recording:
                raise
        await self.refresh()  # a file was moved, or removed for its size, since the run was opened
        return await (self._background if later else self._lane).ask(question)

    async def refresh(self) -> bool:
        """Open the run anew where its files have changed; whether they had.

        While it is recorded they always have: a mapped file does not tell when it is written.
        """
        if not self._recording and self._stamp == await asyncio.to_thread(_stamp_of, self.path):
            return False
        lanes, run = (self._lane, self._background), self.run
        await asyncio.to_thread(self._open)
        retiring = asyncio.create_task(asyncio.to_thread(_retire, *lanes, run))
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retiring.discard)
        return True

    def close(self) -> None:
        """End the threads and release the files."""
        _close(self._lane, self._background, self.run)

    def _open(self) -> None:
        from deepseek_prof.recording.recover import is_recording

        began_s = time.monotonic()
        self._recording = is_recording(self.path) or (self.program is not None and not self.program.completed)
        # Before reading: what changes meanwhile is read again, as is all that is still recorded.
        stamp = None if self._recording else _stamp_of(self.path)
        run = self._open_live() if self._recording else Run.open(self.path)
        try:
            if not run.has_totals:
                keep_totals(run)
            first = first_start_ns(run)
        except BaseException:
            run.close()
            raise
        created = run.info.get("created_ns")
        self._origin_ns = int(first if first is not None else created if isinstance(created, int) else 0)
        self._lane, self._background = _Lane("queries", run.cursor()), _Lane("background", run.cursor())
        self.run = run
        self._stamp = stamp
        self.refresh_cost_s = time.monotonic() - began_s

    def _open_live(self) -> Run:
        from deepseek_prof.recording.live_run import LiveRunReader  # with numpy and pyarrow: not for a run that is over

        if self._live is None:
            self._live = LiveRunReader(self.path)
        return self._live.open()

    def _recover(self) -> None:
        from deepseek_prof.errors import OutputError
        from deepseek_prof.recording.recover import needs_recovery, recover

        if self.program is not None or not needs_recovery(self.path):
            return
        try:
            recover(self.path)
            self.notices = ("The recording was cut off; what it left has been converted.",)
        except OutputError as error:
            self.notices = (f"{error} Showing what is converted so far.",)


def _close(*parts: _Lane | Run) -> None:
    for part in parts:
        part.close()


def _retire(lane: _Lane, background: _Lane, run: Run) -> None:
    lane.retire()
    background.retire()
    run.close()


def _stamp_of(path: Path) -> tuple[Any, ...]:
    """What changes when the recording writes: names, sizes and times of the run's files."""
    found = []
    for file in (path / RUN_FILE_NAME, *(each for name in _RECORDED for each in sorted((path / name).rglob("*")))):
        try:
            state = file.stat()
        except OSError:
            continue  # converted away between the listing and now: the next look sees it
        found.append((str(file), state.st_size, state.st_mtime_ns))
    return tuple(found)
