"""From windows of device activities to spans: layer, operator, phase and step of whatever launched the work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepseek_prof.errors import RunDamagedError
from deepseek_prof.model import Kind, Phase
from deepseek_prof.recording import device_files
from deepseek_prof.recording.converter import Converter
from deepseek_prof.recording.device_format import DEVICE_HEADER, DeviceActivities, write_activities
from deepseek_prof.recording.live_process import LiveProcess
from deepseek_prof.recording.part_files import PartFiles
from deepseek_prof.recording.samples import UNRESOLVED, find_contexts
from deepseek_prof.trace.run import Run
from tests.support.live import (
    DEAD_PID,
    NO_LIMIT,
    OFFSET_NS,
    WrittenProcess,
    add_process,
    finish,
    make_run,
    read_rows,
    read_spans,
)

MAIN, ENGINE = 71, 72
HANDLES = {0xF0000001: (MAIN,), 0x00000002: (ENGINE,)}
"""Low halves of ``pthread_self()``; the first is negative as CUPTI's signed number."""
MAIN_CALLS, ENGINE_CALLS = 0xF0000001 - (1 << 32), 2


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


def _program(run_dir: Path) -> WrittenProcess:
    """Two steps: a layer with a matmul on the main thread, its backward on the engine's, an optimizer."""
    process = add_process(run_dir, DEAD_PID)
    layer = process.context("fc", kind=Kind.LAYER)
    matmul = process.context("aten::mm", layer)
    back_layer = process.context("fc", kind=Kind.LAYER, phase=Phase.BACKWARD)
    node = process.context("MmBackward0", back_layer, kind=Kind.AUTOGRAD, phase=Phase.BACKWARD)
    optimizer = process.context("Optimizer.step#SGD.step", kind=Kind.USER, phase=Phase.OPTIMIZER)
    for begin in (10_000, 20_000):
        process.spans(MAIN, [(begin + 100, 800, 800, matmul), (begin + 50, 1_000, 200, layer)])
        process.spans(ENGINE, [(begin + 2_000, 1_000, 1_000, node)])
        process.spans(MAIN, [(begin + 5_000, 1_000, 1_000, optimizer)])
    process.steps([(10_000, 9_000), (20_000, 9_000)])
    return process


def _window(process: WrittenProcess, number: int, begin: int, first: int) -> None:
    activities = DeviceActivities()
    for index, (start, thread) in enumerate(((200, MAIN_CALLS), (2_300, ENGINE_CALLS), (5_100, MAIN_CALLS))):
        correlation = first + index
        activities.append("cuda_runtime", "cudaLaunchKernel", begin + start, 30, correlation, -1, thread)
        # Far behind the host, as work on devices is: in the time of the next step.
        activities.append("kernel", f"kernel_{index}", begin + start + 9_500, 400, correlation, 0, 7)
    activities.append("cuda_runtime", "cudaMemcpyAsync", begin + 300, 20, first + 10, -1, MAIN_CALLS)
    activities.append("gpu_memcpy", "Memcpy HtoD", begin + 400, 50, first + 10, 0, 9, 4096)
    activities.append("cuda_runtime", "cudaStreamSynchronize", begin + 7_000, 500, first + 11, -1, MAIN_CALLS)
    activities.append("cuda_sync", "Stream Sync", begin + 7_000, 450, first + 11, 0, 7)
    activities.append("kernel", "nobody's", begin + 100, 5, first + 12, 0, 7)
    write_activities(process.directory / f"device-{number:05d}.bin", activities, HANDLES)


def _spans(run_dir: Path, where: str = "device IS NOT NULL") -> list[dict[str, Any]]:
    with Run.open(run_dir) as run:
        rows: list[dict[str, Any]] = run.table(f"SELECT * FROM spans WHERE {where} ORDER BY start_ns").to_pylist()
        return rows


def test_work_belongs_to_what_launched_it(run_dir: Path) -> None:
    process = _program(run_dir)
    _window(process, 0, 10_000, 100)
    _window(process, 1, 20_000, 100)  # torn down in between: the same ids again
    process.end()
    info = finish(run_dir)
    assert info["warnings"] == []
    kernels = [row for row in _spans(run_dir) if row["kind"] == "kernel"]
    found = {(row["step"], row["name"], row["layer"], row["phase"]) for row in kernels}
    assert found == {
        each
        for step in (0, 1)
        for each in (
            (step, "kernel_0", "fc", "forward"),
            (step, "kernel_1", "fc", "backward"),
            (step, "kernel_2", None, "optimizer"),
            (step, "nobody's", None, "other"),
        )
    }
    assert {(row["device"], row["stream"], row["tid"], row["dur_ns"], row["self_ns"]) for row in kernels} == {
        ("cuda:0", 7, 7, 400, 400),
        ("cuda:0", 7, 7, 5, 5),
    }
    copy = next(row for row in _spans(run_dir) if row["kind"] == "memcpy")
    assert (copy["bytes"], copy["layer"], copy["stream"]) == (4096, "fc", 9)


def test_launches_stand_beside_their_spans_and_go_with_them(run_dir: Path) -> None:
    process = _program(run_dir)
    _window(process, 0, 10_000, 100)
    process.end()
    finish(run_dir)
    launches = read_rows(run_dir, "launches/rank=0/pid=*/part-*.parquet")
    spans = {row["context_id"]: row for row in read_spans(run_dir) if row["device"]}
    assert [row["launched_ns"] - OFFSET_NS for row in launches] == [10_200, 12_300, 15_100, 10_300]
    for row in launches:
        span = spans[row["context_id"]]
        assert [row[key] for key in ("step", "start_ns", "dur_ns", "device", "stream")] == [
            span[key] for key in ("step", "start_ns", "dur_ns", "device", "stream")
        ]
        assert (row["graph_id"], row["graph_node_id"]) == (None, None)
    files = PartFiles(run_dir)
    for part in list(files.parts):
        files.remove(part)
    assert read_rows(run_dir, "launches/rank=0/pid=*/part-*.parquet") == []


def test_the_operator_stands_above_the_kernel(run_dir: Path) -> None:
    process = _program(run_dir)
    _window(process, 0, 10_000, 100)
    process.end()
    finish(run_dir)
    with Run.open(run_dir) as run:
        parents = run.rows(
            "SELECT k.name, p.name FROM contexts k JOIN contexts p ON k.parent_id = p.context_id "
            "WHERE k.kind = 'kernel'"
        )
    assert set(parents) == {
        ("kernel_0", "aten::mm"),
        ("kernel_1", "MmBackward0"),
        ("kernel_2", "Optimizer.step#SGD.step"),
    }


def test_calls_and_waits_take_no_self_time_from_operators(run_dir: Path) -> None:
    process = _program(run_dir)
    _window(process, 0, 10_000, 100)
    process.end()
    finish(run_dir)
    calls = _spans(run_dir, "kind IN ('runtime', 'sync')")
    assert {(row["name"], row["kind"], row["device"], row["tid"]) for row in calls} == {
        ("cudaLaunchKernel", "runtime", None, MAIN),
        ("cudaLaunchKernel", "runtime", None, ENGINE),
        ("cudaMemcpyAsync", "runtime", None, MAIN),
        ("cudaStreamSynchronize", "sync", None, MAIN),
        ("Stream Sync", "sync", "cuda:0", 7),
    }
    assert {row["self_ns"] for row in calls} == {0}


@pytest.mark.parametrize("damage", ["cut", "header", "label", "json"])
def test_a_damaged_window_costs_only_itself(run_dir: Path, damage: str) -> None:
    process = _program(run_dir)
    _window(process, 0, 10_000, 100)
    _window(process, 1, 20_000, 200)
    path = process.directory / "device-00000.bin"
    data = bytearray(path.read_bytes())
    begin = len(data) - 9 * 8 * 11
    if damage == "cut":
        data = data[:-8]
    elif damage == "header":
        data[0] ^= 1
    elif damage == "label":
        data[begin] = 99
    else:
        data[DEVICE_HEADER.size] = ord("[")
    path.write_bytes(bytes(data))
    process.end()
    info = finish(run_dir)
    assert any("device-00000.bin is damaged" in warning for warning in info["warnings"])
    assert {row["step"] for row in _spans(run_dir)} == {1}


def test_windows_of_a_running_process_wait_for_the_spans_that_launched_them(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LiveProcess, "is_alive", lambda _: True)
    process = _program(run_dir)
    _window(process, 0, 10_000, 100)
    _window(process, 1, 20_000, 200)
    converter = Converter(run_dir, max_size_bytes=NO_LIMIT)
    converter.poll()
    assert len(list(process.directory.glob("device-*.bin"))) == 2
    for writer in process.threads.values():
        writer.close()
    size = (process.directory / "device-00001.bin").stat().st_size
    monkeypatch.setattr(device_files, "LAG_BYTES", size + 1)
    converter.poll()
    assert [path.name for path in process.directory.glob("device-*.bin")] == ["device-00001.bin"]
    assert {(row["step"], row["layer"]) for row in _spans(run_dir) if row["name"] == "kernel_0"} == {(0, "fc")}
    monkeypatch.undo()
    process.end()
    converter.finish()
    assert {row["step"] for row in _spans(run_dir) if row["name"] == "kernel_0"} == {0, 1}


def test_windows_are_converted_by_many_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_files, "LAG_BYTES", 8_000)
    due = []
    for number in range(14):
        (tmp_path / f"device-{number:05d}.bin").write_bytes(b"x" * 1_000)
        due.append(len(device_files.due_device_files(tmp_path, final=False)))
    # Nine make the first one due; it waits for a second.
    assert due == [0] * 9 + [2, 3, 4, 5, 6]


def test_parts_of_another_time_are_not_read(run_dir: Path) -> None:
    process = add_process(run_dir, DEAD_PID)
    layer = process.context("fc", kind=Kind.LAYER)
    spans = [(1_000 * number, 900, 900, layer) for number in range(1, 400)]
    process.spans(MAIN, spans)
    finish(run_dir)
    (old,) = (run_dir / "spans").rglob("part-*.parquet")
    data = bytearray(old.read_bytes())
    data[8:200] = b"\xff" * 192  # what it holds cannot be read any more; its footer can
    old.write_bytes(data)
    with pytest.raises((OSError, RunDamagedError)):
        find_contexts(np.array([MAIN]), np.array([OFFSET_NS + 5_100]), [old])
    assert find_contexts(np.array([MAIN]), np.array([OFFSET_NS + 900_000]), [old]).tolist() == [UNRESOLVED]
