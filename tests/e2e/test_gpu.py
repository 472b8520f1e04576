"""``deepseek-prof gpu`` on real traces of GPUs, against sums that other code makes of their JSON alone."""

from __future__ import annotations

import bisect
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from deepseek_prof.analysis.gpu.summary import GpuSummary, gpu_summary
from deepseek_prof.importing.importer import import_traces
from deepseek_prof.trace.run import Run
from tests.support.chrome_trace import REAL_TRACES, one_training_step, read_trace, write_trace
from tests.support.recording import cli_command, run_words

WORK = ("kernel", "gpu_memcpy", "gpu_memset")
Span = tuple[int, int]

BY_HAND = {
    # Added up once with jq and awk from the files: pieces of work, their nanoseconds, and those of NCCL's kernels.
    "resnet-ddp-v100.rank0": (6095, 472_454_441, 0),
    "control.rank3": (9450, 501_567_000, 163_535_000),
}


def ns(microseconds: float) -> int:
    return round(microseconds * 1000)


def covered(spans: Iterable[Span]) -> int:
    """The length of a union, by sweeping over its borders."""
    total = depth = since = 0
    for time, change in sorted([(a, 1) for a, b in spans if b > a] + [(b, -1) for a, b in spans if b > a]):
        if depth > 0:
            total += time - since
        depth, since = depth + change, time
    return total


class Independent:
    """What the JSON says, read without any code of the product."""

    def __init__(self, path: Path) -> None:
        events: list[dict[str, Any]] = [each for each in read_trace(path)["traceEvents"] if each.get("ph") == "X"]
        self.work = [each for each in events if each.get("cat") in WORK]
        self.calls = {
            each["args"]["correlation"]: each
            for each in events
            if each.get("cat") in ("cuda_runtime", "cuda_driver") and "correlation" in each["args"]
        }
        self._operators: dict[Any, list[dict[str, Any]]] = {}
        for each in events:
            if each.get("cat") == "cpu_op" or str(each["name"]).startswith("nccl:"):
                self._operators.setdefault(each["tid"], []).append(each)
        for operators in self._operators.values():
            # Of two with the same times, the one that was begun first has the smaller number and is the outer one.
            operators.sort(key=lambda each: (each["ts"], -each["dur"], each["args"].get("External id", 0)))

    @staticmethod
    def span(event: dict[str, Any]) -> Span:
        # ``ts`` counts from 1970: as a double it is exact to a quarter of a microsecond, whose text has three digits.
        return ns(event["ts"] - 1.6e15), ns(event["ts"] - 1.6e15) + ns(event["dur"])

    def spans(self, *kinds: str) -> list[Span]:
        return [self.span(each) for each in self.work if self.kind(each) in kinds]

    @staticmethod
    def kind(event: dict[str, Any]) -> str:
        if event["cat"] != "kernel":
            return "copy"
        return "communication" if event["name"].startswith("nccl") else "compute"

    def launching_operator(self, event: dict[str, Any]) -> str | None:
        """The innermost operator around the call: of those that began before and end after it, the one begun last."""
        call = self.calls[event["args"]["correlation"]]
        operators = self._operators.get(call["tid"], [])
        first = bisect.bisect_right(operators, call["ts"], key=lambda each: each["ts"])
        around = (
            each for each in reversed(operators[max(0, first - 500) : first]) if call["ts"] < each["ts"] + each["dur"]
        )
        return next((str(each["name"]) for each in around), None)


@pytest.fixture(scope="module", params=sorted(BY_HAND))
def imported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    path = REAL_TRACES / f"{request.param}.json.gz"
    if not path.exists():
        pytest.skip(f"{path} is not here; set CHROME_TRACES to the folder that holds it")
    run_dir = tmp_path_factory.mktemp("gpu") / "run"
    import_traces([path], run_dir)
    return str(request.param), path, run_dir


def summary_of(run_dir: Path) -> GpuSummary:
    with Run.open(run_dir) as run:
        found = gpu_summary(run)
    assert found is not None
    return found


def test_totals_are_those_of_the_trace(imported: tuple[str, Path, Path]) -> None:
    name, path, run_dir = imported
    count, total_ns, nccl_ns = BY_HAND[name]
    trace, found = Independent(path), summary_of(run_dir)
    assert len(trace.work) == count
    assert sum(ns(each["dur"]) for each in trace.work) == total_ns == found.work_ns
    for rows in (found.tables["kernel"], found.tables["operator"], found.tables["type"]):
        assert sum(row.count for row in rows) == count
        assert sum(row.ns for row in rows) == total_ns
    assert sum(row.ns for row in found.tables["type"] if row.name == "collective") == nccl_ns
    (device,) = found.devices
    assert device.busy_ns == pytest.approx(covered(trace.spans("compute", "copy", "communication")), rel=1e-6)
    assert device.compute_ns == pytest.approx(covered(trace.spans("compute")), rel=1e-6)
    both = covered(trace.spans("compute", "communication"))
    assert device.exposed_communication_ns == pytest.approx(both - covered(trace.spans("compute")), rel=1e-6)
    assert device.extent_ns == sum(
        (
            device.compute_ns,
            device.exposed_communication_ns,
            device.exposed_copy_ns,
            device.launch_ns,
            device.data_ns,
            device.sync_ns,
            device.start_ns,
            device.unknown_ns,
        )
    )
    for each in found.overlaps:
        own, beside = covered(trace.spans(each.kind)), covered(trace.spans(each.kind, "compute"))
        assert each.total_ns == pytest.approx(own, rel=1e-6)
        assert each.exposed_ns == pytest.approx(beside - covered(trace.spans("compute")), rel=1e-6, abs=1000)
    for stream in found.streams:
        mine = [trace.span(each) for each in trace.work if each["args"]["stream"] == stream.stream]
        assert stream.count == len(mine)
        assert stream.busy_ns == pytest.approx(covered(mine), rel=1e-6)


def test_launches_are_those_of_the_trace(imported: tuple[str, Path, Path]) -> None:
    name, path, run_dir = imported
    trace, found = Independent(path), summary_of(run_dir)
    waited = sorted(
        max(0, ns(each["ts"] - trace.calls[each["args"]["correlation"]]["ts"]))
        for each in trace.work
        if each["args"]["correlation"] in trace.calls
    )
    (launches,) = found.launches
    assert (launches.count, launches.not_seen) == (len(waited), len(trace.work) - len(waited))
    assert launches.count == BY_HAND[name][0]  # every kernel of these traces has a correlation
    assert launches.max_ns == pytest.approx(waited[-1], abs=500)
    assert launches.p50_ns == pytest.approx(waited[len(waited) // 2], rel=0.01)


def test_all_work_with_a_correlation_gets_its_operator(imported: tuple[str, Path, Path]) -> None:
    _, path, run_dir = imported
    trace = Independent(path)
    expected: dict[str, int] = {}
    for event in trace.work:
        operator = trace.launching_operator(event)
        if operator is not None:
            expected[operator] = expected.get(operator, 0) + ns(event["dur"])
    found = {row.name: row.ns for row in summary_of(run_dir).tables["operator"]}
    assert {name: found.get(name) for name in expected} == expected


def test_the_command_shows_and_writes_the_same(imported: tuple[str, Path, Path]) -> None:
    name, _, run_dir = imported
    shown = run_words(cli_command("gpu", "run"), run_dir.parent)
    assert shown.returncode == 0, shown.stderr
    text = shown.stdout.decode()
    for title in ("Time of rank", "Streams", "Launches", "Tensor cores", "Roofline", "By layer", "By kernel"):
        assert title in text
    written = run_words(cli_command("gpu", "run", "--format", "json"), run_dir.parent)
    loaded = json.loads(written.stdout)
    assert sum(row["ns"] for row in loaded["tables"]["kernel"]) == BY_HAND[name][1]
    some = run_words(cli_command("gpu", "run", "--format", "json", "kind:memcpy"), run_dir.parent)
    assert {row["type"] for row in json.loads(some.stdout)["tables"]["kernel"]} == {"copy"}


def test_without_work_of_accelerators_there_is_an_error(tmp_path: Path) -> None:
    import_traces([write_trace(tmp_path / "trace.json", one_training_step())], tmp_path / "run")
    nothing = run_words(cli_command("gpu", "run", "op:nothing"), tmp_path)
    assert nothing.returncode == 2
    assert b"selects no work of an accelerator" in nothing.stderr
    host = [
        event for event in one_training_step() if event["cat"] not in ("kernel", "gpu_memcpy", "gpu_user_annotation")
    ]
    import_traces([write_trace(tmp_path / "trace.json", host)], tmp_path / "host")
    nothing = run_words(cli_command("gpu", "host"), tmp_path)
    assert nothing.returncode == 2
    assert b"holds no work of an accelerator" in nothing.stderr


def test_the_report_says_why_a_device_is_idle(tmp_path: Path) -> None:
    import_traces([write_trace(tmp_path / "trace.json", one_training_step())], tmp_path / "run")
    text = " ".join(run_words(cli_command("report", "run"), tmp_path).stdout.decode().split())
    # From 2440 to 2500 µs nothing runs, and the copy that follows was launched long before.
    assert "rank 0 cuda:0: idle 12 % (launched but not started 12 %)" in text
    assert "tensor cores: 0 % of kernel time" in text
