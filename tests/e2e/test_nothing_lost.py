"""What was finished before a kill is in the run, whoever is killed, and a run never replaces another."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.recording import cli_command, environment, open_run, run_cli, write_program

# Each finished scope is told to the pipe that the test reads: bytes in a pipe outlive their writer.
WITNESS = """
    import os, sys, threading
    print(os.getpid(), flush=True)
    import torch

    def work(letter):
        a, b = torch.ones(4, 4), torch.ones(4, 4)
        while True:
            with torch.profiler.record_function(f"scope {letter}"):
                torch.mm(a, b).relu()
            os.write(1, letter.encode())

    torch.set_num_threads(1)
    for letter in "bc":
        threading.Thread(target=work, args=(letter,), daemon=True).start()
    work("a")
"""

STEPS = """
    import os
    import torch
    net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.001)
    print(os.getpid(), flush=True)
    while True:
        net(torch.ones(4, 8)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        os.write(1, b"s")
"""

Kill = Callable[["subprocess.Popen[bytes]", int], None]


def _kill_program(_process: subprocess.Popen[bytes], pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def _kill_parent_first(process: subprocess.Popen[bytes], pid: int) -> None:
    process.kill()
    process.wait()
    os.kill(pid, signal.SIGKILL)


def _kill_all_at_once(process: subprocess.Popen[bytes], _pid: int) -> None:
    os.killpg(process.pid, signal.SIGKILL)


def _run_until(folder: Path, code: str, told: int, kill: Kill) -> tuple[Counter[str], subprocess.Popen[bytes]]:
    """Record ``code`` into ``folder/run`` until it has told ``told`` letters, then kill; returns all it had told."""
    program = write_program(folder, code)
    with subprocess.Popen(
        cli_command("run", "-q", "--output", "run", str(program)),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            pid = int(process.stdout.readline())
            letters = process.stdout.read(told)
            assert len(letters) == told
            kill(process, pid)
            letters += process.stdout.read()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return Counter(letters.decode()), process


def _assert_all_scopes(run_dir: Path, told: Counter[str]) -> None:
    with open_run(run_dir) as run:
        assert run.info["dropped"] == []
        found = dict(run.rows("SELECT right(name, 1), count(*) FROM spans WHERE name LIKE 'scope %' GROUP BY name"))
        products = run.rows("SELECT count(*) FROM spans WHERE name = 'aten::mm'")[0][0]
        # A scope may have finished that its thread could not tell any more.
        assert all(count <= found.get(letter, 0) <= count + 1 for letter, count in told.items()), (found, told)
        assert sum(told.values()) <= products <= sum(told.values()) + 3
        assert run.rows("SELECT count(*) FROM spans WHERE dur_ns < 0 OR self_ns < 0 OR self_ns > dur_ns") == [(0,)]


@pytest.mark.parametrize("seed", range(6))
def test_program_killed_at_a_random_moment(seed: int, tmp_path: Path) -> None:
    told, process = _run_until(tmp_path, WITNESS, random.Random(seed).randint(1, 9000), _kill_program)
    assert process.returncode == -signal.SIGKILL
    with open_run(tmp_path / "run") as run:
        assert (run.info["status"], run.info["signal"], run.info["exit_code"]) == ("finished", "SIGKILL", None)
    _assert_all_scopes(tmp_path / "run", told)


def test_program_killed_while_it_starts(tmp_path: Path) -> None:
    told, process = _run_until(tmp_path, WITNESS, 0, _kill_program)
    assert process.returncode == -signal.SIGKILL
    assert told.total() == 0
    with open_run(tmp_path / "run") as run:
        assert run.info["status"] == "finished"


def test_finished_steps_of_a_killed_program(tmp_path: Path) -> None:
    told, _ = _run_until(tmp_path, STEPS, 700, _kill_program)
    with open_run(tmp_path / "run") as run:
        steps = [step for (step,) in run.rows("SELECT step FROM spans WHERE kind = 'step' ORDER BY step")]
        assert steps == list(range(len(steps)))
        assert told["s"] <= len(steps) <= told["s"] + 1
        whole = run.rows("SELECT count(*) FROM spans WHERE name = 'Optimizer.step#SGD.step'")[0][0]
        assert told["s"] <= whole <= told["s"] + 1


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kill", [_kill_parent_first, _kill_all_at_once])
def test_parent_killed_too(kill: Kill, seed: int, tmp_path: Path) -> None:
    told, _ = _run_until(tmp_path, WITNESS, random.Random(100 + seed).randint(1, 9000), kill)
    run_dir = tmp_path / "run"
    assert (run_dir / "live").is_dir()
    readers = [["recover", "run"], ["report", "run"], ["top", "--run", "run", "--format", "json"]]
    reader = readers[seed % len(readers)]
    done = run_cli(*reader, cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    with open_run(run_dir) as run:
        assert run.info["status"] == "recovered"
    _assert_all_scopes(run_dir, told)
    assert not (run_dir / "live").exists()


def test_recovery_that_is_killed_itself_loses_and_repeats_nothing(tmp_path: Path) -> None:
    told, _ = _run_until(tmp_path, WITNESS, 5000, _kill_all_at_once)
    for _ in range(3):
        with subprocess.Popen(
            cli_command("recover", "run"), cwd=tmp_path, env=environment(), stderr=subprocess.PIPE
        ) as process:
            run_parts = tmp_path / "run" / "spans"
            while process.poll() is None and not any(run_parts.rglob("*")):
                continue
            process.kill()
    done = run_cli("recover", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    _assert_all_scopes(tmp_path / "run", told)


def test_existing_run_directory_is_refused_before_the_program_starts(tmp_path: Path) -> None:
    program = write_program(tmp_path, "open('started', 'w')\n")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("years of work")
    done = run_cli("run", "--output", "run", program.name, cwd=tmp_path)
    assert done.returncode == 4
    (line,) = done.stderr.decode().splitlines()
    assert "run" in line
    assert "exists" in line
    assert not (tmp_path / "started").exists()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("output", ["/proc/run", "a file/run"])
def test_folder_that_cannot_be_written_is_told_before_the_program_starts(output: str, tmp_path: Path) -> None:
    program = write_program(tmp_path, "open('started', 'w')\n")
    (tmp_path / "a file").touch()
    done = run_cli("run", "--output", output, program.name, cwd=tmp_path)
    assert done.returncode == 4
    (line,) = done.stderr.decode().splitlines()
    assert output.split("/")[-2] in line
    assert not (tmp_path / "started").exists()


def test_two_runs_of_the_same_second_have_folders_of_their_own(tmp_path: Path) -> None:
    write_program(tmp_path, "import torch\ntorch.ones(1).sum()\n")
    words = cli_command("run", "-q", "program.py")
    started = [subprocess.Popen(words, cwd=tmp_path, env=environment()) for _ in range(2)]
    assert [process.wait() for process in started] == [0, 0]
    runs = [path for path in (tmp_path / ".deepseek-prof").iterdir() if path.is_dir()]
    assert len(runs) == 2
    for path in runs:
        with open_run(path) as run:
            assert len(run.processes) == 1


def test_program_that_removes_the_run_directory_runs_on(tmp_path: Path) -> None:
    program = write_program(
        tmp_path,
        """
        import shutil, torch
        torch.ones(2).sum()
        shutil.rmtree("run")
        for _ in range(30_000):
            torch.ones(2).sum()
        print("done")
        """,
    )
    done = run_cli("run", "--output", "run", program.name, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"done\n")
    assert b"Traceback" not in done.stderr
    assert b"deepseek-prof: warning: " in done.stderr
    shutil.rmtree(tmp_path / "run", ignore_errors=True)
