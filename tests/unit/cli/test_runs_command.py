"""``runs`` and ``recover``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deepseek_prof.cli.runs import local_time
from deepseek_prof.recording.converter import LOCK_NAME
from tests.support.drawn import EPOCH_NS, op, write_drawn_run
from tests.unit.cli.conftest import Cli


@pytest.fixture
def run(here: Path) -> Path:
    """A run that failed."""
    return write_drawn_run(
        here / ".deepseek-prof/train", lambda rank, step: (op("aten::mm", 5),), info={"exit_code": 3}
    )


def test_no_runs(cli: Cli) -> None:
    result = cli("runs")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "Record one: deepseek-prof run train.py" in result.stderr
    assert json.loads(cli("runs", "--format", "json").stdout) == []


def test_runs_newest_first(cli: Cli, run: Path) -> None:
    write_drawn_run(
        run.parent / "newer", info={"created_ns": EPOCH_NS + 10**10, "name": "n\x1bew", "status": "running"}
    )
    lines = cli("runs", columns=120).stdout.splitlines()
    assert [line.split()[0] for line in lines[2:]] == [r"n\x1bew", "train"]
    assert "finished (3)" in lines[3]
    assert local_time(EPOCH_NS) in lines[3]


def test_a_run_that_was_killed_says_so(cli: Cli, run: Path) -> None:
    write_drawn_run(run.parent / "killed", info={"exit_code": None, "signal": "SIGKILL"})
    (line,) = [line for line in cli("runs", columns=120).stdout.splitlines() if line.startswith("killed")]
    assert "finished (SIGKILL)" in line


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_the_table_fits(cli: Cli, run: Path, columns: int) -> None:
    write_drawn_run(run.parent / ("long-" * 30))
    lines = cli("runs", columns=columns).stdout.splitlines()
    assert max(len(line) for line in lines) <= columns


def test_a_damaged_run_is_listed(cli: Cli, run: Path) -> None:
    (run / "run.json").write_text("{")
    assert "damaged" in cli("runs").stdout


def test_json_has_stable_keys(cli: Cli, run: Path) -> None:
    (entry,) = json.loads(cli("runs", "--format", "json").stdout)
    assert list(entry) == [
        "path",
        "name",
        "script",
        "status",
        "created_ns",
        "ended_ns",
        "exit_code",
        "signal",
        "ranks",
        "spans",
        "size_bytes",
    ]
    assert (entry["path"], entry["exit_code"], entry["spans"]) == (str(run), 3, 2)


def test_runs_of_another_folder(cli: Cli, run: Path, here: Path) -> None:
    elsewhere = here / "elsewhere"
    write_drawn_run(elsewhere / "other")
    lines = cli("runs", "elsewhere").stdout.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["other"]


def test_an_unknown_moment_is_left_blank() -> None:
    assert local_time(0) == ""


def test_nothing_to_recover(cli: Cli, run: Path) -> None:
    result = cli("recover")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "deepseek-prof: nothing to recover in train: it is complete.\n"


def test_recover(cli: Cli, run: Path) -> None:
    (run / "live").mkdir()
    result = cli("recover", "train")
    assert result.exit_code == 0
    assert "recovered train: 2 spans. See them: deepseek-prof report train" in result.stderr
    assert not (run / "live").exists()
    assert json.loads((run / "run.json").read_text())["status"] == "recovered"


def test_a_run_that_is_being_recorded_is_left_alone(cli: Cli, run: Path) -> None:
    import fcntl

    (run / "live").mkdir()
    with (run / "live" / LOCK_NAME).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "it is still being recorded" in cli("recover").stderr
    assert (run / "live").is_dir()


def test_a_run_whose_recording_was_killed_is_interrupted_until_it_is_read(cli: Cli, run: Path) -> None:
    import fcntl

    killed = write_drawn_run(run.parent / "killed", info={"status": "running", "ended_ns": None})
    (killed / "live").mkdir()

    def status() -> str:
        return next(
            str(each["status"])
            for each in json.loads(cli("runs", "--format", "json").stdout)
            if each["name"] == "killed"
        )

    assert status() == "interrupted"
    assert "interrupted" in cli("runs", columns=120).stdout
    with (killed / "live" / LOCK_NAME).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert status() == "running"
    assert cli("top", "killed").exit_code == 0
    assert status() == "recovered"


def test_recover_of_no_run(cli: Cli) -> None:
    result = cli("recover", "none")
    assert result.exit_code == 2
    assert "No run called 'none'" in result.stderr
