"""The first run of the program: recorded, and watched for the root module that takes the time."""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepseek_prof.config import RunSettings
from deepseek_prof.errors import UsageError
from deepseek_prof.narration import Narrator
from deepseek_prof.optimizer.candidate import job_environment
from deepseek_prof.optimizer.channel import Channel, listen
from deepseek_prof.optimizer.protocol import Profile
from deepseek_prof.recording.command import Command

MODES = ("auto", "inference", "training")
_MORE_CALLS = 7
_MORE_CALLS_NS = 1_000_000_000
"""Each candidate runs the calls before the captured one: this long at most for the sake of more inputs."""


@dataclass(frozen=True)
class Surveyed:
    """What the first run tells."""

    root: str
    call: int
    """The call by which every signature has been met, and some calls later, for their inputs."""
    calls: int
    training: bool
    steps: int
    """Training steps that the first run made."""
    step_ns: float
    """Median time of one, recorded; 0 without steps."""
    backward_passes: int
    device: str
    threads: int
    profile: Profile
    run_dir: Path


def survey(command: Command, mode: str, limit_s: float, max_calls: int, max_steps: int, narrator: Narrator) -> Surveyed:
    """Run and record the program until its root module was called ``max_calls`` times, for ``limit_s`` at most.

    A program that trains, where ``mode`` is not ``inference``, is run for ``max_steps`` training steps instead.

    Raises:
        UsageError: the program called no module of the kind that ``mode`` asks for, or cannot be started.
    """
    from deepseek_prof.recording.run_directory import create_run_directory
    from deepseek_prof.recording.signals import relayed_signals
    from deepseek_prof.recording.supervisor import start_command

    settings = RunSettings(quiet=True)
    run_dir = create_run_directory(settings, command.argv, command.script, command.python)
    with tempfile.TemporaryDirectory(prefix="deepseek-prof-") as folder, relayed_signals() as relay:
        path = Path(folder, "s")
        told: list[dict[str, Any]] = []
        with listen(path) as server:
            listener = threading.Thread(target=_hear, args=(server, told), daemon=True)
            listener.start()
            job = {"do": "survey", "socket": str(path), "limit_s": limit_s, "max_calls": max_calls}
            job["max_steps"] = 0 if mode == "inference" else max_steps

            def spawn(argv: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
                ours = job_environment(job)
                kept = {key: ours[key] for key in ("DEEPSEEK_PROF_ATTACH", "DEEPSEEK_PROF_JOB")}
                return subprocess.Popen(argv, env={**env, **kept}, stdout=subprocess.DEVNULL)

            recording = start_command(command, run_dir, settings, (), narrator, spawn=spawn)
            relay.started(recording.pid)
            returncode = recording.wait()
            listener.join(timeout=1)
        recording.complete(returncode)
    if not told:
        raise UsageError(
            f"{command.script} ended with status {returncode} before it imported torch in its own process. "
            "See that it runs, and name the program itself, not a launcher."
        )
    return _chosen(told[0], mode, run_dir)


def _hear(server: Any, told: list[dict[str, Any]]) -> None:
    with suppress(OSError, EOFError):  # the program ended without a word: told stays empty
        message = Channel(server.accept()[0]).receive()
        if message is not None:
            told.append(message)


def _chosen(told: Mapping[str, Any], mode: str, run_dir: Path) -> Surveyed:
    if int(told.get("world_size") or 1) > 1:
        raise UsageError("Distributed programs are not optimized yet. Run one process of it.")
    roots = [each for each in told["roots"] if each["calls"]]
    if mode != "auto":
        roots = [each for each in roots if each["training"] == (mode == "training")]
    if not roots:
        raise UsageError(f"The program called no module{'' if mode == 'auto' else f' in {mode}'}. See --mode.")
    root = max(roots, key=lambda each: (each["parameter_bytes"] > 0, each["total_ns"]))
    calls = int(root["calls"])
    last = max(*root["signatures"].values(), 1)
    more = min(_MORE_CALLS, int(_MORE_CALLS_NS * calls / max(root["total_ns"], 1)))
    return Surveyed(
        root=root["name"],
        call=min(last + more, calls - 1),
        calls=calls,
        training=root["training"],
        steps=len(told["steps_ns"]),
        step_ns=statistics.median(told["steps_ns"] or [0]),
        backward_passes=told["backward_passes"],
        device=root["device"],
        threads=told["threads"],
        profile=profile_of(run_dir),
        run_dir=run_dir,
    )


def profile_of(run_dir: Path) -> Profile:
    """What the passes' predictions go by. Raises RunDamagedError."""
    from deepseek_prof.analysis.findings import find
    from deepseek_prof.analysis.summary import summarize
    from deepseek_prof.analysis.top import top
    from deepseek_prof.query import compile_query
    from deepseek_prof.trace.run import Run

    with Run.open(run_dir) as run:
        operators = compile_query("kind:op")
        shares = {}
        for by in ("type", "op", "phase"):
            table = top(run, by, operators, limit=None)
            shares[by] = {row.name: row.self_ns / max(table.self_ns, 1) for row in table.rows}
        findings = tuple(each.rule for each in find(run, summarize(run)))
    return Profile(shares["type"], shares["op"], shares["phase"], findings)
