"""``logs --follow``: what is new is shown while the program runs, until it ends."""

from __future__ import annotations

import fcntl
import json
import subprocess
from pathlib import Path
from typing import Any

from deepseek_prof.recording.converter import LOCK_NAME
from deepseek_prof.trace.run_file import update_run_file
from tests.support.live import OFFSET_NS, make_run
from tests.support.recording import cli_command, environment, write_program


def test_follow_shows_what_is_new_until_the_run_ends(tmp_path: Path) -> None:
    """The program goes on only when its last event has been seen: each is shown while it runs."""
    write_program(
        tmp_path,
        """
        import torch
        import deepseek_prof

        torch.ones(1) + 1
        print("ready", flush=True)
        for number in range(3):
            input()
            torch.mm(torch.ones(2, 2), torch.ones(2, 2))
            deepseek_prof.log.info("told", number=number)
        input()
        """,
    )
    piped: dict[str, Any] = {"cwd": tmp_path, "env": environment(), "stdout": subprocess.PIPE, "text": True}
    command = cli_command("run", "--quiet", "--output", "run", "program.py")
    with subprocess.Popen(command, stdin=subprocess.PIPE, **piped) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        query = "event:run_start,told,run_end or op:mm"
        command = cli_command("logs", "./run", "--follow", query, "--format", "json", "--fields", "event,op,number")
        with subprocess.Popen(command, **piped) as follower:
            assert follower.stdout is not None
            assert json.loads(follower.stdout.readline())["event"] == "run_start"
            for number in range(3):
                program.stdin.write("\n")
                program.stdin.flush()
                rows = [json.loads(follower.stdout.readline()) for _ in range(2)]
                assert sorted((row["op"] or "", row["number"]) for row in rows) == [("", number), ("aten::mm", None)]
            program.stdin.write("\n")
            program.stdin.flush()
            assert [json.loads(line)["event"] for line in follower.stdout] == ["run_end"]
        assert follower.returncode == 0
    assert program.returncode == 0


def test_follow_tells_ranks_from_the_second_one_on(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    query = "event:run_start,told"

    def tell(rank: int, number: int) -> None:
        folder = run / "live" / f"{rank + 1}-10"
        folder.mkdir(exist_ok=True)
        (folder / "process.json").write_text(json.dumps({"pid": rank + 1, "rank": rank}))
        event = {"ts_ns": OFFSET_NS + number, "level": "info", "event": "told", "fields": {"number": number}}
        with (folder / "events-00000.jsonl").open("a") as file:
            file.write(f"{json.dumps(event)}\n")

    with (run / "live" / LOCK_NAME).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        tell(0, 0)
        command = cli_command("logs", "./run", "--follow", query)
        with subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True) as follower:
            assert follower.stdout is not None
            shown = [follower.stdout.readline()]
            for number, rank in ((1, 1), (2, 0)):
                tell(rank, number)
                shown.append(follower.stdout.readline())
            update_run_file(run, status="finished")
    told = [line.split()[1:] for line in shown]
    assert told == [
        ["info", "told", "number=0"],
        ["r1", "info", "told", "number=1"],
        ["r0", "info", "told", "number=2"],
    ]
    assert follower.returncode == 0
