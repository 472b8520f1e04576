"""The devices that ``doctor`` tells of: asked in the program's own Python, and of the drivers from here."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from typing import Any

from deepseek_prof.errors import RecorderError
from deepseek_prof.text import clean, size

# Run in the interpreter to be profiled: our package is found where it is, whether that interpreter has it or not.
_ASK = """
import importlib.machinery, importlib.util, json, sys
spec = importlib.machinery.PathFinder.find_spec("deepseek_prof", [sys.argv[1]])
package = importlib.util.module_from_spec(spec)
sys.modules["deepseek_prof"] = package
spec.loader.exec_module(package)
from deepseek_prof.collectors.devices import devices
print(json.dumps([each.describe() for each in devices()]))
"""
_TIMEOUT_S = 120


def found_devices(python: str) -> list[dict[str, Any]]:
    """What ``collectors.devices`` describes in the interpreter ``python``, with the metrics that drivers tell.

    Raises:
        RecorderError: torch cannot be imported there.
    """
    from deepseek_prof.recording.supervisor import PACKAGE_PARENT

    env = {key: value for key, value in os.environ.items() if not key.startswith("DEEPSEEK_PROF_")}
    try:
        done = subprocess.run(
            [python, "-c", _ASK, str(PACKAGE_PARENT)],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=True,
            env=env,
        )
        found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    except subprocess.CalledProcessError as error:
        raise RecorderError(f"{python} cannot use torch: {(error.stderr.splitlines() or ['no reason'])[-1]}") from error
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise RecorderError(f"cannot run {python} to look for devices: {error}") from error
    told = _told_by_drivers()
    for each in found:
        name = "host" if each["device"] == "cpu" else each["device"]
        each["metrics"] = sorted({*each["metrics"], *told.get(name, ())})
    return found


def _told_by_drivers() -> Mapping[str, set[str]]:
    """Names of counters by device, as the collectors of a run would sample them here."""
    from deepseek_prof.collectors import counter_collectors

    told: dict[str, set[str]] = {}
    for collector in counter_collectors():
        for _ in range(2):  # rates come with the second sample
            for sample in collector.sample(os.getpid(), {}):
                told.setdefault(sample.device, set()).add(sample.name)
    return told


def device_line(found: Mapping[str, Any]) -> str:
    """One device in words; what it does not tell is left out."""
    parts = [clean(str(found["name"]), 80)] if found["name"] else []
    memory, peaks = found["memory"], found["peaks"]
    if "total" in memory:
        parts.append(f"{size(memory['total'])} of memory")
    parts.append(f"records {', '.join(found['activities'])}")
    if found["metrics"]:
        parts.append(f"metrics ({found['measured_by']}): {', '.join(found['metrics'])}")
    if peaks is not None:
        flops = ", ".join(f"{value / 1e12:,.0f} TFLOP/s {precision}" for precision, value in peaks["flops"].items())
        parts.append(f"peaks {flops}, {peaks['bandwidth'] / 1e9:,.0f} GB/s")
    return "; ".join(parts)
