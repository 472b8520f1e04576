"""Follows a program that is being recorded in the TUI, without a terminal, and writes how old what it shows is."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.session import RESULT_VARIABLE, ROOT, deepseek_prof

SIZE = (160, 50)
SETTLE_S = 3.0
SAMPLE_S = 0.01
PANE = "operators"


def ages_s(draws: list[tuple[float, float]]) -> list[float]:
    """Age of what is shown at moments :data:`SAMPLE_S` apart, from (moment of drawing, moment of the newest span)."""
    return sorted(
        drawn_s + index * SAMPLE_S - newest_s
        for (drawn_s, newest_s), (next_s, _) in pairwise(draws)
        for index in range(int((next_s - drawn_s) / SAMPLE_S))
    )


async def follow(path: Path, seconds: float) -> list[tuple[float, float]]:
    """Every drawing of one pane: its moment, and that of the newest span then shown, in seconds since the epoch."""
    from textual import on

    from deepseek_prof.tui.app import ProfilerApp
    from deepseek_prof.tui.pane import Pane

    draws: list[tuple[float, float]] = []

    class Timed(ProfilerApp):
        """Notes what is drawn when."""

        @on(Pane.Drawn)
        async def _told(self, event: Pane.Drawn) -> None:
            if event.pane.name_of == PANE and event.selection is self.selection and self.session is not None:
                drawn_s = time.time()
                (newest_ns,) = self.session.run.rows("SELECT max(start_ns + dur_ns) FROM raw_spans")[0]
                draws.append((drawn_s, int(newest_ns or 0) / 1e9))

    app: Any = Timed(path)
    async with app.run_test(size=SIZE) as pilot:
        while app.open_pane(PANE) is None:  # the run is not open yet
            await pilot.pause(SAMPLE_S)
        await asyncio.sleep(SETTLE_S)
        draws.clear()
        await asyncio.sleep(seconds)
    return draws


def main(steps: int, seconds: float) -> None:
    """Record the tiny transformer, follow it, and end it."""
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder, "run")
        program = [
            sys.executable,
            "-m",
            "benchmarks.programs.tiny_transformer",
            "--warm-up",
            "1",
            "--steps",
            str(steps),
        ]
        command = [*deepseek_prof(), "run", "--quiet", "--output", str(run_dir), "--", *program]
        environment = {name: value for name, value in os.environ.items() if name != RESULT_VARIABLE}
        recording = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
        try:
            while not list(run_dir.glob("live/*/steps-*.seg")):
                time.sleep(0.05)
            found = ages_s(asyncio.run(follow(run_dir, seconds)))
        finally:
            recording.terminate()
            recording.wait()
    figures = {"median_s": statistics.median(found), "p95_s": found[int(0.95 * len(found))], "largest_s": found[-1]}
    Path(os.environ[RESULT_VARIABLE]).write_text(json.dumps(figures), encoding="utf-8")


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
