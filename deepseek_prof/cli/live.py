"""``deepseek-prof run --live``: the program on a terminal of its own, and the run in ours while it goes on."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from deepseek_prof.errors import OutputError, UsageError

if TYPE_CHECKING:
    from deepseek_prof.config import RunSettings
    from deepseek_prof.interfaces import CounterCollector, ProcessSampler
    from deepseek_prof.narration import HeldNarrator
    from deepseek_prof.recording.command import Command
    from deepseek_prof.recording.live_program import LiveProgram
    from deepseek_prof.recording.metric_hub import MetricHub
    from deepseek_prof.recording.supervisor import RunOutcome

REPEATED_BYTES = 1 << 18
"""So much of the program's output is repeated on the terminal once the view is left."""
_NICENESS = 5
"""The program goes first where cores are scarce."""
_HEAD_LINES, _SCROLLBAR_COLUMNS = 6, 1


def require_terminal() -> None:
    """Raise UsageError where there is no terminal to show the run in."""
    streams = {"standard input": sys.stdin, "standard output": sys.stdout, "standard error": sys.stderr}
    for name, stream in streams.items():
        if stream is None or not stream.isatty():
            raise UsageError(
                f"--live needs a terminal, and {name} is none. Leave --live out, "
                "and look on from another terminal: deepseek-prof tui"
            )
    if os.environ.get("TERM", "dumb") == "dumb":
        raise UsageError("--live needs a terminal that can place text, and TERM says that this one cannot.")


def run_live(
    command: Command,
    run_dir: Path,
    settings: RunSettings,
    collectors: Sequence[CounterCollector],
    narrator: HeldNarrator,
    samplers: Sequence[ProcessSampler] = (),
    hub: MetricHub | None = None,
) -> RunOutcome:
    """Run the command to its end, recorded into ``run_dir`` and shown meanwhile; who leaves the view lets it run on.

    Raises:
        UsageError: the program cannot be started.
        OutputError: there is no terminal or no file for its output.
    """
    from deepseek_prof.recording.live_program import LiveProgram
    from deepseek_prof.recording.passthrough import pass_through
    from deepseek_prof.recording.program_terminal import OUTPUT_NAME, ProgramTerminal
    from deepseek_prof.recording.signals import SignalRelay, relayed_signals
    from deepseek_prof.recording.supervisor import start_command

    columns, lines = os.get_terminal_size(sys.stdout.fileno())
    try:
        terminal = ProgramTerminal(run_dir / OUTPUT_NAME, columns - _SCROLLBAR_COLUMNS, lines - _HEAD_LINES)
    except OSError as error:
        raise OutputError(f"the program cannot get a terminal: {error.strerror}. Leave --live out.") from error
    with relayed_signals(SignalRelay(own_terminal=True)) as relay:
        recording = start_command(command, run_dir, settings, collectors, narrator, terminal.spawn, samplers, hub)
        relay.started(recording.pid)
        program = LiveProgram(command.script, recording, terminal, relay, narrator)
        os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)  # of this thread, and of those that it starts
        narrator.holding = True
        _show(run_dir, program)
        pass_through(terminal, program.wait, _repeated_from(program.output))
    narrator.release()
    outcome = program.outcome()
    terminal.close()
    return outcome


def fully_repeated(run_dir: Path) -> bool:
    """Whether all of the program's output is on the terminal, so that the run holds nothing of it alone."""
    from deepseek_prof.recording.program_terminal import OUTPUT_NAME

    output = run_dir / OUTPUT_NAME
    return not output.exists() or output.stat().st_size <= REPEATED_BYTES


def _show(run_dir: Path, program: LiveProgram) -> None:
    from deepseek_prof.tui.app import ProfilerApp

    before = sys.__stderr__
    sys.__stderr__ = _Screen(2)  # type: ignore[misc]  # Textual draws on it
    try:
        ProfilerApp(run_dir, program=program).run()
    except OSError as error:
        program.narrator.warn(f"the view has ended: {error.strerror}")  # a terminal that is gone
    finally:
        sys.__stderr__ = before  # type: ignore[misc]


class _Screen(io.TextIOWrapper):
    """Standard error for drawing: drops what a terminal that is gone does not take, and the drawing thread lives on."""

    def __init__(self, fd: int) -> None:
        super().__init__(io.BufferedWriter(io.FileIO(fd, "w", closefd=False)), "utf-8", "replace", newline="")

    def write(self, text: str) -> int:
        """Write, or drop."""
        try:
            return super().write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        """Flush, or drop."""
        with suppress(OSError):
            super().flush()


def _repeated_from(output: Path) -> int:
    """The byte of the output from which it is repeated: the start of a line."""
    size = output.stat().st_size
    if size <= REPEATED_BYTES:
        return 0
    with output.open("rb") as file:
        file.seek(size - REPEATED_BYTES)
        file.readline(REPEATED_BYTES // 2)
        return file.tell()
