"""Records an example and draws it: ``python docs/make_pictures.py``.

Writes the report into README.md, and ``docs/report.svg``, ``docs/tui.svg`` and ``docs/flame.svg``: what the commands
``report`` and ``tui`` show of that run in a terminal.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from deepseek_prof.cli.report import render_report
from deepseek_prof.trace.run import Run
from deepseek_prof.tui.app import ProfilerApp

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = 100
TERMINAL = (120, 36)
BLOCK = re.compile(r"(<!-- report:begin.*?-->\n).*?(<!-- report:end -->)", re.DOTALL)


def main() -> None:
    """Run the example and draw it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "char_transformer"
        command = [sys.executable, "-m", "deepseek_prof", "run", "--output", str(path), "examples/char_transformer.py"]
        subprocess.run(command, cwd=ROOT, check=True)
        write_report(path)
        for pane, query in (("operators", "phase:backward"), ("flame", "")):
            picture = asyncio.run(screenshot(path, pane, query))
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


async def screenshot(path: Path, pane_name: str, query: str) -> str:
    """One pane of the TUI over the run, as SVG."""
    app = ProfilerApp(path, query)
    async with app.run_test(size=TERMINAL) as pilot:
        while app.pane is None:
            await pilot.pause(0.05)
        pane = app.open_pane(pane_name)
        while pane is None or pane.drawn is not app.selection:
            await pilot.pause(0.05)
        await pilot.pause(0.5)
        return app.export_screenshot(title=f"deepseek-prof tui {query}".strip())


if __name__ == "__main__":
    main()
