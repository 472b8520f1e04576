"""``python -m benchmarks.gpu_acceptance``: what of it needs no GPU."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu_acceptance, gpu_checks
from benchmarks.gpu_acceptance import Bench
from benchmarks.gpu_checks import Check
from benchmarks.results import BenchmarkError
from deepseek_prof.model import Kind, Phase
from deepseek_prof.recording.device_format import DeviceActivities, write_activities
from tests.support.live import add_process, finish, make_run

ROUNDS = [
    {"bare": 0.010, "full": 0.0104, "light": 0.01005, "profiler": 0.014},
    {"bare": 0.020, "full": 0.0208, "light": 0.02010, "profiler": 0.028},
    {"bare": 0.010, "full": 0.0104, "light": 0.01005, "profiler": 0.014},
]


def test_ratios_are_of_the_same_round() -> None:
    full = gpu_checks.ratio_check("x", ROUNDS, "full", 1.05)
    assert full.found.startswith("1.040 ×")
    assert full.passed
    assert not gpu_checks.ratio_check("x", ROUNDS, "full", 1.03).passed


def test_added_time_is_compared_with_half_of_torch_profilers() -> None:
    assert gpu_checks.added_check("x", ROUNDS).passed
    slow = [{**each, "full": each["bare"] + 0.6 * (each["profiler"] - each["bare"])} for each in ROUNDS]
    assert not gpu_checks.added_check("x", slow).passed
    # Where torch.profiler adds nothing there is nothing to be half of.
    free = [{**each, "profiler": each["bare"]} for each in ROUNDS]
    assert not gpu_checks.added_check("x", free).passed


@pytest.mark.parametrize(("kernels", "passed"), [(1000, True), (1009, True), (1011, False), (0, False)])
def test_totals_are_within_a_percent(kernels: int, passed: bool) -> None:
    theirs = {"kernels": 1000.0, "kernel_ns": 5e6}
    counted, timed = gpu_checks.totals_checks("x", {"kernels": float(kernels), "kernel_ns": 5.04e6}, theirs)
    assert counted.passed is passed
    assert timed.passed
    assert not gpu_checks.totals_checks("x", theirs, {"kernels": 0.0, "kernel_ns": 0.0})[0].passed


def test_layers_are_asked_of_forward_and_backward() -> None:
    ours = {"in_layer_ns": 98.5, "model_ns": 100.0, "kernel_total_ns": 110.0}
    check = gpu_checks.layer_check("x", ours, 0.98)
    assert (check.passed, check.found) == (True, "98.5%")
    assert "89.5%" in check.note
    assert not gpu_checks.layer_check("x", {**ours, "in_layer_ns": 97.0}, 0.98).passed


def test_memory_that_grows_is_found_and_a_short_watch_is_told() -> None:
    flat = [(float(second), 1e9 if second > 10 else 5e8) for second in range(61)]
    assert gpu_checks.memory_check("x", flat).passed
    assert "60 s" in gpu_checks.memory_check("x", flat).note
    growing = [(float(second), 1e9 + 2e6 * second) for second in range(61)]
    assert gpu_checks.memory_check("x", growing).passed is False
    assert gpu_checks.memory_check("x", flat[:3]).passed is None


def test_a_stage_that_fails_is_a_line_and_the_next_one_runs(tmp_path: Path) -> None:
    def fails(_: Bench) -> list[Check]:
        raise BenchmarkError("no | luck")

    def passes(_: Bench) -> list[Check]:
        return [Check("b", "bar", "found", True)]

    found = gpu_acceptance.run_stages(Bench(tmp_path, time.monotonic() + 60), [("a", fails), ("b", passes)])
    assert [each.passed for each in found] == [False, True]
    late = gpu_acceptance.run_stages(Bench(tmp_path, time.monotonic() - 1), [("a", passes)])
    assert [each.passed for each in late] == [None]
    text = gpu_checks.markdown("GPU", "versions", [*found, *late])
    rows = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert len(rows) == 3
    assert "no \\| luck" in rows[0]
    assert "**no**" in rows[0]


def test_both_files_are_written(tmp_path: Path) -> None:
    found = [Check("a", "bar", "1", True), Check("b", "bar", "2", False, "note")]
    gpu_acceptance.write_results(tmp_path / "r.json", tmp_path / "r.md", "GPU X", found, 12.0)
    content = json.loads((tmp_path / "r.json").read_text())
    assert content["gpu"] == "GPU X"
    assert [(each["subject"], each["passed"]) for each in content["checks"]] == [("a", True), ("b", False)]
    assert "### GPU X" in (tmp_path / "r.md").read_text()


def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert gpu_acceptance.main(["--json", str(tmp_path / "r.json"), "--markdown", str(tmp_path / "r.md")]) == 2
    assert "no CUDA device" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_option_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        gpu_acceptance.main(["--budget", "long"])
    assert raised.value.code == 2
    assert "--budget" in capsys.readouterr().err


def _program(tmp_path: Path, *arguments: str) -> Any:
    result = tmp_path / "result.json"
    words = [sys.executable, str(gpu_acceptance.PROGRAMS / "gpu_training.py"), *arguments]
    done = subprocess.run(
        [*words, "--model", "small", "--device", "cpu", "--result", str(result)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(result.read_text())


def test_all_arms_run_in_one_process(tmp_path: Path) -> None:
    rounds = _program(tmp_path, "blocks", "--rounds", "1", "--seconds", "0.01")["rounds"]
    assert [sorted(each) for each in rounds] == [["auto", "bare", "full", "light", "profiler"]]
    assert all(seconds > 0 for seconds in rounds[0].values())


def test_a_run_without_kernels_is_told(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("deepseek-prof")
    words = [str(script), "run", "--quiet", "--output", str(tmp_path / "run")]
    words += [str(gpu_acceptance.PROGRAMS / "gpu_training.py"), "steps", "--steps", "4", "--seconds", "0"]
    words += ["--model", "small", "--device", "cpu", "--result", str(tmp_path / "result.json")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "result.json").read_text())["steps"] == 4
    with pytest.raises(BenchmarkError, match="no kernel"):
        gpu_acceptance.run_totals(tmp_path / "run", 12, 16)


def test_totals_of_a_run_are_those_of_the_steps_asked_for(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "run")
    process = add_process(run_dir)
    layer = process.context("fc", kind=Kind.LAYER)
    loss = process.context("aten::nll_loss_nd")
    optimizer = process.context("Optimizer.step#SGD.step", kind=Kind.USER, phase=Phase.OPTIMIZER)
    activities = DeviceActivities()
    for step in range(4):
        begin = 10_000 * (step + 1)
        process.spans(71, [(begin + 10, 100, 100, layer), (begin + 200, 100, 100, loss)])
        process.spans(71, [(begin + 400, 100, 100, optimizer)])
        for index, (at, dur) in enumerate(((20, 90), (210, 10), (410, 50)), 1):
            correlation = 10 * step + index
            activities.append("cuda_runtime", "cudaLaunchKernel", begin + at, 5, correlation, -1, 71)
            activities.append("kernel", f"k{index}", begin + 1_000 + at, dur, correlation, 0, 7)
    process.steps([(10_000 * (step + 1), 9_000) for step in range(4)])
    write_activities(process.directory / "device-00000.bin", activities, {})
    process.end()
    finish(run_dir)
    found = gpu_acceptance.run_totals(run_dir, 1, 3)
    assert (found["kernels"], found["kernel_ns"]) == (3, 150)
    assert (found["in_layer_ns"], found["model_ns"], found["kernel_total_ns"]) == (180, 200, 300)
    # A step that was left out is missed.
    assert gpu_acceptance.run_totals(run_dir, 2, 6)["kernels"] == 1.5
