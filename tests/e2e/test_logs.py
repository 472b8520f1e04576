"""Events of a real training: told where they happen, beside what the program prints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.events import events, place
from tests.support.recording import cli_command, environment, open_run, run_both, write_program

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
