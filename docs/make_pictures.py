"""Records an example and draws it: ``python docs/make_pictures.py``.

Writes the report into README.md, and ``docs/report.svg``, ``docs/tui.svg`` and ``docs/flame.svg``: what the commands
``report`` and ``tui`` show of that run in a terminal. ``python docs/make_pictures.py --text [RUN]`` writes nothing: it
prints screens of the TUI over that run, or over the example, as text of 80 columns and 24 lines.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console

from deepseek_prof.cli.report import render_report
from deepseek_prof.trace.run import Run
from deepseek_prof.tui.app import ProfilerApp

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = 100
TERMINAL = (120, 36)
SMALL_TERMINAL = (80, 24)
SCREENS = (("overview", ""), ("operators", "type:matmul phase:backward"), ("flame", ""))
"""Panes and queries that are printed as text."""
BLOCK = re.compile(r"(<!-- report:begin.*?-->\n).*?(<!-- report:end -->)", re.DOTALL)


def main() -> None:
    """Run the example, unless a run is given, and draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", action="store_true", help="print screens of the TUI; write nothing")
    parser.add_argument("run", nargs="?", type=Path, metavar="RUN", help="with --text: a run to show")
    asked = parser.parse_args()
    if asked.run is not None:
        if not asked.text:
            parser.error("a run can be given with --text only: the pictures are those of the example")
        print_screens(asked.run)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "char_transformer"
        command = [sys.executable, "-m", "deepseek_prof", "run", "--output", str(path), "examples/char_transformer.py"]
        subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
        if asked.text:
            print_screens(path)
        else:
            write_pictures(path)


def print_screens(path: Path) -> None:
    """Overview, Operators with a filter, and Flame, as text."""
    for pane, query in SCREENS:
        lines = asyncio.run(drawn(path, pane, query, SMALL_TERMINAL, text_of))
        print(f"== {pane}{f' where {query}' if query else ''}\n{lines}\n")


def write_pictures(path: Path) -> None:
    """The report and two panes, into README.md and ``docs/``."""
    write_report(path)
    for pane, query in (("operators", "phase:backward"), ("flame", "")):
        export = partial(ProfilerApp.export_screenshot, title=f"deepseek-prof tui {query}".strip())
        picture = asyncio.run(drawn(path, pane, query, TERMINAL, export))
        name = "tui" if pane == "operators" else pane
        (ROOT / "docs" / f"{name}.svg").write_text(picture, encoding="utf-8")


def write_report(path: Path) -> None:
    """The report as text into README.md, as a picture into ``docs/``."""
    with Run.open(path) as run, Path(os.devnull).open("w") as nowhere:
        console = Console(width=COLUMNS, record=True, file=nowhere, highlight=False, force_terminal=True)
        render_report(run, console)
    text = console.export_text(clear=False)
    (ROOT / "docs" / "report.svg").write_text(console.export_svg(title="deepseek-prof report"), encoding="utf-8")
    lines = "\n".join(line.rstrip() for line in text.splitlines()).strip("\n")
    readme = ROOT / "README.md"
    block = f"```\n{lines}\n```\n"
    text = readme.read_text(encoding="utf-8")
    readme.write_text(BLOCK.sub(lambda found: found[1] + block + found[2], text), encoding="utf-8")


async def drawn(
    path: Path, pane_name: str, query: str, size: tuple[int, int], picture: Callable[[ProfilerApp], str]
) -> str:
    """What ``picture`` makes of the app once one pane has drawn the query and nothing is being read any more."""
    app = ProfilerApp(path, query)
    async with app.run_test(size=size) as pilot:
        while app.pane is None:
            await pilot.pause(0.05)
        pane = app.open_pane(pane_name)
        while pane is None or pane.drawn is not app.selection:
            await pilot.pause(0.05)
        await pilot.pause(0.5)  # percentiles are asked for a moment after the rest
        while not all(worker.is_finished for worker in app.workers):
            await pilot.pause(0.05)
        return picture(app)


def text_of(app: ProfilerApp) -> str:
    """The screen's characters, without trailing blanks."""
    width, height = app.size
    strips = app.screen._compositor.render_strips()  # as the app itself writes them to a terminal
    return "\n".join(strip.crop(0, width).text.rstrip() for strip in strips[:height])


if __name__ == "__main__":
    main()
