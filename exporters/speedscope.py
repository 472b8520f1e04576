"""Flame graphs in speedscope's file format, several in one file.

Source: https://www.speedscope.app/file-format-schema.json; what the schema leaves open is told by
https://github.com/jlfwong/speedscope/wiki/Importing-from-custom-sources.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from deepseek_prof.analysis.flame import Profile
    from deepseek_prof.analysis.flame_paths import Frame
    from deepseek_prof.analysis.timeline import Timeline
    from deepseek_prof.exporters.registry import Selection
    from deepseek_prof.trace.run import Run

SUFFIX = ".speedscope.json"
_SCHEMA = "https://www.speedscope.app/file-format-schema.json"
_PYTHON_FRAME = re.compile(r"(?P<name>.*) \((?P<file>.*):(?P<line>\d{1,9})\)", re.DOTALL)


class SpeedscopeExporter:
    """All flame graphs that a run has anything for, the most telling one first."""

    summary = "flame graphs for https://www.speedscope.app"
    suffix = SUFFIX

    def write(self, run: Run, selection: Selection, file: BinaryIO) -> None:
        """Write the aggregated views; :func:`speedscope_file` says how.

        Raises:
            UsageError: nothing is selected.
            RunDamagedError: a file of the run is damaged.
        """
        file.write(speedscope_file(title(run, selection), selected_profiles(run, selection)))


def title(run: Run, selection: Selection) -> str:
    """What a viewer shows above the graphs."""
    return f"{run.name} · {selection.query}" if selection.query else run.name


def selected_profiles(run: Run, selection: Selection, view: str | None = None) -> tuple[Profile, ...]:
    """The flame graphs of one view, or without ``view`` of all that the selection has anything for.

    Raises:
        UsageError: there is nothing to show, or the query asks for something that samples of Python stacks do not have.
        RunDamagedError: a file of the run is damaged.
    """
    from deepseek_prof.analysis.flame import all_profiles, profiles
    from deepseek_prof.analysis.stacks import period_ns
    from deepseek_prof.errors import QueryError
    from deepseek_prof.query import Table, compile_query

    samples = None
    has_samples = period_ns(run) > 0
    if selection.query and has_samples and view in (None, "python"):
        try:
            samples = compile_query(selection.query, Table.SAMPLES)
        except QueryError:
            if view is not None:
                raise
            has_samples = False  # 'dur>1ms' says nothing of a sample: the other views still answer
    if view is not None:
        return profiles(run, view, selection.condition, samples)
    return all_profiles(run, selection.condition, samples, python=has_samples)


def speedscope_file(name: str, profiles: Sequence[Profile | Timeline]) -> bytes:
    """Flame graphs and timelines as one file; the first is what a viewer opens with.

    A frame's ``file`` is the operator type, or what the frame is (``layer``, ``phase``, …): viewers colour by it.
    Frames of Python have their own file and line.
    """
    from deepseek_prof import __version__
    from deepseek_prof.analysis.flame import Profile

    index: dict[Frame, int] = {}
    written = [
        _sampled(profile, index) if isinstance(profile, Profile) else _evented(profile, index) for profile in profiles
    ]
    whole = {
        "$schema": _SCHEMA,
        "name": name,
        "exporter": f"deepseek-prof@{__version__}",
        "activeProfileIndex": 0,
        "shared": {"frames": [_described(frame) for frame in index]},
        "profiles": written,
    }
    return json.dumps(whole, separators=(",", ":"), allow_nan=False).encode("ascii")


def _described(frame: Frame) -> dict[str, Any]:
    match = _PYTHON_FRAME.fullmatch(frame.name) if frame.kind == "python" else None
    if match is not None:
        return {"name": match["name"], "file": match["file"], "line": int(match["line"])}
    return {"name": frame.name, "file": frame.type or frame.kind}


def _sampled(profile: Profile, index: dict[Frame, int]) -> dict[str, Any]:
    samples = [[index.setdefault(frame, len(index)) for frame in stack.path] for stack in profile.stacks]
    return {
        "type": "sampled",
        "name": profile.name,
        "unit": profile.unit,
        "startValue": 0,
        "endValue": profile.total,
        "samples": samples,
        "weights": [stack.weight for stack in profile.stacks],
    }


def _evented(timeline: Timeline, index: dict[Frame, int]) -> dict[str, Any]:
    events = [
        {"type": "O" if event.opens else "C", "frame": index.setdefault(event.frame, len(index)), "at": event.at_ns}
        for event in timeline.events
    ]
    return {
        "type": "evented",
        "name": timeline.name,
        "unit": "nanoseconds",
        "startValue": 0,
        "endValue": timeline.end_ns,
        "events": events,
    }
