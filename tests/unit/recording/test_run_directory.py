"""The run directory is made, or refused, before the program starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepseek_prof.config import RunSettings
from deepseek_prof.errors import OutputError
from deepseek_prof.model import SCHEMA_VERSION
from deepseek_prof.recording.run_directory import create_run_directory
from deepseek_prof.trace.catalog import list_runs
from deepseek_prof.trace.run_file import read_run_file

COMMAND = ("python", "train.py")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_default_runs_of_the_same_second_have_folders_of_their_own(folder: Path) -> None:
    paths = {create_run_directory(RunSettings(), COMMAND, "train") for _ in range(3)}
    assert len(paths) == 3
    assert {entry.path.resolve() for entry in list_runs()} == paths
    assert (folder / ".deepseek-prof" / ".gitignore").read_text() == "*\n"


def test_a_script_name_is_no_path(folder: Path) -> None:
    path = create_run_directory(RunSettings(), COMMAND, "../../x/[red]\x1b[0m")
    assert path.parent == (folder / ".deepseek-prof").resolve()


def test_the_first_content_describes_the_recording(folder: Path) -> None:
    path = create_run_directory(RunSettings(output=folder / "run", name="mine"), COMMAND, "train")
    data = read_run_file(path)
    assert path == (folder / "run").resolve()
    assert path.stat().st_mode & 0o777 == 0o700
    assert (data["schema_version"], data["name"], data["status"]) == (SCHEMA_VERSION, "mine", "running")
    assert data["command"] == list(COMMAND)
    assert data["settings"]["record"] == "ops"
    assert data["clock"]["epoch_ns"] > data["clock"]["monotonic_ns"] > 0


def test_an_empty_folder_is_taken(folder: Path) -> None:
    (folder / "run").mkdir()
    assert create_run_directory(RunSettings(output=folder / "run"), COMMAND).is_dir()


def test_what_exists_is_refused_and_kept(folder: Path) -> None:
    (folder / "run").mkdir()
    (folder / "run" / "precious").touch()
    with pytest.raises(OutputError, match="exists already"):
        create_run_directory(RunSettings(output=folder / "run"), COMMAND)
    assert (folder / "run" / "precious").exists()
    with pytest.raises(OutputError, match="exists already"):
        create_run_directory(RunSettings(output=folder / "run" / "precious"), COMMAND)


def test_a_place_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(OutputError, match="--output"):
        create_run_directory(RunSettings(output=Path("/proc/no/run")), COMMAND)


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("http://me:secret@host:4318/v1/metrics?token=secret#secret", "http://host:4318/v1/metrics"),
        ("https://se@cret@host", "https://host"),
        ("http://localhost:4318", "http://localhost:4318"),
        ("http://[::1]:4318/@path", "http://[::1]:4318/@path"),
    ],
)
def test_a_run_holds_no_password_of_what_metrics_are_sent_to(folder: Path, address: str, kept: str) -> None:
    path = create_run_directory(RunSettings(otlp=address), COMMAND, "train")
    assert read_run_file(path)["settings"]["otlp"] == kept
    assert "cret" not in (path / "run.json").read_text(encoding="utf-8")
