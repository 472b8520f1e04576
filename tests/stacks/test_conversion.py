"""From live files to ``samples``: weights, places, steps, damage; on spans and stacks written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from deepseek_prof.analysis.flame import profiles
from deepseek_prof.analysis.python_functions import python_functions
from deepseek_prof.analysis.stacks import SampledFrames, StackSum, stack_sums
from deepseek_prof.errors import UsageError
from deepseek_prof.model import Kind, Phase
from deepseek_prof.query import Table, compile_query
from deepseek_prof.recording.samples import STRETCHES, find_contexts, rows_of
from deepseek_prof.recording.stack_names import ENDED_THREADS_NAME, MARKS_NAME, OWN_SAMPLES_NAME, REFUSED_NAME
from deepseek_prof.trace.run import Run
from tests.stacks.test_stack_files import OURS, event, thread_frame
from tests.support.live import DEAD_PID, NO_LIMIT, OFFSET_NS, WrittenProcess, add_process, finish, make_run

MS = 1_000_000
START = 1_000 * MS
"""When py-spy's clock began, on the clock of the live files."""
SETTINGS = {"python_stacks": True, "stacks_rate_hz": 1000, "max_size_bytes": NO_LIMIT}
MARK_MS = 900
"""Where a mark shows in what py-spy wrote."""


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", settings=SETTINGS, cwd="/home/me/project")


def py_spy(process: WrittenProcess, stretches: list[tuple[float, float, list[str]]], number: int = 0) -> None:
    """What py-spy leaves of one thread: stacks from and to milliseconds of its clock, and one mark of a millisecond."""
    events: list[Any] = []
    for start, end, names in stretches:
        begin, stop = round(start * 1000), round(end * 1000)
        events += [thread_frame("B", begin), *(event("B", name, begin) for name in names)]
        events += [*(event("E", name, stop) for name in reversed(names)), thread_frame("E", stop)]
    for name, begin, stop in (("_stack_work", 0, MARK_MS + 2), ("_stack_mark", MARK_MS, MARK_MS + 1)):
        events += [event(phase, name, ms * 1000, file=OURS, tid=2) for phase, ms in (("B", begin), ("E", stop))]
    events.sort(key=lambda each: each["ts"])
    path = process.directory / f"stacks-{number:05d}.json"
    path.write_text(json.dumps(events))
    path.with_suffix(".note").write_text(json.dumps({"pid": DEAD_PID + 1, "start_ns": START - MS}))
    mark_ns = START + MARK_MS * MS
    (process.directory / MARKS_NAME).write_text(f"{mark_ns} {mark_ns + 1000} 1\n")


def converted(run_dir: Path) -> Run:
    finish(run_dir)
    return Run.open(run_dir)


def test_each_sample_has_what_was_active_around_it(run_dir: Path) -> None:
    process = add_process(run_dir)
    layer = process.context("net", kind=Kind.LAYER)
    operator = process.context("aten::mm", layer)
    backward = process.context("MyBackward", kind=Kind.AUTOGRAD, phase=Phase.BACKWARD)
    process.spans(41, [(START + 12 * MS, 4 * MS, 4 * MS, operator), (START + 10 * MS, 10 * MS, 6 * MS, layer)])
    process.spans(41, [(START + 30 * MS, 10 * MS, 10 * MS, backward)])
    process.spans(42, [(START, 100 * MS, 100 * MS, operator)])  # another thread
    process.steps([(START, 25 * MS), (START + 25 * MS, 25 * MS)])
    process.end()
    py_spy(
        process, [(0, 10, ["a"]), (10, 12, ["b"]), (12, 16, ["c"]), (16, 20, ["b"]), (30, 40, ["d"]), (45, 60, ["a"])]
    )
    with converted(run_dir) as run:
        rows = run.rows(
            "SELECT stack, layer, name, phase, step, tid, count(*) FROM samples GROUP BY ALL ORDER BY min(ts_ns)"
        )
        assert run.rows("SELECT min(ts_ns), count(*) FROM samples") == [
            (pytest.approx(START + OFFSET_NS, abs=2000), 45)
        ]
        sums = stack_sums(run)
    a, b, c, d = (f"{name} (a.py:3)" for name in "abcd")
    assert (
        rows
        == [
            (a, None, None, None, 0, 41, 10),
            (b, "net", None, "forward", 0, 41, 6),
            (c, "net", "aten::mm", "forward", 0, 41, 4),
            (d, None, "MyBackward", "backward", 1, 41, 10),
            (a, None, None, None, 1, 41, 5),
            (a, None, None, None, 2, 41, 10),
        ]
        or rows[1][1] == "net"
    )
    assert StackSum((d,), None, "MyBackward", "backward", 10, 10 * MS) in sums


def test_a_row_that_contradicts_its_stack_stays_where_the_stack_was_seen(run_dir: Path) -> None:
    process = add_process(run_dir)
    first, second = (process.context(name, kind=Kind.LAYER) for name in ("first", "second"))
    process.spans(41, [(START, 10 * MS, 1, first), (START + 10 * MS, 10 * MS, 1, second)])
    process.end()
    py_spy(process, [(8, 16, ["in_first"]), (16, 20, ["in_second"])])  # nothing was seen from 8 to 16
    with converted(run_dir) as run:
        assert sorted(run.rows("SELECT stack, layer, count(*) FROM samples GROUP BY ALL")) == [
            ("in_first (a.py:3)", "first", 8),
            ("in_second (a.py:3)", "second", 4),
        ]


def test_all_of_backward_is_below_one_line(run_dir: Path) -> None:
    process = add_process(run_dir)
    parents = [process.context(name, kind=Kind.LAYER, phase=Phase.BACKWARD) for name in ("first", "second")]
    nodes = [process.context("MmBackward", parent, Kind.AUTOGRAD, Phase.BACKWARD) for parent in parents]
    process.spans(41, [(START + 10 * MS * index, 10 * MS, 1, node) for index, node in enumerate(nodes)])
    process.end()
    py_spy(process, [(0, 20, ["train", "_engine_run_backward"])])
    with converted(run_dir) as run:
        assert sorted(run.rows("SELECT layer, count(*) FROM samples GROUP BY ALL")) == [("first", 10), ("second", 10)]


def test_a_second_py_spy_goes_on_where_the_first_one_ended(run_dir: Path) -> None:
    process = add_process(run_dir)
    process.end()
    py_spy(process, [(0, 20, ["a"])])
    py_spy(process, [(15, 40, ["b"])], number=1)
    with converted(run_dir) as run:
        assert run.rows("SELECT stack, count(*) FROM samples GROUP BY ALL ORDER BY 1") == [
            ("a (a.py:3)", 20),
            ("b (a.py:3)", 20),
        ]


def test_nothing_of_a_thread_after_its_end(run_dir: Path) -> None:
    process = add_process(run_dir)
    process.end()
    py_spy(process, [(0, 50, ["a"])])
    (process.directory / ENDED_THREADS_NAME).write_text(f"41 {START + 30 * MS + MS // 2}\n41")
    with converted(run_dir) as run:
        assert run.rows("SELECT count(*) FROM samples") == [(30,)]


def test_time_in_which_py_spy_could_not_read_is_missing(run_dir: Path) -> None:
    process = add_process(run_dir)
    process.end()
    py_spy(process, [(0, 100, ["a"]), (100, 880, ["b"])])
    marks = (process.directory / MARKS_NAME).read_text()
    unseen = "".join(f"{START + ms * MS} {START + (ms + 1) * MS} 2\n" for ms in range(150, 850, 50))
    (process.directory / MARKS_NAME).write_text(unseen + marks)
    finished = finish(run_dir)
    (warning,) = finished["warnings"]
    assert "0.8 s" in warning
    assert finished["stacks"]["samples"] == 100


def test_the_programs_own_samples_and_why(run_dir: Path) -> None:
    process = add_process(run_dir)
    process.end()
    lines = [["f", 0, "work", "/home/me/project/a.py", 3], ["s", 0, [0]]]
    lines += [["t", START + index * MS, [[41, 0]]] for index in range(11)]
    (process.directory / OWN_SAMPLES_NAME).write_text("".join(json.dumps(line) + "\n" for line in lines))
    (process.directory / REFUSED_NAME).write_text("no right to")
    content = finish(run_dir)
    assert content["stacks"] == {
        "sampler": "in-process", "reason": "no right to", "rate_hz": 1000, "samples": 10, "clock_error_ns": 0,
    }  # fmt: skip
    (warning,) = content["warnings"]
    assert "no right to" in warning


@pytest.mark.parametrize("content", [b"", b"[{", b"\xff\xfe", b'{"a": 1}'])
def test_damaged_output_costs_the_samples_and_nothing_else(run_dir: Path, content: bytes) -> None:
    process = add_process(run_dir)
    process.spans(41, [(START, MS, MS, process.context("aten::mm"))])
    process.end()
    py_spy(process, [(0, 50, ["a"])])
    (process.directory / "stacks-00000.json").write_bytes(content)
    finished = finish(run_dir)
    assert finished["stacks"]["samples"] == 0
    assert any("stacks-00000.json" in warning for warning in finished["warnings"])
    assert finished["spans"]["count"] == 1
    assert not (run_dir / "live").exists()


def test_what_cannot_be_dated_is_left_out(run_dir: Path) -> None:
    process = add_process(run_dir)
    process.end()
    py_spy(process, [(0, 800, ["a"])])
    (process.directory / MARKS_NAME).write_text("")
    finished = finish(run_dir)
    assert finished["stacks"]["samples"] == 0
    assert any("could not be dated" in warning for warning in finished["warnings"])


def test_rows_times_period_are_the_time(run_dir: Path) -> None:
    rng = np.random.default_rng(3)
    ends = np.cumsum(rng.exponential(10 * MS, 1000)).astype(np.int64)
    starts = np.concatenate(([0], ends[:-1]))
    stacks = pa.array([f"f{index % 7}" for index in range(1000)]).dictionary_encode()
    table = pa.table([np.ones(1000, np.int64), starts, ends, stacks], schema=STRETCHES)
    samples = rows_of(table, 10 * MS, 0)
    assert abs(len(samples) * 10 * MS - ends[-1]) <= 10 * MS
    names = np.array(samples.stacks.to_pylist())[samples.stack]
    inside = np.searchsorted(ends, samples.ts_ns, side="right")
    assert list(names) == [f"f{index % 7}" for index in inside]


def test_spans_in_later_parts_are_found(run_dir: Path, tmp_path: Path) -> None:
    process = add_process(run_dir)
    inner, outer = process.context("inner"), process.context("outer")
    process.spans(41, [(START + index * MS, MS // 2, 1, inner) for index in range(300)])
    process.spans(41, [(START, 400 * MS, 1, outer)])
    process.end()
    finish(run_dir)
    whole = sorted(run_dir.glob("spans/rank=*/pid=*/part-*.parquet"))
    import pyarrow.parquet as pq

    spans = pq.ParquetFile(whole[0]).read()
    parts = [tmp_path / f"{number}.parquet" for number in range(4)]
    for number, path in enumerate(parts):
        pq.write_table(spans.slice(number * 80, 80), path)
    moments = [START + OFFSET_NS + offset for offset in (MS // 4, 3 * MS // 4, 299 * MS + 1, 350 * MS, 500 * MS)]
    stacks = pa.array(["f"] * 5).dictionary_encode()
    table = pa.table([[41] * 5, moments, [moment + 1 for moment in moments], stacks], schema=STRETCHES)
    samples = rows_of(table, 1, 0)
    found = find_contexts(samples.tid, samples.ts_ns, parts)
    names = dict(zip(spans["context_id"].to_pylist(), ["inner"] * 300 + ["outer"], strict=True))
    assert [names.get(context) for context in found.tolist()] == ["inner", "outer", "inner", "outer", None]


def test_top_by_python_and_frames_of_operators(run_dir: Path) -> None:
    process = add_process(run_dir)
    process.spans(41, [(START + 10 * MS, 10 * MS, 1, process.context("aten::mm"))])
    process.end()
    py_spy(process, [(0, 10, ["main", "load"]), (10, 20, ["main", "compute"]), (20, 25, ["main", "load", "load"])])
    with converted(run_dir) as run:
        table = python_functions(run, None, "total", None)
        assert [(row.name, row.count, row.self_ns, row.total_ns) for row in table.rows] == [
            ("main (a.py)", 25, 0, 25 * MS),
            ("load (a.py)", 15, 15 * MS, 15 * MS),
            ("compute (a.py)", 10, 10 * MS, 10 * MS),
        ]
        assert (table.span_count, table.self_ns) == (25, 25 * MS)
        chosen = python_functions(run, compile_query("op:mm", Table.SAMPLES), "self", 1)
        assert [(row.name, row.share) for row in chosen.rows] == [("compute (a.py)", 1.0)]
        assert python_functions(run, compile_query("nothing_like_it", Table.SAMPLES), "self", 1).rows == ()
        with pytest.raises(UsageError, match="sorted"):
            python_functions(run, None, "device", 1)
        frames = SampledFrames(run)
        start_ns = START + OFFSET_NS + 10 * MS
        assert frames.within(0, DEAD_PID, 41, start_ns, 10 * MS) == "compute (a.py:3)"
        assert frames.within(0, DEAD_PID, 41, start_ns + 30 * MS, MS) is None
        assert frames.within(0, DEAD_PID, 42, start_ns, MS) is None


def test_a_run_without_stacks_says_how_to_get_them(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "run")
    add_process(run_dir).end()
    with converted(run_dir) as run, pytest.raises(UsageError, match="run --python-stacks"):
        python_functions(run, None, "self", 1)


def test_a_program_that_ends_before_its_first_sample_is_told_so(run_dir: Path) -> None:
    process = add_process(run_dir)
    process.spans(41, [(START, 10 * MS, 10 * MS, process.context("aten::mm"))])
    process.end()
    with converted(run_dir) as run:
        assert run.info["stacks"]["samples"] == 0
        assert [text for text in run.info["warnings"] if "no Python stack was sampled" in text]
        with pytest.raises(UsageError, match="none was sampled before the program ended"):
            profiles(run, "python")
