"""Files about Python stacks in a process's folder under ``live/``; see docs/stacks.md. Standard library only."""

from __future__ import annotations

MARKS_NAME = "stack-marks.log"
"""From the process: one line a mark, ``start_ns end_ns number``, and ``ident tid`` of threads where py-spy needs it."""
REFUSED_NAME = "stack-refused"
"""From the parent: why py-spy does not sample this process. The process then samples itself."""
OWN_SAMPLES_NAME = "stack-samples.jsonl"
"""From the process: what it sampled itself."""
ENDED_THREADS_NAME = "stack-threads.log"
"""From the parent: one line ``tid last_seen_ns`` for each thread that has ended."""
MARK_FUNCTION = "_stack_mark"
WORK_FUNCTION = "_stack_work"
"""The frame at the root of the thread of ours in the process."""
MARK_NUMBERS = 8
"""Marks are numbered 1 to this, again and again; the number is how often :data:`MARK_FUNCTION` stands in the stack."""
MARK_PERIODS = 1
"""Length of a mark in sampling periods. One that was seen dates py-spy's clock to within this."""


def note_name(number: int) -> str:
    """From the parent: a JSON object about one py-spy, ``pid`` and ``start_ns`` (CLOCK_MONOTONIC before its start)."""
    return f"stacks-{number:05d}.note"
