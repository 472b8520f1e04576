"""The benchmark command: what it makes of rounds, failures and Ctrl-C, and one quick run of all of it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.document import document, merged
from benchmarks.measurements.overhead import OPS
from benchmarks.measurements.tiny_transformer import TINY_TRANSFORMER
from benchmarks.programs.measured import block_median_ns
from benchmarks.results import BenchmarkError, BenchmarkResult, MeasurementResult, Row, Sample, present, row
from benchmarks.run import run_all
from benchmarks.session import Arm, Session
from benchmarks.statistics import estimate
from benchmarks.table import number, terminal_table

ROOT = Path(__file__).resolve().parents[2]
MACHINE = {"processor": "P", "architecture": "A", "cpus": 2, "memory_bytes": 2**34, "system": "S", "file_system": "F"}
EMPTY = BenchmarkResult(
    "2026-01-02T03:04:05+00:00", False, MACHINE, {"python": "1", "torch": "2", "deepseek-prof": "3"}
)

# Runs the program and writes the run.json that the test asks for.
FAKE_DEEPSEEK_PROF = """
import os, pathlib, subprocess, sys
arguments = sys.argv[1:]
run_dir = pathlib.Path(arguments[arguments.index("--output") + 1])
status = subprocess.call(arguments[arguments.index("--") + 1 :])
run_dir.mkdir()
(run_dir / "run.json").write_text(os.environ["FAKE_RUN_INFO"])
sys.exit(status)
"""


@dataclass(frozen=True)
class Scripted:
    """A measurement whose third round ends as told."""

    third_round: BaseException | None = None
    name: str = "scripted"
    title: str = "Scripted"
    max_rounds: int | None = None
    in_default_set: bool = True

    def measure_round(self, session: Session, index: int) -> Sample:
        if index == 2 and self.third_round is not None:
            raise self.third_round
        return {"time_s": float(index + 1)}

    def rows(self, samples: Sequence[Sample]) -> tuple[Row, ...]:
        return present(row(samples, lambda sample: sample["time_s"], "time", "s", bar=1.6))


def run_scripted(tmp_path: Path, *measurements: Scripted, rounds: int = 5) -> tuple[BenchmarkResult, int]:
    kept: list[BenchmarkResult] = []
    session = Session(tmp_path, quick=True)
    result = run_all(EMPTY, measurements, session, rounds, Console(quiet=True), kept.append)
    return result, len(kept)


def test_ctrl_c_keeps_the_rounds_before_it_and_skips_the_rest(tmp_path: Path) -> None:
    result, kept = run_scripted(tmp_path, Scripted(KeyboardInterrupt()), Scripted(name="later"))

    assert result.interrupted
    assert kept == 1
    (measurement,) = result.measurements
    assert measurement.error is None
    assert measurement.rows[0].rounds == 2
    assert measurement.rows[0].verdict == "reached"


def test_a_failure_is_stated_and_the_next_measurement_runs(tmp_path: Path) -> None:
    result, kept = run_scripted(tmp_path, Scripted(BenchmarkError("broke")), Scripted(name="later"))

    assert kept == 2
    assert [entry.error for entry in result.measurements] == ["broke", None]
    assert result.measurements[1].rows[0].verdict == "missed"
    with pytest.raises(BenchmarkError, match="failed"):
        document(result)


def test_a_measurement_may_ask_for_fewer_rounds(tmp_path: Path) -> None:
    result, _ = run_scripted(tmp_path, replace(Scripted(), max_rounds=2))

    assert len(result.measurements[0].samples) == 2


def test_json_result_reads_back_and_becomes_a_page(tmp_path: Path) -> None:
    result, _ = run_scripted(tmp_path, Scripted())
    result.write(tmp_path / "out.json")

    assert BenchmarkResult.read(tmp_path / "out.json").measurements[0].rows == result.measurements[0].rows
    page = document(BenchmarkResult.read(tmp_path / "out.json"))
    assert "| time | 3.000 s | " in page
    assert "P (A), 2 CPUs, 16 GiB, S, F" in page
    with pytest.raises(BenchmarkError, match="not a full result"):
        document(replace(result, interrupted=True))


def test_results_of_one_machine_become_one_page(tmp_path: Path) -> None:
    first, _ = run_scripted(tmp_path, Scripted(), Scripted(name="second", title="Second"))
    again, _ = run_scripted(tmp_path, Scripted(name="second", title="Anew"), Scripted(name="third", title="Third"))

    together = merged([first, again])
    assert [entry.title for entry in together.measurements] == ["Scripted", "Anew", "Third"]
    older = merged([first, replace(again, started="2020-01-02T03:04:05+00:00")])
    assert [entry.title for entry in older.measurements] == ["Scripted", "Anew, 2020-01-02", "Third, 2020-01-02"]
    with pytest.raises(BenchmarkError, match="different machines"):
        merged([first, replace(again, versions={"torch": "3"})])


def test_a_section_that_was_held_to_fewer_cpus_says_so(tmp_path: Path) -> None:
    first, _ = run_scripted(tmp_path, Scripted())
    held, _ = run_scripted(tmp_path, Scripted(name="second", title="Second"))
    held = replace(held, machine={**held.machine, "cpus": 1, "load_average_at_start": 2.25})

    titles = [entry.title for entry in merged([first, held]).measurements]
    assert titles == ["Scripted", "Second, held to 1 of the CPUs, load 2.2 at the start"]


def test_a_burst_does_not_decide_the_time_of_a_step() -> None:
    moments, now_ns = [0], 0
    for step in range(1_000):
        now_ns += 900_000_000 if step == 500 else 5_000_000
        moments.append(now_ns)

    assert block_median_ns(moments) == 5_000_000
    assert block_median_ns([0, 3_000, 6_000]) == 3_000


def test_json_of_another_schema_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out.json").write_text(json.dumps({"schema_version": 99}), encoding="utf-8")

    with pytest.raises(BenchmarkError, match="schema version 99"):
        BenchmarkResult.read(tmp_path / "out.json")


def test_estimate_is_the_median_within_its_interval() -> None:
    middle = estimate([1.0, 1.1, 1.2, 1.3, 5.0])

    assert middle.median == 1.2
    assert 1.0 <= middle.low <= 1.2 <= middle.high <= 5.0
    assert estimate([2.0]).low == estimate([2.0]).high == 2.0
    with pytest.raises(ValueError, match="no values"):
        estimate([])


def test_ratios_are_formed_within_a_round() -> None:
    samples = [{"bare: step_s": scale, "ops: step_s": scale * 1.1} for scale in (1.0, 2.0, 4.0)]
    rows = {entry.quantity: entry for entry in TINY_TRANSFORMER.rows(samples)}

    assert rows["ops / bare"].low == pytest.approx(1.1)
    assert rows["ops / bare"].high == pytest.approx(1.1)
    assert "kineto / bare" not in rows


def test_a_failing_program_is_an_error_with_its_output(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"status 3:\nhello"):
        Session(tmp_path, quick=True).run_command([sys.executable, "-c", "print('hello'); raise SystemExit(3)"])


@pytest.mark.parametrize("dropped", [[], [{"pid": 1, "reason": "disk", "spans": 5}]])
def test_a_recorded_arm_that_lost_spans_is_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dropped: list[dict[str, object]]
) -> None:
    fake = tmp_path / "fake_deepseek_prof.py"
    fake.write_text(FAKE_DEEPSEEK_PROF, encoding="utf-8")
    monkeypatch.setenv("FAKE_RUN_INFO", json.dumps({"spans": {"count": 7}, "dropped": dropped}))
    monkeypatch.setattr("benchmarks.session.deepseek_prof", lambda: (sys.executable, str(fake)))
    session = Session(tmp_path, quick=True)

    if dropped:
        with pytest.raises(BenchmarkError, match="arm build: 7 spans recorded, dropped"):
            session.run_program("tiny_transformer", ("--warm-up", "1", "--steps", "1"), OPS)
    else:
        run = session.run_program("tiny_transformer", ("--warm-up", "1", "--steps", "1"), OPS)
        assert run.spans == 7
        assert run.figures["steps"] == 2
        assert 0.0 < run.after_exit_s < run.process.wall_s
        assert run.run_dir is not None
        assert not run.run_dir.exists()


def test_arms_can_be_chosen_and_bare_always_runs(tmp_path: Path) -> None:
    session = Session(tmp_path, quick=True, arms=["ops"])

    assert session.wants(OPS)
    assert session.wants(Arm("bare"))
    assert not session.wants(Arm("kineto"))


def test_table_has_a_failed_measurement_without_rows() -> None:
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(terminal_table(replace(EMPTY, measurements=(MeasurementResult("n", "Title", 1.0, (), (), "broke"),))))

    assert "failed: see above" in console.export_text()


@pytest.mark.parametrize(("value", "text"), [(1.23456, "1.235"), (12.345, "12.3"), (1234.5, "1,234"), (123.4, "123")])
def test_numbers_have_the_digits_they_deserve(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.slow
def test_quick_run_of_every_measurement_ends_well(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--quick", "--json", str(tmp_path / "out.json")]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert finished.returncode == 0, finished.stderr
    result = BenchmarkResult.read(tmp_path / "out.json")
    assert [entry.name for entry in result.measurements] == [
        "start-up",
        "tiny-transformer",
        "resnet18",
        "long-run",
        "reading",
        "querying-10m",
        "querying-100m",
        "flame",
        "tui",
        "metrics",
        "importing",
    ]
    assert all(entry.rows and entry.error is None for entry in result.measurements)
    assert "quick: too short to compare" in finished.stdout
    assert list(tmp_path.iterdir()) == [tmp_path / "out.json"]
