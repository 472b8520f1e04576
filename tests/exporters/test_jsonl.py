"""JSON Lines: the spans of a run, one a line, as ``logs`` shows them."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from deepseek_prof.cli.app import build_app
from tests.support.drawn import EPOCH_NS, PID, write_drawn_run
from tests.support.exported import HOSTILE, exported, gpu_run, hostile_run, training_step


def test_a_training_step(tmp_path: Path) -> None:
    run_dir = write_drawn_run(tmp_path / "run", training_step)
    main = f'"rank": 0, "pid": {PID}, "tid": {PID}, "step": 0'
    net = '"phase": "forward", "layer": "net"'
    assert exported(run_dir, "jsonl").decode() == (
        f'{{"ts_ns": {EPOCH_NS}, "rank": 0, "pid": {PID}, "tid": 0, "step": 0, "phase": "other", "op": "step", '
        '"type": "other", "kind": "step", "dur_ns": 17000, "self_ns": 17000}\n'
        f'{{"ts_ns": {EPOCH_NS}, {main}, {net}, "op": "net", '
        '"type": "other", "kind": "layer", "dur_ns": 10000, "self_ns": 2000}\n'
        f'{{"ts_ns": {EPOCH_NS}, {main}, {net}, "op": "aten::linear", '
        '"type": "matmul", "kind": "op", "dur_ns": 8000, "self_ns": 2000}\n'
        f'{{"ts_ns": {EPOCH_NS}, {main}, {net}, "op": "aten::addmm", '
        '"type": "matmul", "kind": "op", "dur_ns": 6000, "self_ns": 6000}\n'
        f'{{"ts_ns": {EPOCH_NS + 10_000}, {main}, "phase": "backward", "layer": "net", "op": "AddmmBackward0", '
        '"type": "matmul", "kind": "autograd", "dur_ns": 5000, "self_ns": 5000}\n'
        f'{{"ts_ns": {EPOCH_NS + 15_000}, {main}, "phase": "optimizer", "op": "Optimizer.step#SGD.step", '
        '"type": "optimizer", "kind": "op", "dur_ns": 2000, "self_ns": 2000}\n'
    )


def test_lines_are_those_of_logs(tmp_path: Path) -> None:
    run_dir = write_drawn_run(tmp_path / "run", training_step, steps=3, ranks=2)
    shown = CliRunner().invoke(build_app(), ["logs", str(run_dir), "--format", "json", "--limit", "0"])
    assert shown.exit_code == 0
    assert sorted(exported(run_dir, "jsonl").decode().splitlines()) == sorted(shown.stdout.splitlines())


def test_a_query_selects(tmp_path: Path) -> None:
    run_dir = write_drawn_run(tmp_path / "run", training_step, steps=3)
    lines = exported(run_dir, "jsonl", "type:matmul step:1..2 -op:*linear").decode().splitlines()
    found = [json.loads(line) for line in lines]
    assert [(each["op"], each["step"]) for each in found] == [
        ("aten::addmm", 1),
        ("AddmmBackward0", 1),
        ("aten::addmm", 2),
        ("AddmmBackward0", 2),
    ]


def test_what_devices_know_stands_behind(tmp_path: Path) -> None:
    found = [json.loads(line) for line in exported(gpu_run(tmp_path), "jsonl").decode().splitlines()]
    (copy,) = (each for each in found if each["kind"] == "memcpy")
    assert (copy["device"], copy["stream"], copy["bytes"], copy["layer"]) == ("cuda:0", 7, 4096, "Linear_0")
    assert not any("device" in each for each in found if each["kind"] == "op")


def test_hostile_names_are_data(tmp_path: Path) -> None:
    data = exported(hostile_run(tmp_path / "run"), "jsonl")
    assert data.isascii()
    assert not set(data) & {*range(10), *range(11, 32), 127}
    found = [json.loads(line) for line in data.decode().split("\n")[:-1]]
    assert [each["op"] for each in found if each["kind"] == "op"] == list(HOSTILE)
    assert [each["layer"] for each in found if each["kind"] == "op"] == list(HOSTILE)
    assert {each["pid"] for each in found} == {PID}
