"""What becomes of a trace drawn by hand: contexts, layers, phases, steps, and where the work of a device comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deepseek_prof.analysis.summary import summarize
from deepseek_prof.analysis.top import top
from deepseek_prof.importing.importer import ImportResult, import_traces
from deepseek_prof.query import compile_query
from deepseek_prof.recording.context_table import context_id
from deepseek_prof.trace.run import Run
from tests.support.chrome_trace import AUTOGRAD, MAIN, PID, complete, on_device, one_training_step, write_trace


def imported(folder: Path, events: list[Any], **metadata: Any) -> ImportResult:
    return import_traces([write_trace(folder / "trace.json", events, **metadata)], folder / "run")


def spans(folder: Path, columns: str, where: str = "TRUE") -> list[tuple[Any, ...]]:
    with Run.open(folder / "run") as run:
        return run.rows(f"SELECT {columns} FROM spans WHERE {where} ORDER BY start_ns, dur_ns DESC")


def path_of(folder: Path, name: str) -> list[str]:
    """The names of the contexts around the only context of this name, the nearest first."""
    with Run.open(folder / "run") as run:
        rows = run.rows("SELECT context_id, parent_id, name FROM contexts")
    by_id = {row[0]: row for row in rows}
    (found,) = [row for row in rows if row[2] == name]
    names = []
    while found[1] is not None:
        found = by_id[found[1]]
        names.append(found[2])
    return names


def test_host_spans_have_their_layers_phases_and_steps(tmp_path: Path) -> None:
    result = imported(tmp_path, one_training_step())
    assert result.steps == 1
    assert not result.warnings
    assert spans(tmp_path, "name, kind, layer, phase, step, tid", "device IS NULL AND pid = 4000") == [
        ("step", "step", None, "other", 7, 0),
        ("Net_0", "layer", "Net_0", "forward", 7, MAIN),
        ("Linear_0", "layer", "Linear_0", "forward", 7, MAIN),
        ("net.py(3): forward", "python", "Linear_0", "forward", 7, MAIN),
        ("aten::linear", "op", "Linear_0", "forward", 7, MAIN),
        ("aten::addmm", "op", "Linear_0", "forward", 7, MAIN),
        ("cudaLaunchKernel", "runtime", "Linear_0", "forward", 7, MAIN),
        ("ReLU_0", "layer", "ReLU_0", "forward", 7, MAIN),
        ("aten::relu", "op", "ReLU_0", "forward", 7, MAIN),
        ("cudaLaunchKernel", "runtime", "ReLU_0", "forward", 7, MAIN),
        ("cudaDeviceSynchronize", "sync", None, "other", 7, MAIN),
        ("autograd::engine::evaluate_function: AddmmBackward0", "autograd", "Linear_0", "backward", 7, AUTOGRAD),
        ("AddmmBackward0", "autograd", "Linear_0", "backward", 7, AUTOGRAD),
        ("aten::mm", "op", "Linear_0", "backward", 7, AUTOGRAD),
        ("cudaMemcpyAsync", "runtime", "Linear_0", "backward", 7, AUTOGRAD),
    ]


def test_work_of_a_device_belongs_to_what_launched_it(tmp_path: Path) -> None:
    result = imported(tmp_path, one_training_step())
    assert result.device_spans == 4
    assert spans(tmp_path, "name, kind, layer, phase, step, device, stream, self_ns, bytes", "device IS NOT NULL") == [
        ("Net", "user", None, "other", 8, "cuda:0", 7, 0, None),
        ("gemm_kernel", "kernel", "Linear_0", "forward", 7, "cuda:0", 7, 400_000, None),
        ("relu_kernel", "kernel", "ReLU_0", "forward", 7, "cuda:0", 7, 40_000, None),
        ("Memcpy DtoD (Device -> Device)", "memcpy", "Linear_0", "backward", 7, "cuda:0", 7, 7000, 4096),
    ]
    # Not the call into the driver: the operator.
    assert path_of(tmp_path, "gemm_kernel") == [
        "aten::addmm",
        "aten::linear",
        "net.py(3): forward",
        "Linear_0",
        "Net_0",
    ]


def test_context_ids_are_the_hashes_of_paths(tmp_path: Path) -> None:
    from deepseek_prof.model import Kind, Phase

    imported(tmp_path, [complete("aten::linear", 0, 10), complete("aten::addmm", 1, 5)])
    outer = context_id(0, Kind.OP, Phase.OTHER, "aten::linear")
    assert spans(tmp_path, "context_id") == [
        (outer,),
        (context_id(outer, Kind.OP, Phase.OTHER, "aten::addmm"),),
    ]


def test_a_kernel_without_its_launch_goes_by_the_operators_number(tmp_path: Path) -> None:
    events = [
        complete("aten::relu", 0, 10, **{"External id": 31}),
        on_device("relu_kernel", 20, 5, 900, **{"External id": 31}),
        on_device("other_kernel", 30, 5, 901),
    ]
    imported(tmp_path, events)
    assert path_of(tmp_path, "relu_kernel") == ["aten::relu"]
    assert path_of(tmp_path, "other_kernel") == []


def test_several_forward_threads_are_told_apart_by_the_arrows(tmp_path: Path) -> None:
    def forward(tid: int, module: str) -> list[Any]:
        return [
            complete(f"nn.Module: {module}", 0, 50, "python_function", tid),
            complete("aten::relu", 10, 10, "cpu_op", tid, **{"Sequence number": 3, "Fwd thread id": 0}),
        ]

    def backward(start: int, forward_id: int) -> Any:
        return complete(
            "ReluBackward0", start, 10, "cpu_op", AUTOGRAD, **{"Sequence number": 3, "Fwd thread id": forward_id}
        )

    def arrow(phase: str, identity: int, tid: int, start: int) -> Any:
        return {"ph": phase, "cat": "fwdbwd", "id": identity, "pid": PID, "tid": tid, "ts": start, "name": "fwdbwd"}

    arrows = [arrow("s", 1, 51, 10), arrow("f", 1, AUTOGRAD, 100), arrow("s", 2, 52, 10), arrow("f", 2, AUTOGRAD, 200)]
    imported(tmp_path, [*forward(51, "A_0"), *forward(52, "B_0"), backward(100, 1), backward(200, 2), *arrows])
    assert spans(tmp_path, "layer", "name = 'ReluBackward0'") == [("A_0",), ("B_0",)]


def test_pairs_of_begin_and_end_are_events_too(tmp_path: Path) -> None:
    def half(phase: str, name: str, start: float) -> Any:
        return {"ph": phase, "name": name, "pid": 1, "tid": 2, "ts": start}

    events = [
        half("B", "outer", 1),
        half("B", "inner", 2),
        half("E", "inner", 5),
        half("E", "", 9.5),
        half("B", "never ends", 20),
        half("E", "never began", 0),
    ]
    result = imported(tmp_path, events)
    assert spans(tmp_path, "name, kind, dur_ns, self_ns") == [
        ("outer", "user", 8500, 5500),
        ("inner", "user", 3000, 3000),
    ]
    assert len(result.warnings) == 1
    assert "2 begin or end events" in result.warnings[0]


def test_times_are_exact_where_a_float_of_microseconds_is_not(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    path.write_text(
        '[{"ph": "X", "cat": "cpu_op", "name": "a", "pid": 1, "tid": 1, "ts": 1712195495519689.123, "dur": 5.007},'
        '{"ph": "X", "cat": "cpu_op", "name": "b", "pid": 1, "tid": 1, "ts": 1712195495519690, "dur": 2}]'
    )
    import_traces([path], tmp_path / "run")
    assert spans(tmp_path, "start_ns, dur_ns, self_ns") == [
        (1712195495519689123, 5007, 3007),
        (1712195495519690000, 2000, 2000),
    ]


def test_times_count_from_the_base_that_the_trace_states(tmp_path: Path) -> None:
    imported(tmp_path, [complete("a", 1.25, 2)], baseTimeNanoseconds=1_790_857_026_000_000_000)
    assert spans(tmp_path, "start_ns") == [(1_790_857_026_000_001_250,)]


def test_a_base_beyond_all_times_is_left_out_and_said(tmp_path: Path) -> None:
    result = imported(tmp_path, [complete("a", 1, 2)], baseTimeNanoseconds=2**80)
    assert spans(tmp_path, "start_ns") == [(1000,)]
    assert "baseTimeNanoseconds" in result.warnings[0]


def test_steps_end_with_the_optimizer_where_the_profiler_was_told_of_none(tmp_path: Path) -> None:
    events = [complete("aten::mm", 100 * step, 10) for step in range(3)]
    events += [complete("Optimizer.step#SGD.step", 100 * step + 50, 30, "user_annotation") for step in range(3)]
    assert imported(tmp_path, events).steps == 3
    assert spans(tmp_path, "step, start_ns, dur_ns", "kind = 'step'") == [
        (0, 0, 80_000),
        (1, 80_000, 100_000),
        (2, 180_000, 100_000),
    ]
    assert spans(tmp_path, "step, phase", "name = 'aten::mm'") == [(0, "other"), (1, "other"), (2, "other")]
    assert set(spans(tmp_path, "phase, kind", "name LIKE 'Optim%'")) == {("optimizer", "user")}


@pytest.mark.parametrize(
    "broken",
    [
        '{"ph": "X", "name": "a\\qb", "cat": "cpu_op", "pid": 1, "tid": 1, "ts": 1, "dur": 2}',
        '{"ph": "X", "name": "inf", "cat": "cpu_op", "pid": 1, "tid": 1, "ts": 1, "dur": 2, "args": {"GB/s": inf}}',
        '{"ph": "X", "name": "list", "cat": "cpu_op", "pid": 1, "tid": 1, "ts": 1, "dur": 2, "args": [1]}',
        '{"ph": "X", "name": "text", "cat": "cpu_op", "pid": "p", "tid": null, "ts": "1", "dur": "2"}',
        '{"ph": "X", "name": "\\ud800", "cat": "cpu_op", "pid": 1, "tid": 1, "ts": 1, "dur": 2}',
        '{"ph": "X", "name": 5, "cat": null, "pid": 1.0, "tid": -1, "ts": 1, "dur": 2, "args": {"stream": [7]}}',
    ],
)
def test_events_that_are_not_quite_right_are_read_for_what_they_are(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "trace.json"
    path.write_text(
        f'[{{"ph": "X", "cat": "cpu_op", "name": "good", "pid": 1, "tid": 1, "ts": 9, "dur": 1}}, {broken}]'
    )
    assert import_traces([path], tmp_path / "run").spans == 2
    assert (1000, 2000) in spans(tmp_path, "start_ns, dur_ns")


@pytest.mark.parametrize(
    "broken",
    [
        '{"ph": "X", "name": "a", "ts": 1e999, "dur": 1}',
        '{"ph": "X", "name": "a", "ts": 1, "dur": -1}',
        '{"ph": "X", "name": "a", "ts": "soon", "dur": 1}',
        '{"ph": "X", "name": "a", "ts": 1, "dur": 1e300}',
        '{"name": "no phase", "ts": 1}',
        '{"ph": {"X": 1}, "name": ["a"], "ts": 1}',
    ],
)
def test_events_that_mean_nothing_are_left_out_and_counted(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "trace.json"
    path.write_text(
        f'[{broken}, {{"ph": "X", "cat": "cpu_op", "name": "good", "pid": 1, "tid": 1, "ts": 9, "dur": 1}}]'
    )
    result = import_traces([path], tmp_path / "run")
    assert result.spans == 1
    assert "1 events are not as the format wants them" in result.warnings[0]


def test_brackets_that_do_not_match_end_the_events_and_are_told(tmp_path: Path) -> None:
    good = '{"ph": "X", "cat": "cpu_op", "name": "good", "pid": 1, "tid": 1, "ts": 9, "dur": 1}'
    (tmp_path / "trace.json").write_text(f'[{good}, {{"args": ]}}]}}, {good}]')
    result = import_traces([tmp_path / "trace.json"], tmp_path / "run")
    assert result.spans == 1
    assert "cut off" in result.warnings[0]


def test_tables_of_the_host_hold_no_time_of_devices(tmp_path: Path) -> None:
    imported(tmp_path, one_training_step())
    with Run.open(tmp_path / "run") as run:
        summary = summarize(run)
        assert [(each.device, each.busy_ns, each.kernel_ns, each.copy_ns) for each in summary.devices] == [
            ("cuda:0", 447_000, 440_000, 7000)
        ]
        assert [(row.name, row.self_ns) for row in summary.kernels if row.self_ns] == [
            ("gemm_kernel", 400_000),
            ("relu_kernel", 40_000),
            ("Memcpy DtoD (Device -> Device)", 7000),
        ]
        assert not {row.name for row in summary.ops} & {row.name for row in summary.kernels}
        layers = {row.name: row for row in summary.layers}
        assert layers["Linear_0"].device_ns == 407_000
        assert layers["Net_0"].device_ns == 447_000
        assert layers["Net_0"].total_ns == 300_000 + 200_000
        assert {each.tid for each in summary.threads} == {MAIN, AUTOGRAD}
        by_op = {row.name: row for row in top(run, "op", limit=0).rows}
        assert by_op["aten::addmm"].device_ns == 400_000
        assert "gemm_kernel" not in by_op
        for by in ("op", "layer", "type", "phase", "step", "thread", "context"):
            table = top(run, by, limit=0)
            assert table.device_ns == 447_000
            assert not table.devices
            if by != "layer":
                assert sum(row.device_ns for row in table.rows) == 447_000
        kernels = top(run, "op", compile_query("kind:kernel"))
        assert kernels.devices
        assert [(row.name, row.self_ns, row.device_ns) for row in kernels.rows] == [
            ("gemm_kernel", 400_000, 0),
            ("relu_kernel", 40_000, 0),
        ]
