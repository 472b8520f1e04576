"""``deepseek-prof gpu``: what accelerators did, when they were idle, and why."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from deepseek_prof.cli.arguments import QUERY_HELP, RUN_HELP, RUN_QUERY_HELP, compiled, open_run, split_run_and_query
from deepseek_prof.errors import UsageError

if TYPE_CHECKING:
    from deepseek_prof.analysis.device_peaks import DevicePeaks
    from deepseek_prof.analysis.gpu.summary import GpuSummary


class GpuFormat(str, Enum):
    """Values of ``--format``."""

    text = "text"
    json = "json"


def gpu_command(
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[RUN] [QUERY]", help=RUN_QUERY_HELP)] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="Rows of each table; 0: all.")] = 8,
    output_format: Annotated[GpuFormat, typer.Option("--format", help="How to write it.")] = GpuFormat.text,
    measure_peaks: Annotated[
        bool, typer.Option("--measure-peaks", help="Measure this machine's device, and compare with that.")
    ] = False,
    run: Annotated[str | None, typer.Option("--run", metavar="RUN", help=RUN_HELP)] = None,
    query: Annotated[str | None, typer.Option("--query", metavar="QUERY", help=QUERY_HELP)] = None,
) -> None:
    """Show what accelerators did: busy, idle and why, launches, overlap, tensor cores, roofline, and their time by
    layer, operator, type and kernel.

    Warm-up steps are left out. With a query, the tables cover the work that it selects, and idle time is that of the
    device from the first to the last of it.
    """
    from deepseek_prof.analysis.gpu.summary import device_names, gpu_summary

    path, query_text = split_run_and_query(arguments or [], run, query)
    condition = compiled(query_text)
    with open_run(path) as opened:
        measured = _measured(device_names(opened)) if measure_peaks else None
        found = gpu_summary(opened, condition, measured)
        name = opened.name
    if found is None:
        raise UsageError(
            "The query selects no work of an accelerator."
            if query_text
            else f"The run {name} holds no work of an accelerator: it was recorded without one, or without its kernels."
        )
    if output_format is GpuFormat.json:
        _write_json(found)
        return
    from deepseek_prof.cli.gpu_sections import print_gpu
    from deepseek_prof.cli.rendering import OutputConsole

    print_gpu(OutputConsole(), found, name, query_text, limit)


def _write_json(found: GpuSummary) -> None:
    import json
    from dataclasses import asdict

    print(json.dumps(asdict(found), indent=1))


def _measured(names: Sequence[str]) -> DevicePeaks:
    """The peaks of this machine's first accelerator, in a process of its own: torch stays out of this one."""
    import json
    import subprocess
    import sys

    from deepseek_prof.analysis.device_peaks import DevicePeaks

    print("deepseek-prof: measuring the peaks of this machine's device", file=sys.stderr)
    done = subprocess.run(
        [sys.executable, "-m", "deepseek_prof.collectors.measured_peaks"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise UsageError(f"The peaks of this machine's device cannot be measured: {reason}")
    found = json.loads(done.stdout)
    if found["name"] not in names:
        raise UsageError(
            f"The run is of {', '.join(names) or 'a device without a name'}, this machine has {found['name']}: "
            "leave --measure-peaks out."
        )
    return DevicePeaks(found["name"], found["flops"], found["bandwidth"], "measured on this machine")
