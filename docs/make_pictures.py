"""Records an example and writes its report into README.md and docs/report.svg: ``python docs/make_pictures.py``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from deepseek_prof.cli.report import render_report
from deepseek_prof.trace.run import Run

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = 100
BLOCK = re.compile(r"(<!-- report:begin.*?-->\n).*?(<!-- report:end -->)", re.DOTALL)


def main() -> None:
    """Run the example, render its report twice."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "char_transformer"
        command = [sys.executable, "-m", "deepseek_prof", "run", "--output", str(path), "examples/char_transformer.py"]
        subprocess.run(command, cwd=ROOT, check=True)
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


if __name__ == "__main__":
    main()
