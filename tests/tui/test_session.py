"""Questions to a run: stale ones are interrupted or never asked, and changed files are read again."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from deepseek_prof.errors import RunDamagedError
from deepseek_prof.trace.run import Run
from deepseek_prof.tui.data import RunSession
from tests.support.pilot import play
from tests.tui.drawing import write_usual_run

# Nobody waits for its end: the test's time limit would come first.
ENDLESS = "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range + b.range = -1"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_usual_run(tmp_path / "run")


def test_a_running_question_is_interrupted_when_nobody_waits_or_the_session_ends(path: Path) -> None:
    async def test() -> None:
        session = await asyncio.to_thread(RunSession, path)
        began = threading.Event()

        def endless(run: Run) -> object:
            began.set()
            return run.rows(ENDLESS)

        stale = asyncio.create_task(session.ask(endless))
        await asyncio.to_thread(began.wait)
        stale.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stale
        await asyncio.to_thread(session.close)

    play(test())


def test_a_question_that_waits_is_dropped_without_being_asked(path: Path) -> None:
    async def test() -> None:
        session = await asyncio.to_thread(RunSession, path)
        release, asked = threading.Event(), threading.Event()
        first = asyncio.create_task(session.ask(lambda run: release.wait()))
        second = asyncio.create_task(session.ask(lambda run: asked.set()))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        release.set()
        assert await first
        assert await session.ask(lambda run: run.rows("SELECT 1")) == [(1,)]
        assert not asked.is_set()
        session.close()

    play(test())


def test_files_that_did_not_change_are_not_read_again(path: Path) -> None:
    async def test() -> None:
        session = await asyncio.to_thread(RunSession, path)
        assert not await session.refresh()
        (path / "run.json").write_text((path / "run.json").read_text() + "\n")
        assert await session.refresh()
        assert (await session.ask(lambda run: run.rows("SELECT count(*) FROM spans")))[0][0] == 44
        session.close()

    play(test())


def test_a_file_that_goes_away_is_an_error_that_says_so(path: Path) -> None:
    async def test() -> None:
        session = await asyncio.to_thread(RunSession, path)
        for part in path.glob("spans/**/*.parquet"):
            part.unlink()
        with pytest.raises(RunDamagedError, match="lacks a file"):
            await session.ask(lambda run: run.rows("SELECT max(dur_ns) FROM spans"))
        session.close()

    play(test())
