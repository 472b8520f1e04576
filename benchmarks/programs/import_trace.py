"""Runs ``deepseek-prof`` with the arguments given and writes the process's own peak memory to the result file."""

from __future__ import annotations

import atexit
import json
import os
from pathlib import Path

from deepseek_prof.cli.app import main


def _write_peak() -> None:
    # VmHWM is reset by exec, unlike ru_maxrss.
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    peak_kib = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    Path(os.environ["BENCHMARK_RESULT"]).write_text(json.dumps({"peak_rss_bytes": peak_kib * 1024}), encoding="utf-8")


if __name__ == "__main__":
    atexit.register(_write_peak)
    main()
