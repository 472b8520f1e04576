"""Collapsed stacks: one line a stack, frames joined by ``;``, then a space and a whole number.

Source: https://github.com/brendangregg/FlameGraph#2-fold-stacks; inferno and speedscope read the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from deepseek_prof.exporters.registry import Selection
    from deepseek_prof.trace.run import Run


class CollapsedExporter:
    """The layers of a run by the time of the host, in nanoseconds; of accelerators where nothing else is selected."""

    summary = "collapsed stacks for flamegraph.pl and inferno"
    suffix = ".collapsed.txt"

    def write(self, run: Run, selection: Selection, file: BinaryIO) -> None:
        """Write the view ``layers``. The weights of all lines add up to the self time that ``top`` states.

        Raises:
            UsageError: nothing is selected.
            RunDamagedError: a file of the run is damaged.
        """
        from deepseek_prof.analysis.flame import profiles

        first = profiles(run, "layers", selection.condition)[0]
        for stack in first.stacks:
            line = f"{';'.join(escaped(frame.name) or '(no name)' for frame in stack.path)} {stack.weight}\n"
            file.write(line.encode("utf-8", "backslashreplace"))


def escaped(name: str) -> str:
    """A name without what ends a frame or a line: ``;`` becomes ``\\x3b``, a backslash ``\\x5c``, control characters
    theirs."""
    return "".join(
        f"\\x{ord(char):02x}" if char in "\\;" else char if char.isprintable() else repr(char)[1:-1] for char in name
    )
