"""Drives the TUI over a run, without a terminal, and writes how long a user would have waited, and its peak memory."""

from __future__ import annotations

import asyncio
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from benchmarks.session import RESULT_VARIABLE

SIZE = (160, 50)
TIMED_PANES = ("overview", "operators", "layers", "flame", "timeline")
QUERIES = (
    "type:matmul",
    "phase:backward",
    "layer:encoder.3,encoder.3.*",
    "type:norm,activation phase:forward",
    "-op:*copy*",
    "dur>50us",
    "type:matmul phase:backward dur>50us",
    "step:1000..2000",
    "layer:encoder.[0-5].* self>10us",
    "addmm",
)
JUMPS = 4
"""In the log, for each query that is asked."""


async def drive(path: Path, repeats: int, queries: Sequence[str]) -> dict[str, float]:
    """The figures of one session: each of the queries, so many times, in each pane."""
    from textual import on

    from deepseek_prof.tui.app import ProfilerApp
    from deepseek_prof.tui.filter_bar import FilterBar
    from deepseek_prof.tui.pane import Pane
    from deepseek_prof.tui.widgets.paged_table import PagedTable

    class Timed(ProfilerApp):
        """Tells when a pane has drawn a selection and the screen has been refreshed after it."""

        def __init__(self, run: Path) -> None:
            super().__init__(run)
            self.refreshed = asyncio.Event()

        @on(Pane.Drawn)
        def _told(self, event: Pane.Drawn) -> None:
            if event.selection is self.selection:
                self.screen.call_after_refresh(self.refreshed.set)

    app = Timed(path)
    async with app.run_test(size=SIZE) as pilot:
        await app.refreshed.wait()
        start_s = time.time() - psutil.Process().create_time()
        filters_s: list[float] = []
        typed_s: list[float] = []
        bar = app.query_one(FilterBar)
        for name in TIMED_PANES:
            app.open_pane(name)
            await pilot.pause()
            for query in (*queries,) * repeats:
                await settled(app)
                app.refreshed.clear()
                began = time.perf_counter()
                app.set_query(query)
                await app.refreshed.wait()
                filters_s.append(time.perf_counter() - began)
        app.set_query("")
        await pilot.pause()
        for query in queries:  # as they are typed, the wait for more letters included
            app.refreshed.clear()
            began = time.perf_counter()
            bar.input.value = query
            await app.refreshed.wait()
            typed_s.append(time.perf_counter() - began)
        app.refreshed.clear()
        app.set_query("")
        await app.refreshed.wait()
        pages_s, rows = await scroll(app, PagedTable, JUMPS * len(queries) * repeats)
    filters_s.sort()
    pages_s.sort()
    return {
        "start_s": start_s,
        "filter_median_s": statistics.median(filters_s),
        "filter_p95_s": filters_s[round(0.95 * (len(filters_s) - 1))],
        "typed_median_s": statistics.median(typed_s),
        "page_median_s": statistics.median(pages_s),
        "page_p95_s": pages_s[round(0.95 * (len(pages_s) - 1))],
        "rows": float(rows),
        "peak_rss_bytes": float(peak_rss_bytes()),
    }


async def settled(app) -> None:  # type: ignore[no-untyped-def]  # of textual, which is imported late
    """Nothing is being read any more, as when a user has looked at what came last."""
    while not all(worker.is_finished for worker in app.workers):
        await asyncio.sleep(0.005)


async def scroll(app, table_type, jumps: int) -> tuple[list[float], int]:  # type: ignore[no-untyped-def]  # of textual, which is imported late
    """Times from a jump to the moment when the row is there, and the number of rows."""
    app.refreshed.clear()
    pane = app.open_pane("logs")
    await app.refreshed.wait()
    table = pane.query_one(table_type)
    chosen = random.Random(7)
    times_s = []
    for _ in range(jumps):
        row = chosen.randrange(table.row_count)
        began = time.perf_counter()
        table.move_cursor(row)
        while table.row_at(row) is None:
            await asyncio.sleep(0.001)
        times_s.append(time.perf_counter() - began)
    return times_s, table.row_count


def peak_rss_bytes() -> int:
    """The peak resident size of this process; that of ``programs.measured`` would load torch into it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def main(path: Path, repeats: int, query_count: int) -> None:
    """Write the figures of the first ``query_count`` queries where the benchmark asks for them."""
    result = asyncio.run(drive(path, repeats, QUERIES[:query_count]))
    Path(os.environ[RESULT_VARIABLE]).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
