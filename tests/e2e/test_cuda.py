"""``run --cuda``: the recorder in a real program under the real recorder; only the device is a stand-in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deepseek_prof.analysis.gpu.summary import device_names
from deepseek_prof.trace.run import Run
from tests.support.recording import run_cli, write_program

# A device that finishes each launch a millisecond later, told by the events that Kineto would tell. Windows of the real
# Kineto open and close around them: without a device they hold nothing.
_DEVICE = """
    import threading, time
    import torch
    from deepseek_prof.collectors import child, cuda, cuda_activities, cuda_windows
    cuda_windows.SHORTEST_NS = 0
    cuda_activities.MAX_WAITING = 1000  # so short, windows may come faster than they are written

    launched = []
    windows = []
    torch.cuda.is_current_stream_capturing = lambda: False

    def launch(name):
        launched.append((name, len(launched) + 1, threading.get_ident(), time.time_ns()))

    class Event:
        def __init__(self, kind, name, start_ns, dur_ns, correlation, device, resource):
            self.values = kind, name, start_ns, dur_ns, correlation, device, resource
        def activity_type(self): return self.values[0]
        def name(self): return self.values[1]
        def start_ns(self): return self.values[2]
        def duration_ns(self): return self.values[3]
        def correlation_id(self): return self.values[4]
        def device_index(self): return self.values[5]
        def device_resource_id(self): return self.values[6]

    class Result:
        def __init__(self, calls):
            self.calls = calls
        def events(self):
            for name, correlation, ident, ns in self.calls:
                handle = (ident & 0xFFFFFFFF) - (ident >> 31 & 1) * (1 << 32)
                yield Event("cuda_runtime", "cudaLaunchKernel", ns, 1000, correlation, 0, handle)
                yield Event("kernel", name, ns + 1_000_000, 500, correlation, 0, 7)

    class Device(cuda.KinetoCuda):
        def open(self):
            super().open()
            windows.append(len(launched))
        def settle(self):
            pass
        def close(self, *, last):
            super().close(last=last)
            return Result(launched[windows[-1]:])

    def attach():
        attachment = child.current()
        recorder = cuda.CudaRecorder(attachment, attachment.recorder, Device(with_metadata=False), with_metadata=False)
        recorder.begin()
        attachment.cuda = recorder
"""
_MODEL = """
    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            launch("forward_kernel")
            return x * 2
        @staticmethod
        def backward(ctx, gradient):
            launch("backward_kernel")
            return gradient * 2

    class Layer(torch.nn.Linear):
        def forward(self, x):
            return Product.apply(super().forward(x))

    model = torch.nn.Sequential(Layer(4, 4), torch.nn.ReLU(), Layer(4, 4))
    optimizer = torch.optim.SGD(model.parameters(), 0.01)

    def step():
        model(torch.randn(2, 4)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        time.sleep(0.001)
"""


def _record(tmp_path: Path, body: str, *options: str) -> tuple[Run, bytes]:
    program = write_program(tmp_path, _DEVICE + _MODEL + body)
    done = run_cli("run", "--cuda", "kernels", "--output", str(tmp_path / "run"), *options, str(program), cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    return Run.open(tmp_path / "run"), done.stderr


def _kernels(run: Run) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = run.table("SELECT * FROM spans WHERE kind = 'kernel' ORDER BY start_ns").to_pylist()
    return rows


def test_every_launch_has_its_layer_phase_and_step(tmp_path: Path) -> None:
    body = """
    attach()
    child.current().update(devices=["NVIDIA H100 80GB HBM3"])
    for _ in range(6): step()
    """
    run, stderr = _record(tmp_path, body)
    with run:
        assert device_names(run) == ("NVIDIA H100 80GB HBM3",)
        found = [(row["step"], row["name"], row["layer"], row["phase"]) for row in _kernels(run)]
        (process,) = run.processes
    assert found == [
        each
        for step in range(6)
        for each in (
            (step, "forward_kernel", "0", "forward"),
            (step, "forward_kernel", "2", "forward"),
            (step, "backward_kernel", "2", "backward"),
            (step, "backward_kernel", "0", "backward"),
        )
    ]
    assert process["cuda_recording"]["activities"] == 48
    assert process["cuda_recording"]["windows"] >= 6
    assert process["cuda_recording"]["skipped_windows"] == 0
    assert b"USDT" not in stderr


def test_windows_keep_to_the_steps_asked_for(tmp_path: Path) -> None:
    run, _ = _record(tmp_path, "\n    attach()\n    for _ in range(6): step()\n", "--steps", "2:4")
    with run:
        assert {row["step"] for row in _kernels(run)} == {2, 3}


def test_launches_of_other_threads_have_theirs(tmp_path: Path) -> None:
    body = """
    def beside():
        with torch.profiler.record_function("beside"):
            torch.ones(2)
            launch("other_thread")
            time.sleep(0.002)
    attach()
    step()
    thread = threading.Thread(target=beside)
    model(torch.ones(1, 4))
    thread.start(); thread.join()
    step()
    """
    run, _ = _record(tmp_path, body)
    with run:
        parents = run.rows(
            "SELECT DISTINCT p.name FROM contexts k JOIN contexts p ON k.parent_id = p.context_id "
            "WHERE k.name = 'other_thread'"
        )
    assert parents == [("beside",)]


def test_the_programs_own_profiler_gets_its_window(tmp_path: Path) -> None:
    body = """
    attach()
    step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        step()
    assert any(event.key == "aten::addmm" for event in profiler.key_averages())
    step()
    step()
    """
    run, _ = _record(tmp_path, body)
    with run:
        assert {row["step"] for row in _kernels(run)} == {0, 2, 3}
        events = [event for (event,) in run.rows("SELECT event FROM logs WHERE event LIKE 'cuda%' ORDER BY ts_ns")]
    assert events == ["cuda_recording_paused", "cuda_recording_resumed"]


def test_a_failing_driver_costs_the_work_on_devices_only(tmp_path: Path) -> None:
    body = """
    def refuse(self):
        raise RuntimeError("CUPTI_ERROR_INSUFFICIENT_PRIVILEGES")
    Device.open = refuse
    attach()
    for _ in range(3): step()
    """
    run, stderr = _record(tmp_path, body)
    with run:
        assert run.rows("SELECT count(*) FROM spans WHERE kind = 'step'") == [(3,)]
        assert _kernels(run) == []
    assert b"CUDA work is no longer recorded: RuntimeError: CUPTI_ERROR_INSUFFICIENT_PRIVILEGES" in stderr


def test_threads_that_come_and_go_lose_nothing(tmp_path: Path) -> None:
    """A server with a thread for each request: none of them comes back to end the window that it began."""
    body = """
    cuda_windows.LONGEST_NS = 1_000_000
    attach()
    for _ in range(20):
        thread = threading.Thread(target=lambda: model(torch.ones(1, 4)))
        thread.start(); thread.join()
        time.sleep(0.001)
    """
    run, stderr = _record(tmp_path, body)
    with run:
        assert len(_kernels(run)) == 40
        assert {row["layer"] for row in _kernels(run)} == {"0", "2"}  # whoever had the thread's handle later
        (process,) = run.processes
    assert process["cuda_recording"]["windows"] > 1
    assert b"no longer recorded" not in stderr


def test_ctrl_c_during_a_wait_for_the_device_is_the_programs(tmp_path: Path) -> None:
    body = """
    import signal
    attach()
    step()
    def interrupted(self):
        signal.raise_signal(signal.SIGINT)
    Device.settle = interrupted
    try:
        for _ in range(100): step()
        print("not interrupted")
    except KeyboardInterrupt:
        print("interrupted")
    Device.settle = lambda self: None
    """
    program = write_program(tmp_path, _DEVICE + _MODEL + body)
    done = run_cli("run", "--cuda", "kernels", "--output", str(tmp_path / "run"), str(program), cwd=tmp_path)
    assert done.stdout == b"interrupted\n", done.stderr.decode()


_GRAPH = """
    class Graph:  # captured, a launch starts nothing; replayed, it does
        def capture_begin(self):
            self.begin = len(launched)
        def capture_end(self):
            self.calls = [call for call in launched[self.begin:] if call[0] is not None]
            launched[self.begin:] = [(None, *call[1:]) for call in launched[self.begin:]]
        def replay(self):
            launched.append((tuple(name for name, *_ in self.calls), len(launched) + 1, threading.get_ident(),
                             time.time_ns()))
            time.sleep(0.001)

    class GraphResult(Result):
        def events(self):
            for names, correlation, ident, ns in self.calls:
                replayed = isinstance(names, tuple)
                call = "cudaGraphLaunch" if replayed else "cudaLaunchKernel"
                handle = (ident & 0xFFFFFFFF) - (ident >> 31 & 1) * (1 << 32)
                yield Event("cuda_runtime", call, ns, 1000, correlation, 0, handle)
                for place, name in enumerate(names if replayed else [names] if names else []):
                    yield Event("kernel", name, ns + 1_000_000 + 1000 * place, 500, correlation, 0, 7)
    Result = GraphResult

    torch.cuda.CUDAGraph = Graph
    attach()
    step()
    child.current().cuda._plan._budget = BUDGET
    step()
    graph = Graph()
    try:
        with torch.no_grad():
            graph.capture_begin()
            model(torch.ones(2, 4))
    finally:
        graph.capture_end()
    for _ in range(3):
        with torch.profiler.record_function("replaying"):
            graph.replay()
"""


@pytest.mark.parametrize("budget", ["None", "0.0"])
def test_replays_of_a_graph_count_for_the_layers_that_were_captured(tmp_path: Path, budget: str) -> None:
    """With no time to spare, a window begins for the capture all the same."""
    run, stderr = _record(tmp_path, _GRAPH.replace("BUDGET", budget))
    with run:
        found = run.rows(
            "SELECT layer, phase, count(*) FROM spans "
            "WHERE kind = 'kernel' AND name = 'forward_kernel' AND step > 1 GROUP BY ALL ORDER BY ALL"
        )
        (process,) = run.processes
    assert found == [("0", "forward", 3), ("2", "forward", 3)], stderr.decode()
    assert (process["cuda_recording"]["windows"] == 2) == (budget == "0.0")


_EVENTS = """
    from deepseek_prof.collectors import cuda_events
    cuda_events.LAYERS_EVERY = 2

    class TimedEvent:
        def __init__(self, enable_timing): self.ns = None
        def record(self): self.ns = time.monotonic_ns() + 100_000
        def query(self): return time.monotonic_ns() >= self.ns
        def synchronize(self):
            while not self.query(): pass
        def elapsed_time(self, other): return (other.ns - self.ns) / 1e6

    torch.cuda.Event = TimedEvent
    torch.cuda.current_device = lambda: 0
    attachment = child.current()
    attachment.cuda = cuda_events.CudaEvents(attachment, attachment.recorder)
    attachment.cuda.begin()
    for _ in range(7): step()
"""


def test_events_time_steps_and_some_steps_layers(tmp_path: Path) -> None:
    run, _ = _record(tmp_path, _EVENTS, "--record", "layers")
    with run:
        on_device = run.table("SELECT * FROM spans WHERE device = 'cuda:0' ORDER BY start_ns").to_pylist()
        host = dict(run.rows("SELECT step, dur_ns FROM spans WHERE kind = 'step'"))
        (process,) = run.processes
    steps = [row for row in on_device if row["name"] == "step"]
    assert len(steps) == 6  # the last has no end
    layers = {(row["step"], row["layer"], row["name"]) for row in on_device if row["name"] != "step"}
    names = {name for _, _, name in layers}
    assert {"0", "1", "2"} <= names
    assert {step for step, _, _ in layers} == {0, 2, 4}
    assert all(layer == name for _, layer, name in layers if name in ("0", "1", "2"))
    assert {row["self_ns"] for row in on_device} == {0}
    assert {row["kind"] for row in on_device} == {"user"}
    inner = [row for row in on_device if row["name"] == "1"]
    assert all(0 < row["dur_ns"] < host[row["step"]] for row in inner)
    assert process["cuda_recording"]["source"] == "events"


@pytest.mark.parametrize("mode", ["auto", "off"])
def test_without_cuda_nothing_of_it_is_imported(tmp_path: Path, mode: str) -> None:
    code = """
    import sys
    import torch
    torch.nn.Linear(2, 2)(torch.ones(1, 2))
    assert not [name for name in sys.modules if "deepseek_prof" in name and "cuda" in name]
    """
    program = write_program(tmp_path, code)
    done = run_cli("run", "--output", str(tmp_path / "run"), "--cuda", mode, str(program), cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()


def test_kernels_that_cannot_be_had_are_told(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if torch.version.cuda or torch.version.hip:
        pytest.skip("this torch can record CUDA work")
    program = write_program(tmp_path, "import torch; torch.ones(1)")
    done = run_cli("run", "--output", str(tmp_path / "run"), "--cuda", "kernels", str(program), cwd=tmp_path)
    assert done.returncode == 0
    assert b"no CUDA work is recorded: --cuda kernels: this torch was built without CUDA" in done.stderr
