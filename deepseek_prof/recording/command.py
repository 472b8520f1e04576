"""From the words after ``deepseek-prof run`` to the command to start: the user's own, literally."""

from __future__ import annotations

import difflib
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deepseek_prof.errors import UsageError

_SCRIPT_SUFFIXES = (".py", ".pyw", ".pyz", ".pyc")


@dataclass(frozen=True)
class Command:
    """What to start. ``python`` is the interpreter that will run, where that can be told beforehand."""

    argv: tuple[str, ...]
    script: str
    """Short name of the program, for the run's folder."""
    python: str | None


def resolve_command(words: Sequence[str], *, search_path: str | None = None) -> Command:
    """Understand the user's words.

    A script, a folder or archive with ``__main__.py``, and options of Python (``-m package``, ``-c code``, ``-u``) run
    under the active environment's Python; anything else is a program to be found on ``PATH`` and run as it stands.

    Raises:
        UsageError: no words, no such script, or no such program.
    """
    if not words:
        raise UsageError("Say what to run: deepseek-prof run train.py, -m package.module, or -- torchrun … train.py")
    first, rest = words[0], tuple(words[1:])
    if first.startswith("-"):
        return Command((active_python(), *words), script_name(words), active_python())
    found = shutil.which(first, path=search_path) or _beside_python(first)
    path = Path(first)
    if found is None and path.is_dir():
        if not (path / "__main__.py").is_file():
            raise UsageError(f"{first} is a folder without __main__.py. Name a script, or a module: -m package.module")
        return Command((active_python(), *words), path.resolve().name, active_python())
    if first.endswith(_SCRIPT_SUFFIXES) and not path.exists():
        raise UsageError(f"No script {first!r} in {Path.cwd()}.{_similar_script(path)}")
    if path.is_file() and (first.endswith(_SCRIPT_SUFFIXES) or found is None):
        return Command((active_python(), *words), path.stem, active_python())
    if found is None:
        raise UsageError(f"{first!r} is neither a script here nor a program on PATH.{_similar_script(path)}")
    return Command((found, *rest), script_name(words), _interpreter_of(found))


def active_python() -> str:
    """The Python of the active virtual or conda environment; without one, the Python that runs us."""
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        prefix = os.environ.get(variable)
        if prefix:
            candidate = Path(prefix, "bin", "python")
            if candidate.exists():
                return str(candidate)
    return sys.executable


def _beside_python(program: str) -> str | None:
    """A program such as ``torchrun`` beside the Python that will run, whose environment need not be active."""
    return None if os.sep in program else shutil.which(program, path=str(Path(active_python()).parent))


def script_name(words: Sequence[str]) -> str:
    """A short name: of the module after ``-m``, of the first script among the words, or of the program."""
    for index, word in enumerate(words[:-1]):
        if word == "-m" and not words[index + 1].startswith("-"):
            return words[index + 1]
        if word == "-c":
            return "code"
    for word in words:
        if word.endswith(_SCRIPT_SUFFIXES):
            return Path(word).stem
    return Path(words[0]).name.lstrip("-") or "python"


def _interpreter_of(program: str) -> str | None:
    """The Python that a program starts: itself, or the one in its ``#!`` line; None where it cannot be told."""
    if Path(program).name.startswith("python"):
        return program
    try:
        with Path(program).open("rb") as file:
            line = file.readline(512)
    except OSError:
        return None
    words = line[2:].decode(errors="replace").split() if line.startswith(b"#!") else []
    if words and Path(words[0]).name == "env":
        words = [found] if len(words) > 1 and (found := shutil.which(words[1])) else []
    return words[0] if words and Path(words[0]).name.startswith("python") and Path(words[0]).exists() else None


def _similar_script(path: Path) -> str:
    folder = path.parent if path.parent.is_dir() else Path()
    names = [entry.name for entry in folder.glob("*.py")]
    close = difflib.get_close_matches(path.name, names, n=1) or difflib.get_close_matches(f"{path.name}.py", names, n=1)
    return f" Did you mean {folder / close[0]}?" if close else ""
