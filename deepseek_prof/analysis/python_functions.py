"""Python functions by sampled time, as rows of ``top``."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from deepseek_prof.analysis.results import TopRow, TopTable
from deepseek_prof.analysis.stacks import StackSum, require_samples, stack_sums
from deepseek_prof.errors import UsageError
from deepseek_prof.trace.run import Condition, Run

BY_PYTHON = "python"
SORT = ("self", "total", "count")

_LINE = re.compile(r":\d+\)$")


@dataclass
class _Function:
    count: int = 0
    total_ns: int = 0
    self_ns: int = 0
    forward_ns: int = 0
    backward_ns: int = 0
    layers: Counter[str] = field(default_factory=Counter)


def python_functions(run: Run, condition: Condition | None, sort: str, limit: int | None) -> TopTable:
    """Functions with the time in which they ran (self) or stood in the stack (total).

    ``condition`` is one on the ``samples`` view. ``count`` are samples with the function in the stack, ``layer`` is the
    layer in which most of its total time passed; a thread that waits is sampled too.

    Raises:
        UsageError: ``run`` was recorded without Python stacks, or cannot be sorted so.
        RunDamagedError: a file of the run is damaged.
    """
    if sort not in SORT:
        raise UsageError(f"Python functions cannot be sorted by {sort!r}: choose one of {', '.join(SORT)}.")
    require_samples(run)
    functions: dict[str, _Function] = {}
    samples = all_ns = 0
    for each in stack_sums(run, condition):
        samples += each.count
        all_ns += each.ns
        _add(functions, each)
    rows = [
        TopRow(
            name,
            "",
            function.layers.most_common(1)[0][0] if function.layers else "",
            "",
            function.count,
            function.self_ns,
            function.total_ns,
            0,
            function.self_ns / (all_ns or 1),
            function.forward_ns,
            function.backward_ns,
        )
        for name, function in functions.items()
    ]
    figures = {"self": "self_ns", "total": "total_ns", "count": "count"}
    # Of equal ones the one with more below it first.
    rows.sort(key=lambda row: (-getattr(row, figures[sort]), -row.total_ns, row.name))
    return TopTable(BY_PYTHON, sort, tuple(rows[:limit] if limit else rows), len(rows), samples, all_ns, False, False)


def _add(functions: dict[str, _Function], each: StackSum) -> None:
    names = [_LINE.sub(")", frame) for frame in each.frames]
    for name in set(names):
        function = functions.setdefault(name, _Function())
        function.count += each.count
        function.total_ns += each.ns
        if each.layer:
            function.layers[each.layer] += each.ns
    leaf = functions[names[-1]]
    leaf.self_ns += each.ns
    if each.phase == "forward":
        leaf.forward_ns += each.ns
    elif each.phase == "backward":
        leaf.backward_ns += each.ns
