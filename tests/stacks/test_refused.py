"""Where py-spy may not read a process, the process samples itself, and the run says which one it was and why."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from deepseek_prof.analysis.stacks import stack_sums
from deepseek_prof.collectors.python_stacks import find_py_spy, why_refused
from deepseek_prof.recording.recover import recover
from tests.stacks.conftest import PROGRAMS, stacks_of
from tests.support.recording import cli_command, environment, open_run, run_words, warnings_in, write_program

WITHOUT_POWER = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"] if os.geteuid() == 0 else []
"""Root reads every process; without this one right, it is as any user."""
PR_SET_DUMPABLE = 4


@pytest.fixture
def undumpable(tmp_path: Path) -> Path:
    """programs/slow_layer.py in a process that nobody without special rights may read."""
    return write_program(
        tmp_path,
        f"""
        import ctypes, runpy
        ctypes.CDLL(None).prctl({PR_SET_DUMPABLE}, 0, 0, 0, 0)
        runpy.run_path({str(PROGRAMS / "slow_layer.py")!r}, run_name="__main__")
        """,
    )


def test_a_process_that_dropped_dumpability_samples_itself(undumpable: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    command = cli_command("run", "--python-stacks", "--output", str(run_dir), str(undumpable))
    done = run_words([*WITHOUT_POWER, *command], tmp_path)
    assert done.returncode == 0
    stacks = stacks_of(run_dir)
    assert stacks["sampler"] == "in-process"
    assert "ptrace is refused" in stacks["reason"]
    (warning,) = warnings_in(done.stderr)
    assert "ptrace is refused" in warning
    assert "deepseek-prof doctor" in warning
    with open_run(run_dir) as run:
        rows = run.rows(
            "SELECT layer, phase, count(*) FROM samples WHERE stack LIKE '%Slow.backward (%busy (%' "
            "GROUP BY ALL ORDER BY 3 DESC"
        )
        frames = {frame for each in stack_sums(run) for frame in each.frames}
        assert run.rows("SELECT count(DISTINCT tid) FROM samples") == [(1,)]
        assert run.rows("SELECT count(*) FROM samples s JOIN spans USING (rank, pid, tid)")[0][0] > 0
    assert rows[0][:2] == ("slow", "backward")
    assert rows[0][2] > 20
    assert not [frame for frame in frames if "_stack_work" in frame or "layers.py" in frame]


def test_a_process_that_shuts_py_spy_out_later_goes_on_by_itself(tmp_path: Path) -> None:
    program = write_program(
        tmp_path,
        f"""
        import ctypes, time
        import torch

        def busy(seconds):
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                torch.ones(100).sum()

        def open_to_it():
            busy(1.5)

        def shut():
            busy(3)

        open_to_it()
        ctypes.CDLL(None).prctl({PR_SET_DUMPABLE}, 0, 0, 0, 0)
        shut()
        """,
    )
    run_dir = tmp_path / "run"
    command = cli_command("run", "--record", "layers", "--python-stacks", "--output", str(run_dir), str(program))
    done = run_words([*WITHOUT_POWER, *command], tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    assert stacks_of(run_dir)["sampler"] == "py-spy and in-process"
    with open_run(run_dir) as run:
        counts = dict(
            run.rows("SELECT regexp_extract(stack, '(open_to_it|shut) \\(', 1) AS f, count(*) FROM samples GROUP BY f")
        )
    assert 60 < counts["open_to_it"] < 160  # what py-spy saw last does not go on
    assert counts["shut"] > 60


def test_the_probe_of_doctor_finds_that_out(monkeypatch: pytest.MonkeyPatch) -> None:
    program = find_py_spy()
    assert program is not None
    assert why_refused(program) is None
    assert "failed" in str(why_refused("/bin/false"))


def test_a_run_whose_recorder_was_killed_keeps_its_samples(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    program = write_program(
        tmp_path,
        f"""
        import os, runpy
        print(os.getpid(), flush=True)
        runpy.run_path({str(PROGRAMS / "slow_layer.py")!r}, run_name="__main__")
        print("killed", flush=True)
        os.kill(os.getppid(), 9)
        """,
    )
    command = cli_command("run", "--python-stacks", "--output", str(run_dir), str(program))
    with subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert parent.stdout.read() == "killed\n"  # the program holds it open until it has ended
    assert parent.returncode == -signal.SIGKILL
    recover(run_dir)
    assert not _is_running(pid)
    with open_run(run_dir) as run:
        assert run.info["status"] == "recovered"
        assert run.info["stacks"]["sampler"] == "py-spy"
        ((count,),) = run.rows(
            "SELECT count(*) FROM samples WHERE layer = 'slow' AND phase = 'backward' AND stack LIKE '%busy (%'"
        )
    assert count > 20


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
