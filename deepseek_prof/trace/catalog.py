"""Finds runs: the folder ``.deepseek-prof`` of the working directory, names, and ``latest``."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepseek_prof.errors import RunNotFoundError

RUNS_FOLDER = ".deepseek-prof"
LATEST = "latest"
RUN_FILE = "run.json"
_SHOWN_NAMES = 5


@dataclass(frozen=True)
class RunEntry:
    """One line of ``deepseek-prof runs``. Times are nanoseconds since the epoch; 0 and empty where unknown."""

    path: Path
    name: str
    script: str
    status: str
    """As in ``run.json``: ``running``, ``finished``, ``recovered``; ``damaged`` where that cannot be read."""
    created_ns: int
    ended_ns: int
    exit_code: int | None
    signal: str
    """That killed the program, such as ``SIGKILL``; empty where none did."""
    ranks: int
    spans: int
    size_bytes: int
    """Of the span files, as ``run.json`` states it."""


def default_root() -> Path:
    """Where runs without ``--output`` go."""
    return Path.cwd() / RUNS_FOLDER


def is_run(path: Path) -> bool:
    """Whether ``path`` is a run directory: it holds a ``run.json``."""
    try:
        return (path / RUN_FILE).is_file()
    except OSError:  # a folder of others, or a text longer than any path
        return False


def list_runs(root: Path | None = None) -> list[RunEntry]:
    """The runs directly below ``root`` (default: ``.deepseek-prof`` here), newest first; damaged ones too.

    Raises:
        RunNotFoundError: the folder is there but cannot be read.
    """
    folder = default_root() if root is None else root
    try:
        paths = list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RunNotFoundError(f"{folder} cannot be read: {error.strerror}") from error
    entries = [read_entry(path) for path in paths if not path.is_symlink() and is_run(path)]
    return sorted(entries, key=lambda entry: (entry.created_ns, entry.path.name), reverse=True)


def read_entry(path: Path) -> RunEntry:
    """What ``runs`` shows of one run directory; never raises for its content."""
    try:
        loaded = json.loads((path / RUN_FILE).read_text(encoding="utf-8"))
        info: dict[str, Any] | None = loaded if isinstance(loaded, dict) else None
    except (OSError, ValueError, RecursionError):
        info = None
    if info is None:
        # A run of which even run.json is unreadable is still listed: hiding it would look like losing it.
        return RunEntry(path, path.name, "", "damaged", _modified_ns(path), 0, None, "", 0, 0, 0)
    spans = info.get("spans")
    spans = spans if isinstance(spans, dict) else {}
    processes = info.get("processes")
    exit_code = info.get("exit_code")
    return RunEntry(
        path=path,
        name=str(info.get("name") or path.name),
        script=str(info.get("script") or ""),
        status=str(info.get("status") or "unknown"),
        created_ns=_integer(info.get("created_ns")),
        ended_ns=_integer(info.get("ended_ns")),
        exit_code=exit_code if isinstance(exit_code, int) else None,
        signal=str(info.get("signal") or ""),
        ranks=len({each.get("rank") for each in processes if isinstance(each, dict)})
        if isinstance(processes, list)
        else 0,
        spans=_integer(spans.get("count")),
        size_bytes=_integer(spans.get("size_bytes")),
    )


def looks_like_run(text: str, root: Path | None = None) -> bool:
    """Whether a first argument means a run, so that anything else is a query: ``latest``, a name, a directory."""
    return text == LATEST or _find(text, root) is not None


def resolve_run(name_or_path: str | None = None, root: Path | None = None) -> Path:
    """The directory of a run given by directory, name or ``latest`` (also None).

    Raises:
        RunNotFoundError: there is none; the message says what is there.
    """
    text = LATEST if name_or_path is None else name_or_path
    found = _find(text, root)
    if found is not None:
        return found
    folder = default_root() if root is None else root
    runs = list_runs(folder)
    if text == LATEST:
        if not runs:
            raise RunNotFoundError(f"No run in {folder}. Record one first: deepseek-prof run train.py")
        return runs[0].path
    if Path(text).is_dir():
        raise RunNotFoundError(f"{text} is not a run: it holds no {RUN_FILE}.")
    names = list(dict.fromkeys([entry.name for entry in runs] + [entry.path.name for entry in runs]))
    close = difflib.get_close_matches(text, names, n=1)
    hint = f"Did you mean {close[0]}?" if close else _there_are([entry.name for entry in runs])
    raise RunNotFoundError(f"No run called {text!r} here or in {folder}. {hint}")


def _there_are(names: list[str]) -> str:
    if not names:
        return "Record one first: deepseek-prof run train.py"
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    return f"There are: {', '.join(names[:_SHOWN_NAMES])}{more}."


def _find(text: str, root: Path | None) -> Path | None:
    """The run of exactly this directory or name; a directory wins over a name, a folder's name over ``--name``."""
    if not text or "\0" in text:
        return None
    folder = default_root() if root is None else root
    for candidate in (Path(text), folder / text):
        if is_run(candidate):
            return candidate
    return next((entry.path for entry in list_runs(folder) if entry.name == text), None)


def _modified_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _integer(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
