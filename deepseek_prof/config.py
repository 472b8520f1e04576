"""Settings of a recording: defaults, ``[tool.deepseek-prof]`` of ``pyproject.toml``, and the text forms of values."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepseek_prof.errors import UsageError

TABLE_NAME = "deepseek-prof"
RECORD_LEVELS = ("layers", "ops", "full")
RECORDERS = ("auto", "native", "kineto")
CUDA_MODES = ("auto", "kernels", "events", "off")
DEFAULT_MAX_SIZE_BYTES = 2 << 30
DEFAULT_STACKS_RATE_HZ = 100
DEFAULT_METRICS_HOST = "127.0.0.1"
LAST_STEP = (1 << 31) - 1
"""The last step of an open range such as ``10:``."""

_SIZE_UNITS = {
    "": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
}  # fmt: skip


@dataclass(frozen=True)
class RunSettings:
    """How to record. Sizes are bytes; ``steps`` is the first and the last step, both included."""

    output: Path | None = None
    name: str | None = None
    record: str = "ops"
    steps: tuple[int, int] | None = None
    overhead_budget: float | None = None
    """Fraction of the program's time that recording may take; None for no limit."""
    max_size_bytes: int = DEFAULT_MAX_SIZE_BYTES
    recorder: str = "auto"
    cuda: str = "auto"
    python_stacks: bool = False
    stacks_rate_hz: int = DEFAULT_STACKS_RATE_HZ
    memory_snapshot: bool = False
    native_stacks: bool = False
    """Frames of C and C++ too, at the price of stopping the process for each sample."""
    quiet: bool = False
    metrics_port: int | None = None
    """Where metrics are served in Prometheus' format; 0 for any free port, None for nowhere."""
    metrics_host: str = DEFAULT_METRICS_HOST
    otlp: str | None = None
    """Where metrics are sent over OTLP/HTTP."""
    alerts: tuple[str, ...] = ()
    """Conditions as text; see ``recording/alert_rules.py``."""
    alert_exit_status: int | None = None
    """The exit status where an alert fired and the program itself ended well."""


def parse_size(text: str) -> int:
    """Bytes of ``2GiB``, ``500 MB`` or a plain number. Raises UsageError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", text)
    if match is None or match[2].lower() not in _SIZE_UNITS:
        raise UsageError(f"{text!r} is not a size. Write it as 2GiB, 500MB or a number of bytes.")
    size_bytes = int(float(match[1]) * _SIZE_UNITS[match[2].lower()])
    if not 0 < size_bytes < 1 << 62:
        raise UsageError(f"{text!r} is not a usable size: it must be above zero and below 4 EiB.")
    return size_bytes


def parse_percent(text: str) -> float:
    """The fraction that ``3%`` or ``0.5 %`` means. Raises UsageError outside 0 to 100 % and without the sign."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", text)
    if match is None:
        raise UsageError(f"{text!r} is not a percentage. Write it as 3%.")
    fraction = float(match[1]) / 100
    if not 0 < fraction <= 1:
        raise UsageError(f"{text!r} is out of range: a budget is above 0% and at most 100%.")
    return fraction


def parse_steps(text: str) -> tuple[int, int]:
    """First and last step of ``FIRST:END``, a Python slice: ``10:20`` is 10 to 19, ``:5`` 0 to 4, ``10:`` from 10 on.

    Raises UsageError.
    """
    match = re.fullmatch(r"\s*(\d{0,9})\s*:\s*(\d{0,9})\s*", text)
    if match is None or not (match[1] or match[2]):
        raise UsageError(f"{text!r} is not a range of steps. Write it as 10:20 (steps 10 to 19), 10: or :20.")
    first = int(match[1] or 0)
    last = int(match[2]) - 1 if match[2] else LAST_STEP
    if last < first:
        raise UsageError(f"{text!r} holds no step: as in a Python slice, the end is not included.")
    return first, last


def _whole_number(what: str, first: int, last: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"\s*[0-9]{1,6}\s*", text) or not first <= int(text) <= last:
            raise UsageError(f"{text!r} is not {what}: it is a whole number, {first} to {last}.")
        return int(text)

    return parse


parse_rate = _whole_number("a usable rate of samples a second", 1, 1000)


def _choice(allowed: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise UsageError(f"{text!r} is not one of {', '.join(allowed)}.")
        return text

    return parse


_TEXT_KEYS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "output": ("output", Path),
    "name": ("name", str),
    "record": ("record", _choice(RECORD_LEVELS)),
    "steps": ("steps", parse_steps),
    "overhead-budget": ("overhead_budget", parse_percent),
    "max-size": ("max_size_bytes", parse_size),
    "recorder": ("recorder", _choice(RECORDERS)),
    "cuda": ("cuda", _choice(CUDA_MODES)),
    "stacks-rate": ("stacks_rate_hz", parse_rate),
    "metrics-port": ("metrics_port", _whole_number("a port", 0, 65535)),
    "metrics-host": ("metrics_host", str),
    "otlp": ("otlp", str),
    "alert-exit-status": ("alert_exit_status", _whole_number("an exit status", 1, 255)),
}
"""Keys of ``[tool.deepseek-prof]``, which are the options of ``run``, with their field and parser."""

_FLAG_KEYS = {
    "quiet": "quiet",
    "python-stacks": "python_stacks",
    "native-stacks": "native_stacks",
    "memory-snapshot": "memory_snapshot",
}
"""Keys that are true or false, with their field."""

_LIST_KEYS = {"alert": "alerts"}
"""Keys that are lists of text, with their field: options that may be repeated."""


def load_settings(
    options: Mapping[str, str | None],
    *flags: str,
    quiet: bool = False,
    directory: Path | None = None,
    alerts: Sequence[str] = (),
) -> RunSettings:
    """Settings from the defaults, then the nearest ``pyproject.toml``, then ``options`` (as text; None: not given).

    Args:
        options: by option name without dashes in front, such as ``max-size``.
        flags: options without a value that were given, such as ``python-stacks``.
        quiet: whether ``--quiet`` was given.
        alerts: what ``--alert`` was given with, each time; they replace those of the file.
        directory: where the search for ``pyproject.toml`` starts, going up; default: the working directory.

    Raises:
        UsageError: a value does not fit, or the file cannot be read.
    """
    values = _from_pyproject(directory or Path.cwd())
    for key, text in options.items():
        if text is not None:
            field, parse = _TEXT_KEYS[key]
            try:
                values[field] = parse(text)
            except UsageError as error:
                raise UsageError(f"--{key}: {error}") from error
    values.update({_FLAG_KEYS[flag]: True for flag in (*flags, *(["quiet"] if quiet else []))})
    if alerts:
        values["alerts"] = tuple(alerts)
    settings = RunSettings(**values)
    if settings.native_stacks and not settings.python_stacks:
        raise UsageError("--native-stacks needs --python-stacks: it adds C and C++ frames to them.")
    return settings


def _from_pyproject(directory: Path) -> dict[str, Any]:
    path = next(
        (
            folder / "pyproject.toml"
            for folder in (directory, *directory.parents)
            if (folder / "pyproject.toml").is_file()
        ),
        None,
    )
    if path is None:
        return {}
    text = _read_text(path)
    if f"tool.{TABLE_NAME}" not in text.replace('"', "").replace("'", "").replace(" ", ""):
        return {}  # nothing for us: a broken file is then not our business either
    table = _parse_toml(path, text).get("tool", {}).get(TABLE_NAME, {})
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key in _FLAG_KEYS:
            if not isinstance(value, bool):
                raise UsageError(f"{path}: [tool.{TABLE_NAME}] {key} must be true or false.")
            values[_FLAG_KEYS[key]] = value
            continue
        if key in _LIST_KEYS:
            if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
                raise UsageError(f"{path}: [tool.{TABLE_NAME}] {key} must be a list of text.")
            values[_LIST_KEYS[key]] = tuple(value)
            continue
        if key not in _TEXT_KEYS:
            known = [*_TEXT_KEYS, *_FLAG_KEYS, *_LIST_KEYS]
            close = difflib.get_close_matches(key, known, n=1)
            hint = f" Did you mean {close[0]}?" if close else f" Known: {', '.join(known)}."
            raise UsageError(f"{path}: [tool.{TABLE_NAME}] has no setting {key!r}.{hint}")
        field, parse = _TEXT_KEYS[key]
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise UsageError(f"{path}: [tool.{TABLE_NAME}] {key} must be text, as on the command line.")
        try:
            values[field] = parse(str(value))
        except UsageError as error:
            raise UsageError(f"{path}: [tool.{TABLE_NAME}] {key}: {error}") from error
    if values.get("output") is not None:
        values["output"] = path.parent / values["output"]
    return values


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}.") from error


def _parse_toml(path: Path, text: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        content: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}.") from error
    return content
