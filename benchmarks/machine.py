"""The machine and the versions that figures were measured with: a figure without them says nothing."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "transformers", "duckdb", "pyarrow", "numpy", "rich", "typer")


def describe_machine(work_dir: Path) -> dict[str, Any]:
    """Return processor, CPUs that this process may use, memory, system, and the file system of ``work_dir``."""
    return {
        "processor": _processor(),
        "architecture": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
        "file_system": _file_system(work_dir),
        "load_average_at_start": os.getloadavg()[0],
    }


def describe_versions() -> dict[str, str]:
    """Return the versions of Python, of this project and of the packages that decide the figures."""
    import deepseek_prof

    versions = {"python": platform.python_version(), "deepseek-prof": deepseek_prof.__version__}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def machine_line(machine: Mapping[str, Any]) -> str:
    """Return the machine in one line for the table's caption."""
    memory_gib = machine["memory_bytes"] / 2**30
    return (
        f"{machine['processor']} ({machine['architecture']}), {machine['cpus']} CPUs, {memory_gib:.0f} GiB, "
        f"{machine['system']}, {machine['file_system']}"
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _file_system(work_dir: Path) -> str:
    """Return the type of the mount that holds ``work_dir`` (the longest mount point that is a parent of it)."""
    best = ("", "unknown")
    for line in Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines():
        _, mount_point, kind, *_ = line.split()
        if work_dir.resolve().is_relative_to(mount_point) and len(mount_point) > len(best[0]):
            best = (mount_point, kind)
    return best[1]
