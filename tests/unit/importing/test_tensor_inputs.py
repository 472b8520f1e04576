"""Shapes in traces: what becomes of them, and what of those that do not tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deepseek_prof.analysis.gpu.summary import gpu_summary
from deepseek_prof.importing.importer import import_traces
from deepseek_prof.importing.tensor_inputs import signature_of
from deepseek_prof.trace.run import Run
from tests.support.chrome_trace import complete, on_device, write_trace


def shapes_of(dims: object, types: object) -> str | None:
    found = signature_of(json.dumps(dims).encode(), json.dumps(types).encode())
    return None if found is None else found.shapes


@pytest.mark.parametrize(
    ("dims", "types", "expected"),
    [
        ([[8, 4], [4, 2]], ["float", "c10::BFloat16"], "float32[8,4];bfloat16[4,2]"),
        ([[8], [], []], ["long int", "Scalar", ""], "int64[8]"),
        ([[]], ["double"], "float64[]"),
        ([[[8], [4]], []], ["TensorList", "Scalar"], None),
        ([[], []], ["Scalar", ""], None),
        ([[8]], ["float", "float"], None),
        ([["x"]], ["float"], None),
        ([[-1]], ["float"], None),
        (7, ["float"], None),
    ],
)
def test_signatures(dims: object, types: object, expected: str | None) -> None:
    assert shapes_of(dims, types) == expected


def test_text_that_is_no_list_has_no_signature() -> None:
    assert signature_of(b"[[8", b'["float"]') is None


def product(name: str, start_us: float, dur_us: float, number: int, kernel_us: float, kernel: str) -> list[Any]:
    tensors = {"Input Dims": [[512, 1024], [1024, 2048]], "Input type": ["float", "float"]}
    return [
        complete(name, start_us, dur_us, **tensors, **{"External id": number}),
        complete("cudaLaunchKernel", start_us + 2, 2, "cuda_runtime", correlation=number),
        on_device(kernel, start_us + 100, kernel_us, number),
    ]


def test_the_roofline_of_a_matrix_product(tmp_path: Path) -> None:
    events = [
        *product("aten::mm", 0, 10, 1, 40, "ampere_tf32_s1688gemm_128x128"),
        *product("aten::mm", 200, 10, 2, 60, "ampere_tf32_s1688gemm_128x128"),
        *product("aten::mul", 400, 10, 3, 5000, "vectorized_elementwise_kernel"),
    ]
    named = [{"id": 0, "name": "NVIDIA A100-SXM4-80GB"}]
    import_traces([write_trace(tmp_path / "trace.json", events, deviceProperties=named)], tmp_path / "run")
    with Run.open(tmp_path / "run") as run:
        assert run.rows(
            "SELECT DISTINCT name, shapes, bytes, flops FROM spans WHERE shapes IS NOT NULL ORDER BY 1"
        ) == [
            ("aten::mm", "float32[512,1024];float32[1024,2048]", 4 * 1024 * (512 + 2048), 2 * 512 * 1024 * 2048),
            ("aten::mul", "float32[512,1024];float32[1024,2048]", 4 * 1024 * (512 + 2048), None),
        ]
        found = gpu_summary(run)
    assert found is not None
    assert found.peaks is not None
    assert found.peaks.name == "A100 80GB SXM"
    small, product_row = found.roofline
    assert (product_row.name, product_row.precision, product_row.count) == ("aten::mm", "tf32", 2)
    assert product_row.flops_per_s == pytest.approx(2 * 2 * 512 * 1024 * 2048 / 100e-6)
    assert product_row.bytes_per_s == pytest.approx(2 * 4 * 1024 * (512 + 2048) / 100e-6)
    assert product_row.compute_share == pytest.approx(product_row.flops_per_s / 156e12)
    assert product_row.memory_share == pytest.approx(product_row.bytes_per_s / 2039e9)
    assert product_row.bound == "compute"
    assert (small.name, small.compute_share, small.bound) == ("aten::mul", None, "neither")
