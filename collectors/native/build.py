"""Builds the native recorder against the installed torch, once per torch version, Python ABI and source.

Standard library only: it runs in the profiled process too, whose environment need not hold our dependencies.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from deepseek_prof.errors import RecorderError, UnsupportedTorchError

MODULE_NAME = "_deepseek_prof_recorder"
OLDEST_TORCH = (2, 6)
_SOURCES = ("context_tree.cpp", "layers.cpp", "memory.cpp", "module.cpp", "operators.cpp", "recorder.cpp")
_HERE = Path(__file__).resolve().parent

# Run in the interpreter to be profiled: finds torch without importing it (0.05 s instead of 1–2 s).
_PROBE = """
import importlib.util, json, sys, sysconfig
spec = importlib.util.find_spec("torch")
found = {"python": sys.version.split()[0], "abi": sysconfig.get_config_var("SOABI") or "",
         "include": sysconfig.get_paths()["include"], "torch": None}
if spec is not None and spec.submodule_search_locations:
    root = list(spec.submodule_search_locations)[0]
    names = {}
    with open(root + "/version.py") as file:
        exec(file.read(), names)
    found.update(torch=str(names["__version__"]), git=str(names.get("git_version")), root=root)
print(json.dumps(found))
"""


def probe(python: str | None = None) -> dict[str, Any]:
    """What a Python interpreter has: ``python, abi, include, torch`` (None if absent), ``git``, ``root``.

    Raises:
        RecorderError: the interpreter cannot be run.
    """
    # Our own shim must not wake up in the probe.
    env = {key: value for key, value in os.environ.items() if not key.startswith("DEEPSEEK_PROF_")}
    try:
        done = subprocess.run(
            [python or sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=60, check=True, env=env
        )
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise RecorderError(f"cannot run {python or sys.executable} to look for torch: {error}") from error
    return found


def cache_directory() -> Path:
    """Where built recorders are kept: ``$XDG_CACHE_HOME/deepseek-prof`` or ``~/.cache/deepseek-prof``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deepseek-prof"


def library_path(found: dict[str, Any]) -> Path:
    """The file of the recorder for a probed interpreter, whether built yet or not."""
    digest = hashlib.sha256()
    for source in sorted(_HERE.glob("*.cpp")) + sorted(_HERE.glob("*.h")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    digest.update(json.dumps([found["torch"], found["git"], found["abi"]]).encode())
    return cache_directory() / f"recorder-{found['torch']}-{digest.hexdigest()[:16]}.so"


def compiler() -> str | None:
    """The C++ compiler to use (``$CXX``, g++ or clang++), or None."""
    for name in (os.environ.get("CXX"), "g++", "clang++", "c++"):
        if name and shutil.which(name):
            return name
    return None


def ensure_built(python: str | None = None, progress: Callable[[str], None] | None = None) -> Path:
    """The recorder library for ``python`` (default: this interpreter), built now if it is not in the cache.

    Args:
        python: the interpreter of the program to be profiled.
        progress: called with one line before a build begins (it takes about 20 s) and one after it.

    Raises:
        UnsupportedTorchError: torch is too old.
        RecorderError: no torch, no compiler or headers, or a failed build.
    """
    found = probe(python)
    if found["torch"] is None:
        raise RecorderError(f"torch is not installed for {python or sys.executable}")
    require_supported(found["torch"])
    library = library_path(found)
    if library.exists():
        return library
    try:
        library.parent.mkdir(parents=True, exist_ok=True)
        with (library.parent / f"{library.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # several ranks start at once: one builds, the others wait
            if not library.exists():
                _require_tools(found)
                if progress is not None:
                    progress(f"building the native recorder for torch {found['torch']} (once, about 20 s) …")
                _build(found, library)
                if progress is not None:
                    progress(f"built the native recorder: {library}")
    except OSError as error:
        raise RecorderError(
            f"cannot keep the native recorder in {library.parent}: {error}. Set XDG_CACHE_HOME to a writable folder."
        ) from error
    return library


def require_supported(torch_version: str) -> None:
    """Refuse a torch that is older than what we record.

    Raises:
        UnsupportedTorchError: it is.
    """
    if tuple(int(part) for part in torch_version.split("+", maxsplit=1)[0].split(".")[:2]) < OLDEST_TORCH:
        oldest = ".".join(map(str, OLDEST_TORCH))
        raise UnsupportedTorchError(f"torch {torch_version} is too old: deepseek-prof needs torch {oldest} or later")


def _require_tools(found: dict[str, Any]) -> str:
    """The compiler. Raises RecorderError if it or the headers of Python are missing."""
    cxx = compiler()
    if cxx is None:
        raise RecorderError(
            "no C++ compiler found (looked for $CXX, g++, clang++); install g++ to use the native recorder"
        )
    if not Path(found["include"], "Python.h").exists():
        raise RecorderError(f"no Python.h in {found['include']}; install the Python headers (python3-dev)")
    return cxx


def _build(found: dict[str, Any], library: Path) -> None:
    cxx = _require_tools(found)
    root = Path(found["root"])
    flags = ["-std=c++20", "-O2", "-fPIC", "-fvisibility=hidden", "-w", "-DNDEBUG"]
    flags += ["-I", str(root / "include"), "-I", str(root / "include/torch/csrc/api/include"), "-I", found["include"]]
    with tempfile.TemporaryDirectory(dir=library.parent, prefix="build-") as folder:
        objects = [str(Path(folder, source + ".o")) for source in _SOURCES]
        commands = [
            [cxx, *flags, "-c", str(_HERE / source), "-o", out] for source, out in zip(_SOURCES, objects, strict=True)
        ]
        with ThreadPoolExecutor() as pool:
            list(pool.map(_run, commands))
        built = str(Path(folder, "recorder.so"))
        _run([cxx, "-shared", *objects, "-o", built, "-L", str(root / "lib"), "-ltorch_cpu", "-lc10"])
        Path(built).replace(library)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
        raise RecorderError("building the native recorder failed: " + "\n".join(lines[:5]))
