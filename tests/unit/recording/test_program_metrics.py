"""What processes tell becomes counters once, however often and wherever the conversion is cut short."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from deepseek_prof.interfaces import CounterSample
from deepseek_prof.recording.counters import CounterWriter
from deepseek_prof.recording.metric_hub import MetricHub
from deepseek_prof.recording.program_metrics import ProgramMetrics, parse_metric


def line(ts_ns: int, value: float, **changes: Any) -> str:
    return (
        json.dumps({"ts_ns": ts_ns, "name": "loss", "value": value, "unit": "", "device": "program", **changes}) + "\n"
    )


def process(run_dir: Path) -> Path:
    folder = run_dir / "live" / "7-1"
    folder.mkdir(parents=True)
    return folder


def written(run_dir: Path) -> dict[str, list[float]]:
    return {
        path.parent.name: pq.ParquetFile(path).read()["value"].to_pylist()
        for path in sorted(run_dir.glob("counters/*/7-1-metrics-*.parquet"))
    }


def test_a_second_conversion_repeats_nothing(tmp_path: Path) -> None:
    folder = process(tmp_path)
    (folder / "metrics-00000.jsonl").write_text(line(1, 0.5) + line(2, 0.25))
    ProgramMetrics(tmp_path).convert(folder, 0, final=False)
    with (folder / "metrics-00000.jsonl").open("a") as file:
        file.write(line(3, float("nan"))[:20])  # cut off by the end of the process
    ProgramMetrics(tmp_path).convert(folder, 0, final=True)  # as `recover` does it
    assert written(tmp_path) == {"rank=0": [0.5, 0.25]}


def test_a_rank_that_is_told_late_moves_the_file(tmp_path: Path) -> None:
    folder = process(tmp_path)
    (folder / "metrics-00000.jsonl").write_text(line(1, 0.5))
    metrics = ProgramMetrics(tmp_path)
    metrics.convert(folder, 0, final=False)
    metrics.convert(folder, 3, final=True)
    assert written(tmp_path) == {"rank=3": [0.5]}


def test_each_value_is_published_once_and_written_by_one(tmp_path: Path) -> None:
    folder = process(tmp_path)
    hub, seen = MetricHub(), list[CounterSample]()
    hub.subscribe(seen.append)
    counters = CounterWriter(tmp_path, 1, [], hub)
    metrics = ProgramMetrics(tmp_path, hub.publish_sample)
    for number in range(3):
        with (folder / "metrics-00000.jsonl").open("a") as file:
            file.write(line(number, float(number)))
        metrics.convert(folder, 0, final=number == 2)
    counters.close()
    assert [each.value for each in seen] == [0.0, 1.0, 2.0]
    assert written(tmp_path) == {"rank=0": [0.0, 1.0, 2.0]}
    assert not list(tmp_path.glob("counters/*/part-*"))


def test_what_is_no_metric_is_left_out() -> None:
    good = line(1, 0.5).encode()
    assert parse_metric(good, 2) is not None
    for bad in (b"", b"[]", b"{", good[:-4], line(1, 0.5, name=3).encode(), line(-1, 0.5).encode(), b"null"):
        assert parse_metric(bad, 0) is None
    for value in ('"x"', "true", "1" + "0" * 400):
        assert parse_metric(line(1, 0.5).replace("0.5", value).encode(), 0) is None
