"""Events of real programs: told where they happen, beside what the program prints, and followed while it runs."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deepseek_prof.recording.converter import LOCK_NAME
from deepseek_prof.trace.run_file import update_run_file
from tests.support.live import OFFSET_NS, make_run
from tests.support.recording import cli_command, environment, open_run, record, run_both, run_cli, write_program

TRAINING = """
    import logging, sys, time, warnings
    import torch
    import deepseek_prof

    class Inner(torch.nn.Module):
        def forward(self, x):
            if step == 4:
                logging.getLogger("my.app").warning("in %s", "inner", extra={"batch": 7})
                logging.getLogger("my.app").debug("below its level")
                warnings.warn("odd [bold] \\x1b[31m")
                with warnings.catch_warnings(record=True):
                    warnings.warn("kept by the program")
            return x.relu()

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Linear(8, 8)
            self.inner = Inner()
            self.last = torch.nn.Linear(8, 1)

        def forward(self, x):
            return self.last(self.inner(self.first(x)))

    class Hook(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            if step == 5:
                deepseek_prof.log.info("in backward", share=0.5, tensor=torch.tensor(3))
            return gradient

    silenced = logging.getLogger("silenced")
    silenced.propagate = False
    silenced.addHandler(logging.NullHandler())
    silenced.warning("told to nobody")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stdout)
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), 0.01)
    for step in range(15):
        if step == 7:
            net.last.weight.data.fill_(float("nan"))
        optimizer.zero_grad()
        Hook.apply(net(torch.randn(4, 8))).sum().backward()
        if step == 12:
            time.sleep(0.4)
        optimizer.step()
    deepseek_prof.log.warning("epoch done", accuracy=0.93)
"""


def events(run_dir: Path, query: str) -> list[dict[str, Any]]:
    """What ``logs`` selects, as JSON."""
    done = run_cli("logs", str(run_dir), "--query", query, "--format", "json", "--limit", "0")
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


def place(row: dict[str, Any]) -> tuple[Any, ...]:
    return row.get("step"), row.get("phase"), row.get("layer")


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs")
    write_program(folder, TRAINING)
    pair = run_both(["program.py"], folder)
    pair.assert_recorded()
    return pair.run_dir


def test_records_of_logging_carry_the_place_where_they_were_emitted(training: Path) -> None:
    (row,) = events(training, "event:log")
    assert place(row) == (4, "forward", "inner")
    assert row["level"] == "warning"
    assert row["fields"]["message"] == "in inner"
    assert row["fields"]["logger"] == "my.app"
    assert row["fields"]["batch"] == 7
    assert row["fields"]["source"].endswith("program.py:8")


def test_warnings_that_are_shown_are_noted_and_kept_ones_are_not(training: Path) -> None:
    (row,) = events(training, "event:warning")
    assert place(row) == (4, "forward", "inner")
    assert row["fields"]["message"] == "odd [bold] \x1b[31m"
    assert row["fields"]["category"] == "UserWarning"


def test_the_programs_own_events(training: Path) -> None:
    (inside,) = events(training, "event:in*backward")
    assert place(inside)[:2] == (5, "backward")
    assert inside["fields"] == {"share": 0.5, "tensor": 3}
    (after,) = events(training, 'event:"epoch done"')
    assert (after["level"], after["fields"]) == ("warning", {"accuracy": 0.93})


def test_a_loss_that_is_nan_is_told_at_its_step(training: Path) -> None:
    first = events(training, "event:nan_loss")[0]
    assert place(first) == (7, "backward", None)
    assert first["fields"]["value"] == "nan"
    assert first["level"] == "error"


def test_a_slow_step_and_the_run_itself_are_told(training: Path) -> None:
    assert 12 in [row["step"] for row in events(training, "event:slow_step")]
    names = [row["event"] for row in events(training, "event:run_*,process_*,step_summary")]
    assert names[0] == "run_start"
    assert names[-1] == "run_end"
    assert {"process_start", "process_end", "step_summary"} <= set(names)


def test_to_look_at_a_loss_runs_no_operator(training: Path) -> None:
    with open_run(training) as run:
        assert run.rows("SELECT count(*) FROM spans WHERE name IN ('aten::item', 'aten::isnan') AND step < 4") == [(0,)]


def test_without_a_recorder_the_log_does_nothing(tmp_path: Path) -> None:
    program = "import deepseek_prof; deepseek_prof.log.error('x', a=1); print('went on')"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("went on\n", "")
    assert list(tmp_path.iterdir()) == []


def test_stalls_workers_and_compilation(tmp_path: Path) -> None:
    write_program(
        tmp_path,
        """
        import time
        import torch

        class Slow(torch.utils.data.Dataset):
            def __len__(self):
                return 8

            def __getitem__(self, index):
                time.sleep(0.05)
                return torch.ones(4)

        net = torch.nn.Linear(4, 4)
        for workers in (0, 1):
            for batch in torch.utils.data.DataLoader(Slow(), batch_size=2, num_workers=workers):
                net(batch)

        @torch.compile(backend="eager", dynamic=False)
        def function(x):
            y = x + 1
            torch._dynamo.graph_break()
            return y * 2

        function(torch.ones(3))
        function(torch.ones(4))
        try:
            torch.empty(1 << 60)
            torch.nn.Sequential(torch.nn.Linear(1, 1)).forward = None
        except RuntimeError:
            pass

        class Large(torch.nn.Module):
            def forward(self, x):
                return torch.empty(1 << 50)

        try:
            Large()(1)
        except RuntimeError:
            pass
        """,
    )
    run_dir = record(["program.py"], tmp_path)
    stall = events(run_dir, "event:dataloader_stall")[0]
    assert stall["fields"]["wait_ns"] >= 100_000_000
    assert [row["event"] for row in events(run_dir, "event:worker_*")] == ["worker_start", "worker_end"]
    assert events(run_dir, "event:graph_break")
    assert events(run_dir, "event:recompile")[0]["fields"]["compile_id"].endswith("/1")
    (oom,) = events(run_dir, "event:oom")
    assert oom["layer"] == "Large"


def test_structlog_is_noted_and_prints_as_before(tmp_path: Path) -> None:
    write_program(
        tmp_path,
        """
        import torch
        import structlog

        structlog.configure(
            processors=[structlog.processors.KeyValueRenderer()],
            wrapper_class=structlog.make_filtering_bound_logger(20),
        )
        log = structlog.get_logger().bind(user="me")

        class Net(torch.nn.Linear):
            def forward(self, x):
                log.debug("filtered")
                log.warning("told", number=3)
                return super().forward(x)

        Net(4, 4)(torch.ones(2, 4))
        """,
    )
    pair = run_both(["program.py"], tmp_path)
    pair.assert_recorded()
    assert events(pair.run_dir, "event:filtered") == []
    (row,) = events(pair.run_dir, "event:told")
    assert (row["level"], row["layer"], row["fields"]) == ("warning", "Net", {"user": "me", "number": 3})


def test_handlers_that_fail_and_filters_print_as_before(tmp_path: Path) -> None:
    write_program(
        tmp_path,
        """
        import logging
        import torch

        class Fails(logging.Handler):
            def emit(self, record):
                try:
                    raise ValueError("no")
                except ValueError:
                    self.handleError(record)

        class Filter(logging.Filter):
            def filter(self, record):
                return "secret" not in record.getMessage()

        torch.ones(1) + 1
        log = logging.getLogger("x")
        log.addHandler(Fails())
        log.addFilter(Filter())
        log.warning("one %d", 1)
        log.warning("secret")
        log.warning("does not fit %d", "text")
        logging.basicConfig()
        print(logging.getLogger().handlers, logging.Logger.filter.__name__)
        """,
    )
    pair = run_both(["program.py"], tmp_path)
    assert pair.recorded.returncode == pair.bare.returncode
    assert [row["fields"]["message"] for row in events(pair.run_dir, "event:log")] == ["one 1"]
    shown = [done.stderr.decode().count("Logging error") for done in (pair.bare, pair.recorded)]
    assert shown[0] == shown[1] > 0


def test_a_killed_program_loses_no_event_that_it_told(tmp_path: Path) -> None:
    write_program(
        tmp_path,
        """
        import os, signal
        import torch
        import deepseek_prof

        torch.ones(1) + 1
        for number in range(500):
            deepseek_prof.log.info("told", number=number)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    done = run_cli("run", "--output", "run", "program.py", cwd=tmp_path)
    assert done.returncode == -signal.SIGKILL
    rows = events(tmp_path / "run", "event:told")
    assert [row["fields"]["number"] for row in rows] == list(range(500))


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


def test_a_reader_that_has_enough_ends_it_quietly(training: Path) -> None:
    command = cli_command("logs", str(training), "--limit", "0")
    reading, writing = os.pipe()
    with subprocess.Popen(command, stdout=writing, stderr=subprocess.PIPE, env=environment()) as logs:
        os.close(writing)
        os.read(reading, 10)
        os.close(reading)
        _, stderr = logs.communicate()
    assert stderr == b""
    assert logs.returncode == 0
