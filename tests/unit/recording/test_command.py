"""What the words after ``run`` mean."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from deepseek_prof.errors import UsageError
from deepseek_prof.recording.command import active_python, resolve_command


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    monkeypatch.delenv("CONDA_PREFIX", raising=False)
    return tmp_path


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_a_script_runs_under_python_with_its_arguments(folder: Path) -> None:
    (folder / "train.py").touch()
    command = resolve_command(["train.py", "--epochs", "2"])
    assert command.argv == (sys.executable, "train.py", "--epochs", "2")
    assert command.script == "train"
    assert command.python == sys.executable


@pytest.mark.parametrize(
    ("words", "script"),
    [(["-m", "package.module", "-x"], "package.module"), (["-c", "pass"], "code"), (["-u", "train.py"], "train")],
)
def test_options_of_python_run_under_python(words: list[str], script: str) -> None:
    command = resolve_command(words)
    assert command.argv == (sys.executable, *words)
    assert command.script == script


def test_a_folder_with_a_main_is_a_program(folder: Path) -> None:
    program(folder / "app" / "__main__.py", "")
    assert resolve_command(["app"]).argv == (sys.executable, "app")
    (folder / "empty").mkdir()
    with pytest.raises(UsageError, match="__main__"):
        resolve_command(["empty"])


def test_a_program_beside_python_is_found_without_an_active_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = program(folder / "venv" / "bin" / "python", "")
    launcher = program(python.parent / "torchrun", f"#!{python}\n")
    monkeypatch.setenv("VIRTUAL_ENV", str(folder / "venv"))
    command = resolve_command(["torchrun", "train.py"], search_path=str(folder))
    assert command.argv == (str(launcher), "train.py")
    assert command.python == str(python)
    with pytest.raises(UsageError, match="neither a script here nor a program"):
        resolve_command(["venv/torchrun"], search_path=str(folder))


def test_a_program_on_the_path_stands_as_it_is(folder: Path) -> None:
    launcher = program(folder / "bin" / "torchrun", f"#!{sys.executable}\n")
    command = resolve_command(["torchrun", "--nproc-per-node", "2", "train.py"], search_path=str(launcher.parent))
    assert command.argv == (str(launcher), "--nproc-per-node", "2", "train.py")
    assert command.script == "train"
    assert command.python == sys.executable


def test_the_interpreter_of_another_program_is_unknown(folder: Path) -> None:
    other = program(folder / "bin" / "tool", "#!/bin/sh\n")
    assert resolve_command([str(other)]).python is None


def test_the_active_environment_comes_before_our_own_python(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = program(folder / "venv" / "bin" / "python", "#!/bin/sh\n")
    monkeypatch.setenv("VIRTUAL_ENV", str(folder / "venv"))
    assert active_python() == str(python)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Say what to run"),
        (["trian.py"], "Did you mean train.py"),
        (["missing/other.py"], "No script 'missing/other.py'"),
        (["no-such-program"], "neither a script here nor a program"),
    ],
)
def test_what_cannot_be_run_is_told(folder: Path, words: list[str], message: str) -> None:
    (folder / "train.py").touch()
    with pytest.raises(UsageError, match=message):
        resolve_command(words)
