"""What a run was: program, machine, versions, extent. Neither host names nor folders, because reports are passed on."""

from __future__ import annotations

import shlex
from datetime import datetime, timezone
from typing import Any

from deepseek_prof.analysis.report_text import ending, torch_version
from deepseek_prof.analysis.results import Summary
from deepseek_prof.text import clean, count, duration, size
from deepseek_prof.trace.run import Run

_COMMAND_LIMIT = 400


def run_facts(run: Run, summary: Summary) -> tuple[tuple[str, str], ...]:
    """Labels and texts; those of which ``run.json`` says nothing are left out."""
    created_ns, ended_ns = (_positive(run.info.get(key)) for key in ("created_ns", "ended_ns"))
    found = (
        ("Command", clean(shlex.join(str(word) for word in run.listed("command")), _COMMAND_LIMIT)),
        ("Status", ", ".join(ending(run))),
        ("Recorded", _moment(created_ns)),
        ("Duration", duration(ended_ns - created_ns) if created_ns and ended_ns > created_ns else ""),
        ("Machine", _machine(run)),
        ("Accelerators", ", ".join(dict.fromkeys(clean(device.device, 60) for device in summary.devices))),
        ("Versions", _versions(run)),
        ("Processes", _processes(run, summary)),
        ("Recording", _recording(run)),
    )
    return tuple((label, text) for label, text in found if text)


def _moment(epoch_ns: int) -> str:
    """In UTC: the reader's machine may be anywhere."""
    if not epoch_ns:
        return ""
    return datetime.fromtimestamp(epoch_ns / 1e9, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def _machine(run: Run) -> str:
    host = _mapping(run.info.get("host"))
    cpus, memory_bytes = _positive(host.get("cpu_count")), _positive(host.get("memory_bytes"))
    parts = (
        clean(str(host.get("platform") or ""), 80),
        f"{cpus} CPU{'s' if cpus != 1 else ''}" if cpus else "",
        f"{size(memory_bytes)} of memory" if memory_bytes else "",
    )
    return ", ".join(part for part in parts if part)


def _versions(run: Run) -> str:
    torch, python = torch_version(run), clean(str(run.info.get("python") or ""), 30)
    ours = clean(str(_mapping(run.info.get("packages")).get("deepseek_prof") or ""), 30)
    named = (("torch", torch), ("Python", python), ("deepseek-prof", ours))
    return ", ".join(f"{name} {version}" for name, version in named if version)


def _processes(run: Run, summary: Summary) -> str:
    processes = len(run.processes)
    if processes < 2:
        return ""
    return f"{processes}" + (f", {summary.ranks} ranks" if summary.ranks > 1 else "")


def _recording(run: Run) -> str:
    settings = _mapping(run.info.get("settings"))
    spans = _mapping(run.info.get("spans"))
    number, size_bytes = _positive(spans.get("count")), _positive(spans.get("size_bytes"))
    parts = (
        f"level {clean(str(settings['record']), 20)}" if settings.get("record") else "",
        f"{count(number)} spans" if number else "",
        size(size_bytes) if size_bytes else "",
    )
    return ", ".join(part for part in parts if part)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _positive(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
