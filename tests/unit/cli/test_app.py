"""The command as a process: exit statuses, what it imports, and readers that end before it does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from deepseek_prof.cli import app
from deepseek_prof.errors import DeepseekProfError, OutputError, RecorderError, RunDamagedError, UsageError
from tests.support.drawn import op, write_drawn_run
from tests.unit.cli.conftest import Cli

COMMANDS = ("run", "report", "top", "runs", "recover", "doctor")


def _process(*words: str, cwd: Path, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deepseek_prof", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def big_run(here: Path) -> Path:
    """A run of which every table is longer than a pipe holds."""
    names = [f"op::{'x' * 100}{index}" for index in range(2_000)]
    return write_drawn_run(here / ".deepseek-prof" / "run", lambda rank, step: [op(name, 5) for name in names])


def test_help_names_every_command(cli: Cli) -> None:
    result = cli("--help")
    assert result.exit_code == 0
    assert all(f"\n  {command} " in result.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(cli: Cli, command: str) -> None:
    result = cli(command, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.stdout


def test_help_imports_nothing_that_takes_long() -> None:
    heavy = ("torch", "duckdb", "pyarrow", "numpy", "rich", "psutil", "structlog", "lark", "pandas")
    code = (
        "import sys\nsys.argv = ['deepseek-prof', '--help']\nfrom deepseek_prof.cli.app import main\n"
        f"try:\n    main()\nfinally:\n    print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage: deepseek-prof" in done.stdout
    assert done.stderr == "[]\n"


def test_report_imports_no_torch(here: Path) -> None:
    write_drawn_run(here / ".deepseek-prof" / "run", lambda rank, step: (op("aten::mm", 5),))
    code = (
        "import sys\nsys.argv = ['deepseek-prof', 'report']\nfrom deepseek_prof.cli.app import main\n"
        "try:\n    main()\nfinally:\n    print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Run run")
    assert done.stderr == "False\n"


def test_version(cli: Cli) -> None:
    assert cli("--version").stdout.startswith("deepseek-prof ")


@pytest.mark.parametrize("words", [("nonsense",), ("report", "--nonsense"), ("top", "--limit", "x"), ("--nonsense",)])
def test_an_unknown_word_is_a_usage_error(cli: Cli, words: tuple[str, ...]) -> None:
    result = cli(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Usage:" in result.stderr


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (DeepseekProfError("x"), 1),
        (UsageError("x"), 2),
        (RunDamagedError("x"), 3),
        (OutputError("x"), 4),
        (RecorderError("x"), 5),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_become_exit_statuses(error: BaseException, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        raise error

    with pytest.raises(typer.Exit) as caught:
        app._guarded(command)()
    assert caught.value.exit_code == status
    assert capsys.readouterr().err == ("" if status == 130 else "deepseek-prof: x\n")


def test_other_errors_are_not_hidden() -> None:
    def command() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        app._guarded(command)()


def test_a_message_shows_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        raise UsageError("no \x1b[31mrun\nsecond line")

    with pytest.raises(typer.Exit):
        app._guarded(command)()
    assert capsys.readouterr().err == "deepseek-prof: no \\x1b[31mrun\nsecond line\n"


@pytest.mark.parametrize(
    "words", [("top", "-n", "0"), ("top", "-n", "0", "--format", "csv"), ("top", "-n", "0", "--format", "json")]
)
def test_a_reader_that_has_read_enough_ends_it_quietly(big_run: Path, words: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "deepseek_prof", *words]
    with subprocess.Popen(
        command, cwd=big_run.parents[1], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


@pytest.mark.parametrize("words", [("report",), ("runs",), ("report", "--format", "json")])
def test_a_reader_that_reads_nothing_ends_it_quietly(big_run: Path, words: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "deepseek_prof", *words]
    with os.fdopen(writing, "wb") as stdout:
        done = subprocess.run(
            command, cwd=big_run.parents[1], stdout=stdout, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("words", [("top",), ("top", "-n", "0", "--format", "csv"), ("report",), ("logs",)])
def test_output_to_a_full_disk_is_a_message(big_run: Path, words: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "deepseek_prof", *words]
    with Path("/dev/full").open("wb") as stdout:
        done = subprocess.run(
            command, cwd=big_run.parents[1], stdout=stdout, stderr=subprocess.PIPE, text=True, check=False
        )
    message = "deepseek-prof: the output is not complete: No space left on device. Make room and try again.\n"
    assert (done.returncode, done.stderr) == (4, message)


def test_without_standard_output_nothing_is_written(big_run: Path) -> None:
    command = ["sh", "-c", f"exec {sys.executable} -m deepseek_prof top >&-"]
    done = subprocess.run(command, cwd=big_run.parents[1], stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_process_ends_with_the_status_of_the_error(here: Path) -> None:
    done = _process("report", cwd=here)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("deepseek-prof: No run in ")
    assert "Traceback" not in done.stderr


def test_names_that_the_encoding_lacks_do_not_break_it(here: Path) -> None:
    write_drawn_run(here / ".deepseek-prof" / "run", lambda rank, step: (op("名前", 5),))
    done = subprocess.run(
        [sys.executable, "-m", "deepseek_prof", "top"],
        cwd=here,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "\\u540d\\u524d" in done.stdout
