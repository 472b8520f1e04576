"""``deepseek-prof run``: run a program as it is and record it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from deepseek_prof.narration import Narrator
    from deepseek_prof.recording.command import Command
    from deepseek_prof.recording.supervisor import RunOutcome


def run_command(
    command: Annotated[
        list[str] | None, typer.Argument(metavar="PROGRAM [ARGUMENTS]...", help="As after `python`, or any command.")
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", metavar="DIR", help="Write the run into this very directory.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="A name to find the run by.")] = None,
    record: Annotated[
        str | None,
        typer.Option(
            "--record", metavar="layers|ops|full", help="How much: full adds shapes, FLOPs, memory. Default: ops."
        ),
    ] = None,
    steps: Annotated[
        str | None,
        typer.Option("--steps", metavar="FIRST:END", help="Only these steps, as a Python slice: 10:20 is 10 to 19."),
    ] = None,
    overhead_budget: Annotated[
        str | None,
        typer.Option(
            "--overhead-budget", metavar="PERCENT", help="Record in full only as many steps as this allows, e.g. 3%."
        ),
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option(
            "--max-size", metavar="SIZE", help="Past it the oldest spans are kept as sums only. Default: 2GiB."
        ),
    ] = None,
    recorder: Annotated[
        str | None,
        typer.Option("--recorder", metavar="native|kineto|auto", help="Default: auto, native where it can be built."),
    ] = None,
    cuda: Annotated[
        str | None,
        typer.Option(
            "--cuda", metavar="auto|kernels|events|off", help="Work on GPUs; events is the light way. Default: auto."
        ),
    ] = None,
    python_stacks: Annotated[
        bool, typer.Option("--python-stacks", help="Sample Python stacks too, with py-spy.")
    ] = False,
    stacks_rate: Annotated[
        str | None, typer.Option("--stacks-rate", metavar="HZ", help="Samples of stacks a second. Default: 100.")
    ] = None,
    native_stacks: Annotated[
        bool, typer.Option("--native-stacks", help="With C and C++ frames in the stacks; costs more.")
    ] = False,
    memory_snapshot: Annotated[
        bool, typer.Option("--memory-snapshot", help="Keep a snapshot of CUDA memory for PyTorch's viewer.")
    ] = False,
    metrics_port: Annotated[
        str | None,
        typer.Option("--metrics-port", metavar="PORT", help="Serve metrics in Prometheus' format, e.g. 9464."),
    ] = None,
    metrics_host: Annotated[
        str | None, typer.Option("--metrics-host", metavar="ADDRESS", help="Serve them there. Default: 127.0.0.1.")
    ] = None,
    otlp: Annotated[
        str | None, typer.Option("--otlp", metavar="ENDPOINT", help="Send metrics over OTLP/HTTP, with extra `otlp`.")
    ] = None,
    alert: Annotated[
        list[str] | None,
        typer.Option("--alert", metavar="CONDITION", help="Watch for it: 'p99_latency > 50ms for 30s'. Repeatable."),
    ] = None,
    alert_exit_status: Annotated[
        str | None, typer.Option("--alert-exit-status", metavar="N", help="Exit with it where an alert fired.")
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Show the run while it goes on, with the program's output in a pane.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but warnings.")] = False,
) -> None:
    """Run a program unchanged and record its operators, layers and steps.

    PROGRAM is what you would write after `python`: train.py, -m package.module, -c code. Any other command stands as it
    is: torchrun --nproc-per-node 2 train.py. Its exit status is ours. Defaults come from [tool.deepseek-prof] in
    pyproject.toml.
    """
    import shutil

    from deepseek_prof.cli.live import fully_repeated, require_terminal, run_live
    from deepseek_prof.cli.metric_outputs import MetricOutputs
    from deepseek_prof.collectors import counter_collectors, process_samplers
    from deepseek_prof.config import load_settings
    from deepseek_prof.narration import HeldNarrator
    from deepseek_prof.recording.command import resolve_command
    from deepseek_prof.recording.run_directory import create_run_directory
    from deepseek_prof.recording.signals import die_like
    from deepseek_prof.recording.supervisor import run_command as supervise

    options = {
        "output": output,
        "name": name,
        "record": record,
        "steps": steps,
        "overhead-budget": overhead_budget,
        "max-size": max_size,
        "recorder": recorder,
        "cuda": cuda,
        "stacks-rate": stacks_rate,
        "metrics-port": metrics_port,
        "metrics-host": metrics_host,
        "otlp": otlp,
        "alert-exit-status": alert_exit_status,
    }
    flags = {"python-stacks": python_stacks, "native-stacks": native_stacks, "memory-snapshot": memory_snapshot}
    given = [flag for flag, is_given in flags.items() if is_given]
    settings = load_settings(options, *given, quiet=quiet, alerts=alert or [])
    resolved = resolve_command(command or [])
    if live:
        require_terminal()
    narrator = HeldNarrator(quiet=settings.quiet)
    _prepare_recorder(resolved, settings.recorder, narrator)
    outputs = MetricOutputs(settings, narrator)
    run_dir = create_run_directory(settings, resolved.argv, resolved.script, resolved.python)
    narrator.say(f"recording into {_short(run_dir)}")
    run = run_live if live else supervise
    with outputs.into(run_dir) as hub:
        outcome = run(resolved, run_dir, settings, counter_collectors(), narrator, process_samplers(settings), hub)
    _tell(outcome, _short(run_dir, settings.name), resolved, narrator)
    if not outcome.processes and outcome.complete and settings.output is None and fully_repeated(run_dir):
        # An empty run would only hide the latest real one.
        shutil.rmtree(run_dir)
    raise typer.Exit(outputs.exit_status(outcome.returncode) or die_like(outcome.returncode))


def _prepare_recorder(command: Command, recorder: str, narrator: Narrator) -> None:
    """Build the native recorder before the program starts, where its Python is known.

    Raises:
        UnsupportedTorchError: the program's torch is too old.
        RecorderError: ``--recorder native`` cannot be had.
    """
    from deepseek_prof.collectors.native.build import ensure_built
    from deepseek_prof.errors import RecorderError, UnsupportedTorchError

    if command.python is None or recorder == "kineto":
        return
    try:
        ensure_built(command.python, narrator.say)
    except UnsupportedTorchError:
        raise
    except RecorderError:
        # Left to the program's own process, which says once what it records with instead, or never needs torch.
        if recorder == "native":
            raise


def _tell(outcome: RunOutcome, run: str, command: Command, narrator: Narrator) -> None:
    """The end of the recording, in two lines; ``run`` is what reading commands find it by."""
    from deepseek_prof.text import counted

    for warning in outcome.warnings:
        narrator.warn(warning)
    if not outcome.complete:
        narrator.warn(f"the run is not complete. Once the cause is mended: deepseek-prof recover {run}")
        return
    if not outcome.processes:
        narrator.warn(
            f"nothing was recorded: no Python process of {command.script} imported torch "
            "(or it ran as python -I or -E, which keeps the recorder out)."
        )
        return
    steps = f" in {counted(outcome.steps, 'step')}" if outcome.steps else ""
    of = f" from {outcome.processes} processes" if outcome.processes > 1 else ""
    narrator.say(f"recorded {counted(outcome.spans, 'span')}{steps}{of}")
    narrator.say(f"see where the time went: deepseek-prof report {run}")


def _short(run_dir: Path, name: str | None = None) -> str:
    """What reading commands find the run by from here, as a shell takes it: the name given to it, its folder's name, or
    else its path."""
    import shlex

    from deepseek_prof.trace.catalog import looks_like_run, resolve_run

    names = [each for each in (name, run_dir.name) if each and not each.startswith("-") and looks_like_run(each)]
    found = next((each for each in names if resolve_run(each).resolve() == run_dir.resolve()), str(run_dir))
    return shlex.quote(found)
