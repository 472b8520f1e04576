"""Losses of real programs: the very bits that the program sees, and no trace of us in what it computes."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from tests.support.recording import Pair, open_run, record, run_both, run_cli, write_program

PROGRAMS = Path(__file__).parent / "programs"
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def losses(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return run_both([str(PROGRAMS / "losses.py")], tmp_path_factory.mktemp("losses"))


def counted(run_dir: Path) -> dict[str, list[float]]:
    with open_run(run_dir) as run:
        rows = run.rows("SELECT name, list(value ORDER BY ts_ns) FROM counters WHERE device = 'program' GROUP BY name")
    return dict(rows)


def test_the_program_computes_the_same_bits(losses: Pair) -> None:
    losses.assert_recorded()


def test_every_loss_is_recorded_with_its_bits_and_its_name(losses: Pair) -> None:
    told = json.loads(losses.bare.stdout)
    del told["weights"]
    found = counted(losses.run_dir)
    assert {name: [struct.pack("<d", each).hex() for each in values] for name, values in found.items()} == told
    assert "vector" not in found
    assert len(told) == 9


def test_a_gan_has_two_losses(tmp_path: Path) -> None:
    run_dir = record([str(EXAMPLES / "gan_digits.py"), "--steps", "40", "--width", "8"], tmp_path)
    found = counted(run_dir)
    assert {name: len(values) for name, values in found.items()} == {"discriminator_loss": 40, "generator_loss": 40}
    told = json.loads(run_cli("report", str(run_dir), "--format", "json").stdout)["quality"]
    assert [each["name"] for each in told] == ["discriminator_loss", "generator_loss"]
    assert told[0]["windows"][-1]["last_step"] == 39
    report = run_cli("report", str(run_dir)).stdout.decode()
    assert "Losses and metrics" in report
    assert "generator_loss" in report


def test_a_loss_that_is_nan_is_a_finding(tmp_path: Path) -> None:
    program = write_program(
        tmp_path,
        """
        import torch
        weight = torch.nn.Parameter(torch.ones(3))
        optimizer = torch.optim.SGD([weight], lr=0.1)
        for step in range(12):
            risk = weight.sum() * (float("nan") if step == 5 else 1.0)
            risk.backward()
            optimizer.step()
            optimizer.zero_grad()
        """,
    )
    run_dir = record([str(program)], tmp_path)
    content = json.loads(run_cli("report", str(run_dir), "--format", "json").stdout)
    (found,) = [each for each in content["findings"] if each["rule"] == "not-finite-loss"]
    assert found["title"] == "The loss became NaN or infinite in step 5"
    assert found["evidence"][0] == "risk was nan in step 5"
    with open_run(run_dir) as run:  # to read a loss is no operator
        assert run.rows("SELECT name FROM spans WHERE name SIMILAR TO 'aten::(item|_local_scalar_dense)'") == []
    (quality,) = content["quality"]
    assert (quality["not_finite"], quality["first_not_finite_step"]) == (7, 5)


def test_a_killed_program_keeps_what_was_written(tmp_path: Path) -> None:
    program = write_program(
        tmp_path,
        """
        import os, signal, time, torch
        weight = torch.nn.Parameter(torch.ones(3))
        for step in range(5):
            loss = weight.sum()
            loss.backward()
            time.sleep(0.06)  # longer than values wait to be written together
        os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    run_cli("run", "--output", str(tmp_path / "run"), str(program), cwd=tmp_path)
    assert counted(tmp_path / "run") == {"loss": [3.0] * 5}


def test_forked_workers_do_not_repeat_values(tmp_path: Path) -> None:
    program = write_program(
        tmp_path,
        """
        import os, torch
        weight = torch.nn.Parameter(torch.ones(3))
        weight.sum().backward()
        weight.prod().backward()
        child = os.fork()
        if not child:
            (weight * 2).sum().backward()
            import sys
            sys.exit(0)
        os.waitpid(child, 0)
        weight.mean().backward()
        """,
    )
    run_dir = record([str(program)], tmp_path)
    values = sorted(value for each in counted(run_dir).values() for value in each)
    assert values == [1.0, 1.0, 3.0, 6.0]
