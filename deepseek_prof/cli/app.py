"""The ``deepseek-prof`` command: its sub-commands, and the one place where errors become messages and exit statuses."""

from __future__ import annotations

import errno
import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import typer

from deepseek_prof.cli.diff import diff_command
from deepseek_prof.cli.doctor import doctor_command
from deepseek_prof.cli.export import ExportCommand, export_command
from deepseek_prof.cli.flame import flame_command
from deepseek_prof.cli.gpu import gpu_command
from deepseek_prof.cli.import_trace import import_command
from deepseek_prof.cli.logs import logs_command
from deepseek_prof.cli.memory import memory_command
from deepseek_prof.cli.optimize import optimize_command
from deepseek_prof.cli.parsing import ProgramCommand, QueryCommand
from deepseek_prof.cli.recover import recover_command
from deepseek_prof.cli.report import report_command
from deepseek_prof.cli.run import run_command
from deepseek_prof.cli.runs import runs_command
from deepseek_prof.cli.sql import sql_command
from deepseek_prof.cli.top import top_command
from deepseek_prof.cli.tui import tui_command
from deepseek_prof.errors import DeepseekProfError, OutputError
from deepseek_prof.narration import printable

INTERRUPTED = 130
_HELP = """Record every operator of a PyTorch program, by layer, phase and step, and say where the time goes.

Start with: deepseek-prof run train.py
"""
# The program's own options follow the script and are not ours to read.
_PASS_THROUGH = {"allow_extra_args": True, "allow_interspersed_args": False, "ignore_unknown_options": False}


def build_app() -> typer.Typer:
    """All commands. Plain help, because rich's costs half of the time that ``--help`` may take."""
    app = typer.Typer(
        help=_HELP,
        no_args_is_help=True,
        rich_markup_mode=None,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    app.command("run", cls=ProgramCommand, context_settings=_PASS_THROUGH)(_guarded(run_command))
    app.command("report", cls=QueryCommand)(_guarded(report_command))
    app.command("top", cls=QueryCommand)(_guarded(top_command))
    app.command("gpu", cls=QueryCommand)(_guarded(gpu_command))
    app.command("memory", cls=QueryCommand)(_guarded(memory_command))
    app.command("logs")(_guarded(logs_command))
    app.command("diff", cls=QueryCommand)(_guarded(diff_command))
    app.command("flame", cls=QueryCommand)(_guarded(flame_command))
    app.command("tui", cls=QueryCommand)(_guarded(tui_command))
    app.command("sql")(_guarded(sql_command))
    app.command("export", cls=ExportCommand)(_guarded(export_command))
    app.command("runs")(_guarded(runs_command))
    app.command("optimize", cls=ProgramCommand, context_settings=_PASS_THROUGH)(_guarded(optimize_command))
    app.command("import")(_guarded(import_command))
    app.command("recover")(_guarded(recover_command))
    app.command("doctor")(_guarded(doctor_command))
    return app


def main() -> None:
    """Run the command line and exit with its status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # Names from programs may hold what the terminal's encoding or UTF-8 itself cannot.
            stream.reconfigure(errors="backslashreplace")
    build_app()(prog_name="deepseek-prof")


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError
        from importlib.metadata import version as installed_version

        try:
            print(f"deepseek-prof {installed_version('deepseek-prof')}")
        except PackageNotFoundError:
            print("deepseek-prof (not installed)")
        raise typer.Exit


def _options(
    version: bool = typer.Option(
        False, "--version", is_eager=True, callback=_show_version, help="Show the version and exit."
    ),
) -> None:
    """Options of the command itself: each does its work in its callback, before a sub-command is looked for."""


def _guarded(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` with our errors and a full disk as one message on stderr, and a closed pipe as a quiet end."""

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
            if sys.stdout is not None:  # None: the command was started with standard output closed
                sys.stdout.flush()
        except DeepseekProfError as error:
            print(f"deepseek-prof: {printable(str(error))}", file=sys.stderr)
            raise typer.Exit(error.exit_status) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(INTERRUPTED) from error
        except BrokenPipeError as error:
            # Whoever read has read enough.
            _discard_output()
            raise typer.Exit(0) from error
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            _discard_output()
            incomplete = OutputError(f"the output is not complete: {error.strerror}. Make room and try again.")
            print(f"deepseek-prof: {incomplete}", file=sys.stderr)
            raise typer.Exit(incomplete.exit_status) from error

    return guarded


def _discard_output() -> None:
    """What was not written yet goes nowhere: the interpreter would try once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
