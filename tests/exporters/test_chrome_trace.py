"""Chrome traces: the exact events of a drawn run, their nesting, arrows, and names as a parser of JSON reads them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from deepseek_prof.exporters import span_stream
from deepseek_prof.importing.importer import import_traces
from tests.support.chrome_trace import complete, on_device, write_trace
from tests.support.drawn import EPOCH_NS, Node, gap, module, op, write_drawn_run
from tests.support.exported import HOSTILE, exported, gpu_run, hostile_run, spans_of, training_step
from tests.support.synthetic import write_synthetic_run

STEPS_TID = 1 << 24


def read(data: bytes) -> dict[str, Any]:
    """The trace as the standard library reads it, which must hold no key twice."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len({key for key, _ in pairs}) == len(pairs)
        return dict(pairs)

    loaded = json.loads(data, object_pairs_hook=unique)
    assert isinstance(loaded, dict)
    return loaded


def spans(trace: dict[str, Any]) -> list[dict[str, Any]]:
    return [event for event in trace["traceEvents"] if event["ph"] == "X"]


def arrows(trace: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Category of each arrow, and the names of the innermost spans at its two ends."""
    ends: dict[int, dict[str, str]] = defaultdict(dict)
    for event in trace["traceEvents"]:
        if event["ph"] in ("s", "f"):
            around = [
                span
                for span in spans(trace)
                if (span["pid"], span["tid"]) == (event["pid"], event["tid"])
                and span["ts"] <= event["ts"] < span["ts"] + span["dur"]
            ]
            inner = min(around, key=lambda span: (-span["ts"], span["dur"]))
            ends[event["id"]][event["ph"]] = inner["name"]
            ends[event["id"]]["cat"] = event["cat"]
            assert (event["ph"] == "s") == ("bp" not in event)
    return sorted((each["cat"], each["s"], each["f"]) for each in ends.values())


def test_a_training_step(tmp_path: Path) -> None:
    trace = read(exported(write_drawn_run(tmp_path / "run", training_step), "chrome"))
    assert (trace["baseTimeNanoseconds"], trace["displayTimeUnit"]) == (EPOCH_NS, "ns")
    named = [event for event in trace["traceEvents"] if event["ph"] == "M"]
    assert [(event["tid"], event["name"], event["args"]) for event in named] == [
        (STEPS_TID, "process_name", {"name": "train"}),
        (STEPS_TID, "process_sort_index", {"sort_index": 0}),
        (STEPS_TID, "thread_name", {"name": "steps"}),
        (STEPS_TID, "thread_sort_index", {"sort_index": 0}),
        (4200, "process_name", {"name": "train"}),
        (4200, "process_sort_index", {"sort_index": 0}),
        (4200, "thread_name", {"name": "main thread"}),
        (4200, "thread_sort_index", {"sort_index": 1}),
    ]
    contexts = trace["deepseekProf"]["contexts"]
    for event in spans(trace):
        rank, pid, _, _, _, kind, name, type_, layer, phase = contexts[event["args"].pop("context")]
        assert (rank, pid) == (0, 4200)
        assert event["name"] == ("ProfilerStep#0" if kind == "step" else name)
        described = {"kind": kind, "type": type_, "phase": phase} | ({"layer": layer} if layer is not None else {})
        assert described.items() <= event["args"].items()

    def expected(name: str, cat: str, ts: float, dur: float, tid: int = 4200, **args: Any) -> dict[str, Any]:
        found = {"ph": "X", "cat": cat, "name": name, "pid": 4200, "tid": tid, "ts": ts, "dur": dur}
        return {**found, "args": {**args, "step": 0}}

    net: dict[str, Any] = {"layer": "net", "phase": "forward"}
    assert spans(trace) == [
        expected(
            "ProfilerStep#0",
            "user_annotation",
            0,
            17,
            STEPS_TID,
            kind="step",
            type="other",
            phase="other",
            self_ns=17_000,
        ),
        expected("net", "python_function", 0, 10, kind="layer", type="other", self_ns=2_000, **net),
        expected("aten::linear", "cpu_op", 0, 8, kind="op", type="matmul", self_ns=2_000, **net),
        expected("aten::addmm", "cpu_op", 0, 6, kind="op", type="matmul", self_ns=6_000, **net),
        expected(
            "AddmmBackward0",
            "cpu_op",
            10,
            5,
            kind="autograd",
            type="matmul",
            self_ns=5_000,
            layer="net",
            phase="backward",
        ),
        expected(
            "Optimizer.step#SGD.step", "cpu_op", 15, 2, kind="op", type="optimizer", phase="optimizer", self_ns=2_000
        ),
    ]


def test_times_are_exact_to_the_nanosecond(tmp_path: Path) -> None:
    run = write_synthetic_run(tmp_path / "run", steps=4, layers=2)
    trace = read(exported(run.path, "chrome"))
    found = [(EPOCH_NS + round(each["ts"] * 1000), round(each["dur"] * 1000)) for each in spans(trace)]
    assert found == spans_of(run.path, "start_ns, dur_ns")


def test_events_nest_and_stand_before_what_they_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(span_stream, "WINDOW_SPANS", 500)
    run = write_synthetic_run(tmp_path / "run", steps=6, layers=2, ranks=2)
    open_ends: dict[tuple[int, int], list[int]] = defaultdict(list)
    deepest = 0
    for event in spans(read(exported(run.path, "chrome"))):
        start_ns = round(event["ts"] * 1000)
        stack = open_ends[event["pid"], event["tid"]]
        while stack and stack[-1] <= start_ns:
            stack.pop()
        stack.append(start_ns + round(event["dur"] * 1000))
        assert stack == sorted(stack, reverse=True)
        deepest = max(deepest, len(stack))
    assert deepest > 3


def test_arrows_lead_from_launches_to_kernels(tmp_path: Path) -> None:
    assert arrows(read(exported(gpu_run(tmp_path), "chrome"))) == [
        ("ac2g", "cudaLaunchKernel", "gemm_kernel"),
        ("ac2g", "cudaLaunchKernel", "relu_kernel"),
        ("ac2g", "cudaMemcpyAsync", "Memcpy DtoD (Device -> Device)"),
        ("fwdbwd", "Linear_0", "autograd::engine::evaluate_function: AddmmBackward0"),
    ]


def launched(folder: Path, kernels: Sequence[int], *, calls: bool) -> list[tuple[float, float]]:
    """Both ends of each arrow, in microseconds, where an operator is called at 0, 100, … and launches so many kernels
    each time, with ``calls`` through the driver at 5, 6, … after that. They run at 1000, 1010, …"""
    events = []
    done = 0
    for call, count in enumerate(kernels):
        events.append(complete("aten::relu", 100 * call, 50, **{"External id": call + 1}))
        for kernel in range(count):
            place = {"correlation": done + 1} if calls else {"correlation": 0, "External id": call + 1}
            if calls:
                start_us = 100 * call + 5 + kernel
                events.append(complete("cudaLaunchKernel", start_us, 1, "cuda_runtime", correlation=done + 1))
            events.append(
                {**on_device("relu_kernel", 1_000 + 10 * done, 5, 0), "args": {"device": 0, "stream": 7, **place}}
            )
            done += 1
    import_traces([write_trace(folder / "in.json", events)], folder / "run")
    trace = read(exported(folder / "run", "chrome"))
    ends = {(event["ph"], event["id"]): event["ts"] for event in trace["traceEvents"] if event["ph"] in ("s", "f")}
    return sorted((ends["s", arrow], ends["f", arrow]) for phase, arrow in ends if phase == "s")


def test_calls_into_the_driver_and_kernels_belong_together_one_by_one(tmp_path: Path) -> None:
    assert launched(tmp_path, (1, 2), calls=True) == [(5, 1_000), (105, 1_010), (106, 1_020)]


def test_without_calls_into_the_driver_kernels_are_shared_out_among_operators(tmp_path: Path) -> None:
    assert launched(tmp_path, (2, 2), calls=False) == [(0, 1_000), (0, 1_010), (100, 1_020), (100, 1_030)]


def test_no_arrow_where_kernels_are_no_multiple_of_the_operators(tmp_path: Path) -> None:
    assert launched(tmp_path, (1, 2), calls=False) == []


def test_the_last_forward_call_leads_to_the_first_backward(tmp_path: Path) -> None:
    def draw(rank: int, step: int) -> list[Node]:
        calls = [module("net", 500, gap(10), op(name, 100)) for name in ("early", "late")]
        return [
            *calls,
            *(Node(name, 50, phase="backward", layer="net", below=("net",)) for name in ("first", "second")),
        ]

    run_dir = write_drawn_run(tmp_path / "run", draw, steps=2)
    trace = read(exported(run_dir, "chrome"))
    assert arrows(trace) == [("fwdbwd", "net", "first")] * 2
    assert [event["ts"] for event in trace["traceEvents"] if event["ph"] == "s"] == [0.5, 1.6]
    # Nothing is drawn of an arrow with an end that is not selected.
    assert arrows(read(exported(run_dir, "chrome", "phase:backward"))) == []


def test_work_of_a_device_stands_on_its_streams(tmp_path: Path) -> None:
    trace = read(exported(gpu_run(tmp_path), "chrome"))
    kernel = next(event for event in spans(trace) if event["name"] == "gemm_kernel")
    assert kernel["cat"] == "kernel"
    assert (kernel["args"]["device"], kernel["args"]["stream"], kernel["args"]["layer"]) == (0, 7, "Linear_0")
    copy = next(event for event in spans(trace) if event["cat"] == "gpu_memcpy")
    assert copy["args"]["bytes"] == 4096
    names = {
        (event["pid"], event["tid"]): event["args"]["name"]
        for event in trace["traceEvents"]
        if event["name"] == "thread_name"
    }
    assert names[kernel["pid"], kernel["tid"]] == "stream 7"
    assert kernel["pid"] != 4000


def test_processes_of_one_number_on_two_hosts_are_two(tmp_path: Path) -> None:
    run_dir = write_drawn_run(tmp_path / "run", training_step, ranks=2, process={"pid": 4200})
    for folder in ("spans", "contexts"):
        for path in (run_dir / folder / "rank=1").iterdir():
            path.rename(path.with_name(path.name.replace("4201", "4200")))
    trace = read(exported(run_dir, "chrome"))
    names = {event["pid"]: event["args"]["name"] for event in trace["traceEvents"] if event["name"] == "process_name"}
    assert sorted(names.values()) == ["rank 0 train", "rank 1 train"]
    assert len(spans(trace)) == 12


def test_hostile_names_are_data(tmp_path: Path) -> None:
    data = exported(hostile_run(tmp_path / "run"), "chrome")
    data.decode()
    assert not set(data) & {*range(10), *range(11, 32)}
    trace = read(data)
    assert [event["name"] for event in spans(trace) if event["args"]["kind"] == "op"] == list(HOSTILE)
    assert [event["args"]["layer"] for event in spans(trace) if event["args"]["kind"] == "op"] == list(HOSTILE)
    named = {event["args"].get("name") for event in trace["traceEvents"] if event["ph"] == "M"}
    assert named == {None, "tr\\udcffain.py", "steps", "worker \\udcff"}
    assert b"secret" not in data
    assert b"/home/me" not in data


def test_counters_are_tracks_of_their_rank_within_the_time_of_the_spans(tmp_path: Path) -> None:
    counters = [
        {"rank": 0, "ts_ns": EPOCH_NS + at, "device": "cpu", "name": "rss", "value": value, "unit": "bytes"}
        for at, value in ((-5_000, 1.0), (1_000, 7e9), (2_500, 8e9), (10**9, 2.0))
    ] + [{"rank": 0, "ts_ns": EPOCH_NS + 1, "device": "cuda:0", "name": "power", "value": 70.0, "unit": "W"}]
    run_dir = write_drawn_run(tmp_path / "run", training_step, counters=counters)
    trace = read(exported(run_dir, "chrome"))
    (pid,) = {event["pid"] for event in trace["traceEvents"] if event["ph"] == "X"}
    assert [event for event in trace["traceEvents"] if event["ph"] == "C"] == [
        {"ph": "C", "name": "rss (cpu) [bytes]", "pid": pid, "ts": 1.0, "args": {"value": 7e9}},
        {"ph": "C", "name": "rss (cpu) [bytes]", "pid": pid, "ts": 2.5, "args": {"value": 8e9}},
    ]


def test_counters_are_those_of_the_ranks_that_are_exported(tmp_path: Path) -> None:
    counters = [
        {"rank": rank, "ts_ns": EPOCH_NS + at, "device": "cpu", "name": "rss", "value": float(rank), "unit": ""}
        for rank in (0, 1)
        for at in (1_000, 2_000)
    ]
    run_dir = write_drawn_run(tmp_path / "run", training_step, ranks=2, counters=counters)
    shown = [event for event in read(exported(run_dir, "chrome", "rank:1"))["traceEvents"] if event["ph"] == "C"]
    assert [event["args"]["value"] for event in shown] == [1.0, 1.0]


def test_of_many_samples_the_highest_of_each_stretch_is_shown(tmp_path: Path) -> None:
    counters = [
        {"rank": 0, "ts_ns": EPOCH_NS + at, "device": "cpu", "name": "rss", "value": float(at == 3_333), "unit": ""}
        for at in range(0, 17_000, 3)
    ]
    counters.append(counters[0] | {"ts_ns": EPOCH_NS + 3_334, "value": float("nan")})  # hides no other
    run_dir = write_drawn_run(tmp_path / "run", training_step, counters=counters)
    shown = [event for event in read(exported(run_dir, "chrome"))["traceEvents"] if event["ph"] == "C"]
    assert 1_000 < len(shown) <= 2_000
    assert [event["ts"] for event in shown if event["args"]["value"]] == [3.333]
