"""A recorder that cannot be built, loaded or kept costs one warning and never the program."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from deepseek_prof.collectors.native import build
from tests.support.recording import (
    open_run,
    operator_counts,
    run_both,
    run_both_commands,
    warnings_in,
    write_program,
)

PROGRAM = "import torch\ntorch.mm(torch.ones(2, 2), torch.ones(2, 2))\nprint('done')\n"
NO_COMPILER = {"CXX": "/no/such/compiler", "PATH": str(Path(sys.executable).parent)}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """An empty cache for the built recorder."""
    path = tmp_path / "cache"
    path.mkdir()
    return path


def _damaged(cache: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    library = build.library_path(build.probe(sys.executable))
    library.parent.mkdir()
    library.write_bytes(b"not a library")
    return {"XDG_CACHE_HOME": str(cache)}


def _assert_kineto_steps_in(folder: Path, env: dict[str, str]) -> None:
    program = write_program(folder, PROGRAM)
    pair = run_both([program.name], folder, env=env)
    pair.assert_same()
    warnings = warnings_in(pair.recorded.stderr)
    assert warnings[0].endswith("recording with kineto instead"), pair.recorded.stderr.decode()
    assert len(warnings) == len(set(warnings))
    with open_run(pair.run_dir) as run:
        assert operator_counts(run)["aten::mm"] == 1
        (process,) = run.processes
        assert process["recorder"] == "kineto"
        assert "native" in process["recorder_reason"]


def test_damaged_library_in_the_cache(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _assert_kineto_steps_in(tmp_path, _damaged(cache, monkeypatch))


def test_compiler_that_fails(tmp_path: Path, cache: Path) -> None:
    _assert_kineto_steps_in(tmp_path, {"XDG_CACHE_HOME": str(cache), "CXX": "false"})
    assert not list(cache.glob("*/*.so"))


def test_no_compiler(tmp_path: Path, cache: Path) -> None:
    _assert_kineto_steps_in(tmp_path, {"XDG_CACHE_HOME": str(cache), **NO_COMPILER})


def test_cache_that_cannot_be_written(tmp_path: Path) -> None:
    _assert_kineto_steps_in(tmp_path, {"XDG_CACHE_HOME": "/proc/nowhere"})


def test_native_recorder_asked_for_and_not_to_be_had_is_told_before_the_start(tmp_path: Path, cache: Path) -> None:
    program = write_program(tmp_path, "open('started', 'w')\n")
    env = {"XDG_CACHE_HOME": str(cache), **NO_COMPILER}
    pair = run_both([program.name], tmp_path, options=["--recorder", "native"], env=env)
    assert pair.recorded.returncode == 5
    (line,) = pair.recorded.stderr.decode().splitlines()
    assert "compiler" in line


def test_native_recorder_asked_for_that_does_not_load(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = write_program(tmp_path, PROGRAM)
    env = _damaged(cache, monkeypatch)
    pair = run_both([program.name], tmp_path, options=["--recorder", "native"], env=env)
    pair.assert_same()
    assert pair.recorded.stdout == b"done\n"
    first, *_ = warnings_in(pair.recorded.stderr)
    assert "not recorded" in first


@pytest.mark.parametrize("option", ["-I", "-E"])
def test_python_without_its_environment_runs_and_says_why_nothing_was_recorded(option: str, tmp_path: Path) -> None:
    program = write_program(tmp_path, "print('done')\n")
    pair = run_both_commands([sys.executable, option, program.name], tmp_path)
    pair.assert_same()
    (warning,) = warnings_in(pair.recorded.stderr)
    assert "-I" in warning


def test_torch_that_fails_to_import_fails_as_it_does_bare(tmp_path: Path) -> None:
    write_program(tmp_path, "raise ImportError('broken installation')\n", "torch/__init__.py")
    program = write_program(tmp_path, "import torch\n")
    pair = run_both([program.name], tmp_path)
    pair.assert_same()
    assert pair.recorded.returncode == 1
    assert b"broken installation" in pair.bare.stderr


def test_module_called_torch_that_is_not_pytorch(tmp_path: Path) -> None:
    write_program(tmp_path, "def light():\n    return 'lit'\n", "torch.py")
    program = write_program(tmp_path, "import torch\nprint(torch.light())\n")
    pair = run_both([program.name], tmp_path)
    pair.assert_same()
    assert len(warnings_in(pair.recorded.stderr)) in (1, 2)


def test_streams_that_are_closed(tmp_path: Path) -> None:
    program = write_program(
        tmp_path, "import os, sys, torch\nos.close(2)\nsys.stderr = None\ntorch.ones(1).sum()\nprint('done')\n"
    )
    pair = run_both([program.name], tmp_path)
    assert (pair.recorded.returncode, pair.recorded.stdout) == (pair.bare.returncode, pair.bare.stdout)
    assert pair.recorded.stdout.strip() == b"done"
    with open_run(pair.run_dir) as run:
        assert operator_counts(run)["aten::sum"] > 0
