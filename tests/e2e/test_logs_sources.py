"""Where events come from: data loaders, compilation, lack of memory, structlog, logging, programs that are killed."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.support.events import events
from tests.support.recording import record, run_both, run_cli, write_program


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
