"""Replays of CUDA graphs in our own recordings: for what was captured, or for the replay where that is not known."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepseek_prof.model import Kind
from deepseek_prof.recording import converter, graph_replays
from deepseek_prof.recording.device_format import GRAPH_CAPTURE, GRAPH_REPLAY, DeviceActivities, write_activities
from deepseek_prof.trace.run import Run
from tests.support.live import DEAD_PID, WrittenProcess, add_process, finish, make_run

MAIN, OTHER = 71, 72
HANDLES = {1: (MAIN,), 2: (OTHER,)}
GRAPH = 4
CAPTURED = (("aten::mm", "fc"), ("aten::copy_", None), ("aten::relu", "act"))
REPLAY = ("replay", None)


class Program:
    """Captures ``aten::mm`` in layer fc, a copy, and ``aten::relu`` in layer act at 10,000; replays from 30,000 on."""

    def __init__(self, tmp_path: Path) -> None:
        self.run_dir = make_run(tmp_path / "run")
        self.process: WrittenProcess = add_process(self.run_dir, DEAD_PID)
        self.captures: list[DeviceActivities] = []
        fc, act = (self.process.context(name, kind=Kind.LAYER) for name in ("fc", "act"))
        mm, copy = self.process.context("aten::mm", fc), self.process.context("aten::copy_")
        relu = self.process.context("aten::relu", act)
        self.process.spans(
            MAIN,
            [
                (10_100, 100, 100, mm),
                (10_100, 150, 50, fc),
                (10_300, 100, 100, copy),
                (10_500, 100, 100, relu),
                (10_500, 150, 50, act),
            ],
        )
        replay = self.process.context("replay", kind=Kind.USER)
        self.process.spans(MAIN, [(30_000 + 1_000 * number, 500, 500, replay) for number in range(4)])
        self._windows = 0
        self._correlation = 100

    def window(self, activities: DeviceActivities) -> None:
        path = self.process.directory / f"device-{self._windows:05d}.bin"
        write_activities(path, activities, HANDLES)
        self._windows += 1

    def capture(
        self, into: DeviceActivities, number: int = GRAPH, *, names: tuple[str, ...] = (), branches: bool = False
    ) -> None:
        calls = names or ("cudaLaunchKernel", "cudaMemcpyAsync", "cuLaunchKernelEx")
        for name, start_ns in zip(calls, (10_150, 10_350, 10_550), strict=True):
            self.call(into, name, start_ns)
        if branches:
            self.call(into, "cudaStreamWaitEvent", 10_410)
        into.append(GRAPH_CAPTURE, "", 10_000, 1_000, -1, -1, MAIN, graph=number)

    def call(self, into: DeviceActivities, name: str, start_ns: int, thread: int = 1) -> int:
        self._correlation += 1
        category = "cuda_driver" if name.startswith("cuL") else "cuda_runtime"
        into.append(category, name, start_ns, 10, self._correlation, -1, thread)
        return self._correlation

    def replay(
        self,
        into: DeviceActivities,
        at_ns: int,
        number: int = GRAPH,
        *,
        nodes: tuple[int, ...] = (),
        first_node: int = 99 << 32,
        node_stride: int = 1,
    ) -> None:
        """``nodes``: the driver's numbers, in order of time; without them the order is that of the capture."""
        correlation = self.call(into, "cudaGraphLaunch", at_ns + 50)
        into.append(GRAPH_REPLAY, "", at_ns + 20, 100, -1, -1, MAIN, graph=number)
        work = [("kernel", "gemm"), ("gpu_memcpy", "Memcpy DtoD"), ("kernel", "relu")]
        for place, node in enumerate(nodes or (0, 1, 2)):
            graph, graph_node = (99, first_node + node_stride * node) if nodes else (-1, -1)
            start_ns = at_ns + 200 + 50 * place
            into.append(*work[node], start_ns, 40, correlation, 0, 7, graph=graph, graph_node=graph_node)

    def launchers(self) -> list[tuple[str, str, str | None]]:
        """Work in order of time: its name, the operator above it, its layer."""
        self.process.end()
        assert finish(self.run_dir)["warnings"] == []
        with Run.open(self.run_dir) as run:
            return [
                (str(name), str(above), layer)
                for name, above, layer in run.rows(
                    "SELECT s.name, p.name, s.layer FROM spans s JOIN contexts c USING (context_id) "
                    "JOIN contexts p ON p.context_id = c.parent_id "
                    "WHERE s.kind IN ('kernel', 'memcpy') ORDER BY s.start_ns"
                )
            ]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def _above(program: Program) -> list[tuple[str, str | None]]:
    return [(above, layer) for _, above, layer in program.launchers()]


def test_every_replay_counts_for_what_was_captured_in_an_earlier_window(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converter, "_DEVICE_FILES_AT_ONCE", 1)
    first, second = DeviceActivities(), DeviceActivities()
    program.capture(first)
    program.replay(first, 30_000)
    program.replay(second, 31_000)
    program.window(first)
    program.window(second)
    found = program.launchers()
    assert [(above, layer) for _, above, layer in found] == [*CAPTURED, *CAPTURED]
    assert [name for name, _, _ in found[:3]] == ["gemm", "Memcpy DtoD", "relu"]


def test_a_replay_is_of_its_own_graph_though_another_looks_the_same(program: Program) -> None:
    window = DeviceActivities()
    program.capture(window, number=1)
    program.replay(window, 30_000, number=2)  # its capture was in no window
    program.replay(window, 31_000, number=1)
    program.window(window)
    assert _above(program) == [REPLAY] * 3 + list(CAPTURED)


def test_a_capture_of_other_work_is_not_taken_for_it(program: Program) -> None:
    window = DeviceActivities()
    program.capture(window, number=1, names=("cudaLaunchKernel", "cudaLaunchKernel", "cudaMemcpyAsync"))
    program.replay(window, 30_000, number=1)
    program.window(window)
    assert _above(program) == [REPLAY] * 3


def test_work_that_ran_during_a_capture_was_not_captured(program: Program) -> None:
    window = DeviceActivities()
    program.capture(window)
    correlation = program.call(window, "cudaLaunchKernel", 10_320, thread=2)
    window.append("kernel", "elsewhere", 10_900, 20, correlation, 0, 9)
    program.replay(window, 30_000)
    program.window(window)
    assert [(above, layer) for name, above, layer in program.launchers() if name != "elsewhere"] == list(CAPTURED)


def test_without_the_drivers_numbers_the_order_of_branches_is_not_known(program: Program) -> None:
    window = DeviceActivities()
    program.capture(window, branches=True)
    program.replay(window, 30_000)
    program.window(window)
    assert _above(program) == [REPLAY] * 3


def test_nodes_are_attributed_by_their_numbers_where_these_are_told(program: Program) -> None:
    window = DeviceActivities()
    program.capture(window, branches=True)
    program.replay(window, 31_000, nodes=(2, 0, 1))
    program.window(window)
    assert program.launchers() == [
        ("relu", "aten::relu", "act"),
        ("gemm", "aten::mm", "fc"),
        ("Memcpy DtoD", "aten::copy_", None),
    ]


def test_numbers_of_nodes_that_are_all_the_same_tell_no_order(program: Program) -> None:
    window = DeviceActivities()
    program.capture(window, branches=True)
    program.replay(window, 31_000, nodes=(0, 1, 2), first_node=0, node_stride=0)
    program.window(window)
    assert _above(program) == [REPLAY] * 3


def test_captures_at_the_same_time_are_not_told_apart(program: Program) -> None:
    window = DeviceActivities()
    program.capture(window)
    window.append(GRAPH_CAPTURE, "", 10_500, 1_000, -1, -1, OTHER, graph=5)
    program.replay(window, 30_000)
    program.window(window)
    assert _above(program) == [REPLAY] * 3


def test_a_call_into_the_driver_within_another_makes_one_node(program: Program) -> None:
    window = DeviceActivities()
    program.capture(window)
    window.append("cuda_driver", "cuLaunchKernel", 10_152, 5, 101, -1, 1)  # inside of the first, with its id
    program.replay(window, 30_000)
    program.window(window)
    assert _above(program) == list(CAPTURED)


def test_a_window_of_a_capture_alone_holds_no_work(program: Program) -> None:
    window = DeviceActivities()
    program.capture(window)
    program.call(window, "cudaGraphLaunch", 30_050)
    window.append(GRAPH_REPLAY, "", 30_020, 100, -1, -1, MAIN, graph=GRAPH)
    program.window(window)
    assert program.launchers() == []


def test_captures_that_are_kept_are_bounded(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_replays, "MAX_CALLS", 3)
    first, second = DeviceActivities(), DeviceActivities()
    program.capture(first, number=1)
    second.append("cuda_runtime", "cudaLaunchKernel", 12_000, 5, 900, -1, 1)
    second.append(GRAPH_CAPTURE, "", 11_900, 1_000, -1, -1, MAIN, graph=2)
    program.replay(second, 30_000, number=1)
    program.window(first)
    program.window(second)
    assert _above(program) == [REPLAY] * 3
