"""The three lines on accelerators: as in the whole summary, for less."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deepseek_prof.analysis.gpu.overview import TensorCoreUse, gpu_overview
from deepseek_prof.analysis.gpu.summary import gpu_summary
from deepseek_prof.analysis.gpu.wording import gpu_lines
from deepseek_prof.importing.importer import import_traces
from deepseek_prof.trace.run import Run
from tests.support.chrome_trace import complete, on_device, write_trace


def _imported(folder: Path, *events: dict[str, Any]) -> Path:
    import_traces([write_trace(folder / "trace.json", list(events))], folder / "run")
    return folder / "run"


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    def call(at_us: float, correlation: int) -> dict[str, Any]:
        return complete("cudaLaunchKernel", at_us, 5, "cuda_runtime", correlation=correlation)

    events = (
        complete("aten::mm", 0, 40),
        *(call(at_us, number) for number, at_us in enumerate((5, 15, 25), start=1)),
        on_device("sm90_xmma_gemm_bf16_f32", 100, 60, 1),
        on_device("elementwise_kernel", 180, 20, 2),
        on_device("ncclDevKernel_AllReduce_Sum_f32_RING", 190, 30, 3),
    )
    with Run.open(_imported(tmp_path, *events)) as opened:
        yield opened


def test_it_says_what_the_whole_summary_says(run: Run) -> None:
    found, whole = gpu_overview(run), gpu_summary(run)
    assert found is not None
    assert whole is not None
    assert (found.devices, found.overlaps, found.tensor_cores) == (whole.devices, whole.overlaps, whole.tensor_cores)
    (device,) = found.devices
    assert (device.extent_ns, device.idle_ns, device.exposed_communication_ns) == (120_000, 20_000, 20_000)
    assert found.tensor_cores == TensorCoreUse(110_000, 60_000, found.tensor_cores.unknown_ns, 60_000, 60_000)
    lines = gpu_lines(found)
    assert [line.partition(":")[0] for line in lines] == ["rank 0 cuda", "rank 0 cuda", "tensor cores"]


def test_it_reads_less(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    original = Run.guarded

    def counted(self: Run, action: Any) -> Any:
        asked.append("query")
        return original(self, action)

    gpu_overview(run)  # what is kept for both
    monkeypatch.setattr(Run, "guarded", counted)
    gpu_overview(run)
    few = len(asked)
    gpu_summary(run)
    assert few < len(asked) - few


def test_a_run_without_accelerators_has_none(tmp_path: Path) -> None:
    with Run.open(_imported(tmp_path, complete("aten::mm", 0, 40))) as opened:
        assert gpu_overview(opened) is None
