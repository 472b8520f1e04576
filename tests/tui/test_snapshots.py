"""What the panes look like, as SVG. ``UPDATE_SNAPSHOTS=1 pytest tests/tui/test_snapshots.py`` writes them anew.

A picture depends on the run, the window and the theme alone: nothing in it tells the time of day but the records of the
log, which are shown in UTC here.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from deepseek_prof.tui.app import ProfilerApp
from deepseek_prof.tui.palette import DARK, LIGHT
from deepseek_prof.tui.panes.operators import Operators
from tests.support.pilot import open_pane, play, until
from tests.support.synthetic import write_synthetic_run

FOLDER = Path(__file__).parent / "snapshots"
SIZES = {"small": (80, 24), "large": (160, 50)}
PANES = {"overview": "", "operators": "type:matmul", "layers": "", "flame": "", "logs": ""}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_run(tmp_path_factory.mktemp("runs") / "transformer", steps=40, layers=4).path


@pytest.fixture(autouse=True)
def _in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


_RECT = re.compile(r'<rect fill="([^"]+)" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)" [^>]*/>')


def picture(app: ProfilerApp) -> str:
    """The screen as SVG, without the number that Rich makes of its content to keep several on one page apart.

    Backgrounds of one colour are one: how blanks are cut into segments depends on what was drawn before.
    """
    svg = re.sub(r"terminal-\d+", "terminal", app.export_screenshot(title="", simplify=True))
    return re.sub(rf"(?:{_RECT.pattern})+", lambda run: "".join(_joined(run[0])), svg)


def _joined(run: str) -> list[str]:
    found: list[tuple[str, float, str, float, str]] = []
    for fill, x, y, width, height in _RECT.findall(run):
        if found and found[-1][::2] == (fill, y, height) and abs(found[-1][1] + found[-1][3] - float(x)) < 0.2:
            start, before = found[-1][1], found[-1][3]
            found[-1] = (fill, start, y, round(before + float(width), 1), height)
        else:
            found.append((fill, float(x), y, float(width), height))
    return [f'<rect fill="{f}" x="{x}" y="{y}" width="{w}" height="{h}"/>\n' for f, x, y, w, h in found]


@pytest.mark.parametrize("theme", [DARK, LIGHT])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", PANES)
def test_the_pane_looks_as_before(path: Path, name: str, size: str, theme: str) -> None:
    file = FOLDER / f"{name}-{size}-{theme.removeprefix('deepseek-')}.svg"

    async def test() -> None:
        async with open_pane(path, name, query=PANES[name], size=SIZES[size]) as (pilot, pane):
            app = pilot.app
            assert isinstance(app, ProfilerApp)
            app.theme = theme
            await until(pilot, lambda: app.pane is not None and app.pane.drawn is app.selection)
            if isinstance(pane, Operators):  # percentiles are asked for a moment after the rest
                await until(pilot, lambda: bool(pane.spreads))
            # Nothing is being read any more: findings, percentiles, the count and the facets are there.
            await until(pilot, lambda: all(worker.is_finished for worker in app.workers))
            await pilot.wait_for_scheduled_animations()
            found = picture(app)
        if os.environ.get("UPDATE_SNAPSHOTS"):
            FOLDER.mkdir(exist_ok=True)
            file.write_text(found, encoding="utf-8")
        assert file.exists(), f"{file.name} is not there: UPDATE_SNAPSHOTS=1 writes it"
        if found != file.read_text(encoding="utf-8"):
            seen = file.with_suffix(".new.svg")
            seen.write_text(found, encoding="utf-8")
            pytest.fail(f"{name} looks different: compare {seen} with {file}; UPDATE_SNAPSHOTS=1 takes it over")

    play(test())
