"""docs/make_pictures.py prints screens of a run as text."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from rich.cells import cell_len

from tests.support.recording import environment
from tests.tui.drawing import write_usual_run

SCRIPT = Path(__file__).parents[3] / "docs" / "make_pictures.py"


def test_screens_are_printed_as_text(tmp_path: Path) -> None:
    run = write_usual_run(tmp_path / "run")
    command = [sys.executable, str(SCRIPT), "--text", str(run)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    _, *screens = re.split(r"^== ", done.stdout, flags=re.MULTILINE)
    assert [each.splitlines()[0] for each in screens] == [
        "overview",
        "operators where type:matmul phase:backward",
        "flame",
    ]
    for each, text in zip(screens, ("Phases", "aten::mm", "all 100 %"), strict=True):
        lines = each.splitlines()[1:-1]
        assert len(lines) == 24
        assert max(map(cell_len, lines)) <= 80
        assert text in each
