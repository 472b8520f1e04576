"""A disk that fills up while we record: the program runs on, the run says what is missing, the rest is recovered."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
from pathlib import Path

import pytest

from deepseek_prof.recording.run_directory import SMALLEST_FREE_BYTES
from tests.support.recording import cli_command, environment, open_run, warnings_in, write_program

# In a mount namespace of its own, so that the small disk is gone with the command.
_MOUNT = 'mount -t tmpfs -o size="$1" tmpfs "$2" && shift 2 && exec "$@"'
_UNSHARE = ["unshare", "--mount", "--map-root-user"]

FILLS = """
    import os, sys
    import torch

    def fill(path):
        with open(path, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
            except OSError as error:
                return error.errno

    for index in range(60_000):
        if index == 2_000:
            print(fill(sys.argv[1]), flush=True)
        with torch.profiler.record_function("scope"):
            torch.ones(2)
    print("done", os.getpid(), flush=True)
"""


def _can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    words = [*_UNSHARE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def _on_disk(size_bytes: int, folder: Path, script: str, *words: str) -> subprocess.CompletedProcess[bytes]:
    """Run a shell script with ``words`` as its arguments, in a folder ``disk`` of that size."""
    disk = folder / "disk"
    disk.mkdir()
    inside = ["sh", "-c", script, "sh", *words]
    return subprocess.run(
        [*_UNSHARE, "sh", "-c", _MOUNT, "sh", str(size_bytes), str(disk), *inside],
        cwd=folder,
        env=environment(),
        capture_output=True,
        check=False,
    )


@pytest.fixture
def small_disk() -> None:
    """Skips where a small disk cannot be mounted."""
    if not _can_mount():
        pytest.skip("mounting a small disk is not permitted here")


@pytest.mark.usefixtures("small_disk")
def test_program_runs_on_and_the_run_says_what_is_missing(tmp_path: Path) -> None:
    program = write_program(tmp_path, FILLS)
    # After the program: what a user sees, then room again, the recovery, and the run carried out of the namespace.
    recover = " ".join(cli_command("recover", "disk/run"))
    script = (
        '"$@"; status=$?; cp disk/run/run.json before.json; rm disk/filler; '
        f"{recover} >&2 || exit 99; cp -r disk/run run; exit $status"
    )
    words = cli_command("run", "--output", "disk/run", str(program), "disk/filler")
    done = _on_disk(SMALLEST_FREE_BYTES + (8 << 20), tmp_path, script, *words)
    assert done.returncode == 0, done.stderr.decode()
    errno_line, done_line = done.stdout.splitlines()
    assert errno_line == b"28"
    assert done_line.startswith(b"done ")
    assert b"Traceback" not in done.stderr
    assert any("space" in warning for warning in warnings_in(done.stderr)), done.stderr.decode()
    assert json.loads((tmp_path / "before.json").read_text())["schema_version"] == 1
    with open_run(tmp_path / "run") as run:
        kept = run.rows("SELECT count(*) FROM spans WHERE name = 'scope'")[0][0]
        assert 2_000 <= kept < 60_000
        all_kept = run.rows("SELECT count(*) FROM spans")[0][0]
        assert sum(entry["spans"] for entry in run.info["dropped"]) >= (60_000 - kept) * 2
        assert all_kept == run.info["spans"]["count"]
        assert all(entry["reason"] for entry in run.info["dropped"])


@pytest.mark.usefixtures("small_disk")
def test_disk_that_is_full_already_is_told_before_the_program_starts(tmp_path: Path) -> None:
    program = write_program(tmp_path, "open('started', 'w')\n")
    words = cli_command("run", "--output", "disk/run", str(program))
    done = _on_disk(SMALLEST_FREE_BYTES - (1 << 20), tmp_path, '"$@"', *words)
    assert done.returncode == 4
    (line,) = done.stderr.decode().splitlines()
    assert "free" in line
    assert not (tmp_path / "started").exists()


def test_file_size_limit_below_a_segment(tmp_path: Path) -> None:
    program = write_program(tmp_path, "import torch\nfor _ in range(3000):\n    torch.ones(2)\nprint('done')\n")
    done = subprocess.run(
        cli_command("run", "--output", "run", str(program)),
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100 << 10, 100 << 10)),
    )
    assert (done.returncode, done.stdout) == (0, b"done\n"), done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert warnings_in(done.stderr)
