"""``deepseek-prof doctor``: what of recording works on this machine, which recorder is used, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Annotated

import typer

_HOW_TO_ADMIT = (
    "To allow py-spy: in a container, start that with --cap-add SYS_PTRACE; where /proc/sys/kernel/yama/ptrace_scope "
    "is 2 or 3, set it to 1."
)


class DoctorFormat(str, Enum):
    """Values of ``--format``."""

    text = "text"
    json = "json"


class State(str, Enum):
    """How one check came out: ``warn`` costs something, ``fail`` means that nothing can be recorded."""

    ok = "ok"
    warn = "warn"
    fail = "fail"


@dataclass(frozen=True)
class Check:
    """One line of the answer; ``advice`` is empty where there is nothing to do."""

    name: str
    state: State
    found: str
    advice: str = ""


def doctor_command(
    python: Annotated[
        str | None,
        typer.Option("--python", metavar="PATH", help="The Python that runs the program. Default: the active one."),
    ] = None,
    build: Annotated[bool, typer.Option("--build/--no-build", help="Build the native recorder if it is not.")] = True,
    output_format: Annotated[DoctorFormat, typer.Option("--format", help="How to write it.")] = DoctorFormat.text,
) -> None:
    """Check what recording needs here: torch, compiler, recorder, disk. Says which recorder is used, and why.

    Exit status 0 if programs can be recorded, 1 if not.
    """
    import json
    from dataclasses import asdict

    from deepseek_prof.recording.command import active_python

    checks = examine(python or active_python(), build=build)
    if output_format is DoctorFormat.json:
        print(json.dumps([asdict(check) for check in checks], indent=1))
    else:
        _print(checks)
    if any(check.state is State.fail for check in checks):
        raise typer.Exit(1)


def examine(python: str, *, build: bool) -> list[Check]:
    """All checks for the interpreter ``python``, in the order of what builds on what."""
    checks = [_platform()]
    torch, usable = _torch(python)
    checks.append(torch)
    checks.append(_compiler())
    if usable:
        checks.append(_recorder(python, build=build))
        checks += _devices(python)
    checks += [_cores(), _disk(), _python_stacks()]
    return checks


def _platform() -> Check:
    import platform

    found = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    if platform.system() == "Linux" and platform.machine() in ("x86_64", "aarch64"):
        return Check("platform", State.ok, found)
    return Check("platform", State.warn, found, "Only Linux on x86-64 and arm64 is supported; this is untested.")


def _torch(python: str) -> tuple[Check, bool]:
    from deepseek_prof.collectors.native.build import probe, require_supported
    from deepseek_prof.errors import RecorderError

    try:
        found = probe(python)
        if found["torch"] is None:
            advice = "Install torch there, or name the program's Python with --python."
            return Check("torch", State.fail, f"none in {python}", advice), False
        require_supported(found["torch"])
    except RecorderError as error:
        return Check("torch", State.fail, str(error), "Use a newer torch."), False
    return Check("torch", State.ok, f"{found['torch']} in {python} (Python {found['python']})"), True


def _compiler() -> Check:
    from deepseek_prof.collectors.native.build import compiler

    found = compiler()
    if found is None:
        return Check("C++ compiler", State.warn, "none ($CXX, g++, clang++)", "Install g++ for the native recorder.")
    return Check("C++ compiler", State.ok, found)


def _recorder(python: str, *, build: bool) -> Check:
    from deepseek_prof.collectors.native.build import ensure_built, library_path, probe
    from deepseek_prof.errors import RecorderError
    from deepseek_prof.narration import Narrator

    library = library_path(probe(python))
    if not build and not library.exists():
        return Check(
            "recorder", State.ok, "native, not built yet: the first run does it", "deepseek-prof doctor --build"
        )
    try:
        return Check("recorder", State.ok, f"native, {ensure_built(python, Narrator().say)}")
    except RecorderError as error:
        advice = "Recording works through Kineto, at a higher cost and without other threads' operators."
        return Check("recorder", State.warn, f"kineto, because: {error}", advice)


def _devices(python: str) -> list[Check]:
    from deepseek_prof.cli.doctor_devices import device_line, found_devices
    from deepseek_prof.errors import RecorderError

    try:
        return [Check(f"device {each['device']}", State.ok, device_line(each)) for each in found_devices(python)]
    except RecorderError as error:
        return [Check("devices", State.warn, str(error), "Mend that Python's torch, or name another one: --python.")]


def _cores() -> Check:
    import os

    usable = len(os.sched_getaffinity(0))
    if usable == 1:
        return Check("cores", State.warn, "1 usable", "Conversion shares it with the program: expect more overhead.")
    return Check("cores", State.ok, f"{usable} usable of {os.cpu_count()}")


def _disk() -> Check:
    import os
    import shutil
    from pathlib import Path

    from deepseek_prof.config import DEFAULT_MAX_SIZE_BYTES

    folder = Path.cwd()
    free_bytes = shutil.disk_usage(folder).free
    found = f"{free_bytes / (1 << 30):.1f} GiB free in {folder}"
    if not os.access(folder, os.W_OK):
        return Check("disk", State.warn, f"{folder} cannot be written", "Name another folder: run --output DIR.")
    if free_bytes < DEFAULT_MAX_SIZE_BYTES:
        return Check("disk", State.warn, found, "A long run may fill it: run --max-size, or --output on another disk.")
    return Check("disk", State.ok, found)


def _python_stacks() -> Check:
    from deepseek_prof.collectors.python_stacks import NOT_INSTALLED, find_py_spy, why_refused

    program = find_py_spy()
    reason = NOT_INSTALLED if program is None else why_refused(program)
    if reason is None:
        return Check("Python stacks", State.ok, f"py-spy, {program}")
    advice = "Install it: pip install py-spy" if program is None else _HOW_TO_ADMIT
    return Check("Python stacks", State.warn, f"in-process sampler, because: {reason}", advice)


def _print(checks: list[Check]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    style: dict[State, str] = {State.ok: "green", State.warn: "yellow", State.fail: "red bold"}

    def wide(check: Check) -> Text:
        return Text(check.found + (f"\n→ {check.advice}" if check.advice else ""))

    table = Table.grid(padding=(0, 2))
    for check in checks:
        table.add_row(Text(check.state.value, style[check.state]), Text(check.name), wide(check))
    Console(highlight=False).print(table)
