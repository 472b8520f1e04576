"""Parquet: the rows of the ``spans`` view, by start, as other readers see them."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from deepseek_prof.exporters import span_stream
from tests.support.drawn import write_drawn_run
from tests.support.exported import ORDER, exported, gpu_run, hostile_run, spans_of, training_step
from tests.support.synthetic import write_synthetic_run


@pytest.mark.parametrize("make", [lambda folder: write_drawn_run(folder / "run", training_step), gpu_run])
def test_rows_and_columns_are_those_of_the_view(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    run_dir = make(tmp_path)
    (tmp_path / "x.parquet").write_bytes(exported(run_dir, "parquet"))
    found = duckdb.sql(f"SELECT * FROM '{tmp_path / 'x.parquet'}' ORDER BY {ORDER}")
    assert found is not None
    assert found.fetchall() == spans_of(run_dir)
    assert found.columns == [
        "rank", "pid", "tid", "step", "phase", "kind", "name", "type", "layer", "start_ns", "dur_ns", "self_ns",
        "context_id", "device", "stream", "bytes", "flops", "shapes",
    ]  # fmt: skip
    types = dict(zip(found.columns, map(str, found.types), strict=True))
    assert {types[name] for name in ("name", "layer", "device", "shapes")} == {"VARCHAR"}
    assert {types[name] for name in ("start_ns", "context_id", "bytes")} == {"BIGINT"}


def test_spans_stand_by_start_in_a_row_group_a_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_synthetic_run(tmp_path / "run", steps=40, layers=2)
    whole = pq.read_table(BytesIO(exported(run.path, "parquet")))
    monkeypatch.setattr(span_stream, "WINDOW_SPANS", 1_000)
    file = pq.ParquetFile(BytesIO(exported(run.path, "parquet")))
    assert file.num_row_groups > 5
    assert file.read().equals(whole)
    starts = whole["start_ns"].to_pylist()
    assert starts == sorted(starts)
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_hostile_names_are_data(tmp_path: Path) -> None:
    run_dir = hostile_run(tmp_path / "run")
    found = pq.read_table(BytesIO(exported(run_dir, "parquet"))).select(["name", "layer"]).to_pylist()
    assert [tuple(each.values()) for each in found] == spans_of(run_dir, "name, layer")
