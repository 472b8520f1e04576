"""Runs every case of a program in a forked process of its own, so that cases do not see each other's modules.

A case is a function ``case_*`` without parameters; the dict that it returns (JSON) is its facts. The program's first
argument names the file that takes ``{case: {"pid": int, "status": int, "facts": dict}}``; further ones choose cases.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def _run(function: Callable[[], dict[str, Any] | None], path: Path) -> int:
    """Exit status of the case: 0, or 1 with the traceback on stderr."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    try:
        facts = function() or {}
    except Exception:  # noqa: BLE001  # whatever a case raises is told to its test
        traceback.print_exc()
        return 1
    path.write_text(json.dumps(facts))
    return 0


def main(namespace: dict[str, Any]) -> None:
    """Run the cases of ``namespace`` one after the other."""
    output, chosen = Path(sys.argv[1]), sys.argv[2:]
    results = {}
    for name, function in list(namespace.items()):
        case = name.removeprefix("case_")
        if case == name or (chosen and case not in chosen):
            continue
        facts = output.with_name(f"{case}.json")
        pid = os.fork()
        if pid == 0:
            # A normal end of the interpreter: what runs at exit must run.
            sys.exit(_run(function, facts))
        _, status = os.waitpid(pid, 0)
        results[case] = {
            "pid": pid,
            "status": os.waitstatus_to_exitcode(status),
            "facts": json.loads(facts.read_text()) if facts.exists() else {},
        }
    output.write_text(json.dumps(results))
