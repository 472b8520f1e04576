"""Replays of CUDA graphs: attributed to what was captured where the trace tells it, to the replay where it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepseek_prof.importing.importer import import_traces
from deepseek_prof.trace.run import Run
from tests.support.chrome_trace import complete, on_device, write_trace


def call(name: str, start_us: float, correlation: int) -> dict[str, Any]:
    return complete(name, start_us, 2, "cuda_runtime", correlation=correlation)


def capture() -> list[dict[str, Any]]:
    return [
        complete("capture", 0, 200, "user_annotation"),
        call("cudaStreamBeginCapture", 10, 1),
        complete("aten::mm", 20, 20),
        call("cudaLaunchKernel", 25, 2),
        complete("aten::copy_", 50, 20),
        call("cudaMemcpyAsync", 55, 3),
        complete("aten::relu", 80, 20),
        call("cudaLaunchKernel", 85, 4),
        call("cudaStreamEndCapture", 120, 5),
    ]


def replay(at_us: float, correlation: int, graph: int = 9) -> list[dict[str, Any]]:
    def node(name: str, start_us: float, number: int, category: str = "kernel") -> dict[str, Any]:
        place = {"graph id": graph, "graph node id": (graph << 32) + number}
        return on_device(name, at_us + start_us, 5, correlation, category, **place)

    return [
        complete("replay", at_us, 50, "user_annotation"),
        call("cudaGraphLaunch", at_us + 5, correlation),
        node("gemm_kernel", 20, 0),
        node("relu_kernel", 40, 2),
        node("Memcpy DtoD (Device -> Device)", 30, 1, "gpu_memcpy"),
    ]


def launchers(folder: Path, events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    import_traces([write_trace(folder / "trace.json", events)], folder / "run")
    with Run.open(folder / "run") as run:
        return [
            (str(kernel), str(operator))
            for kernel, operator in run.rows(
                "SELECT s.name, p.name FROM spans s JOIN contexts c USING (context_id) "
                "JOIN contexts p ON p.context_id = c.parent_id WHERE s.device IS NOT NULL ORDER BY s.start_ns"
            )
        ]


def test_every_replay_counts_for_what_was_captured(tmp_path: Path) -> None:
    other = on_device("relu_kernel", 900, 5, 20)
    events = [*capture(), *replay(300, 10), *replay(500, 11), complete("aten::relu_", 800, 20), other]
    events += [call("cudaLaunchKernel", 805, 20)]
    expected = [
        ("gemm_kernel", "aten::mm"),
        ("Memcpy DtoD (Device -> Device)", "aten::copy_"),
        ("relu_kernel", "aten::relu"),
    ]
    assert launchers(tmp_path, events) == [*expected, *expected, ("relu_kernel", "aten::relu_")]
    with Run.open(tmp_path / "run") as run:
        assert run.rows("SELECT count(*), count(graph_id), min(graph_node_id) FROM launches") == [(7, 6, 9 << 32)]


def test_without_its_capture_a_graph_counts_for_its_replay(tmp_path: Path) -> None:
    assert {operator for _, operator in launchers(tmp_path, replay(300, 10))} == {"replay"}


def test_a_capture_of_another_shape_is_not_taken_for_it(tmp_path: Path) -> None:
    events = [each for each in capture() if each["name"] != "cudaMemcpyAsync"]
    assert {operator for _, operator in launchers(tmp_path, [*events, *replay(300, 10)])} == {"replay"}
