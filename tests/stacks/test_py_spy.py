"""py-spy beside real programs: what it finds, where in the program, and when."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

from deepseek_prof.analysis.python_functions import python_functions
from deepseek_prof.analysis.stacks import stack_sums
from deepseek_prof.query import Table, compile_query
from tests.stacks.conftest import PROGRAMS, stacks_of
from tests.support.recording import open_run, record, run_cli, run_words, warnings_in, write_program


def test_py_spy_ran_and_says_so(slow_layer: Path) -> None:
    stacks = stacks_of(slow_layer)
    assert stacks["sampler"] == "py-spy"
    assert stacks["reason"] == ""
    assert stacks["rate_hz"] == 100
    with open_run(slow_layer) as run:
        assert run.rows("SELECT count(*) FROM samples") == [(stacks["samples"],)]


def test_the_hot_function_is_first(slow_layer: Path) -> None:
    with open_run(slow_layer) as run:
        table = python_functions(run, compile_query("step:*", Table.SAMPLES), "self", 1)
        assert [row.name for row in table.rows] == [f"busy ({_shown('slow_layer.py')})"]
        by_caller = python_functions(run, compile_query("prepare -phase:backward", Table.SAMPLES), "total", None)
    prepare = next(row for row in by_caller.rows if row.name.startswith("prepare "))
    assert prepare.count > 20  # of 60 expected: the first part of the program passes before py-spy is there


def test_time_in_a_layers_backward_has_its_layer_operator_phase_and_step(slow_layer: Path) -> None:
    with open_run(slow_layer) as run:
        rows = run.rows(
            "SELECT layer, name, phase, count(*), count(DISTINCT step) FROM samples "
            "WHERE stack LIKE '%Slow.backward (%busy (%' GROUP BY ALL ORDER BY 4 DESC"
        )
    total = sum(row[3] for row in rows)
    assert total > 20
    layer, name, phase, count, steps = rows[0]
    assert (layer, name, phase) == ("slow", "SlowBackward", "backward")
    assert count >= 0.7 * total
    assert steps > 5


def test_python_between_operators_has_neither_operator_nor_layer(slow_layer: Path) -> None:
    with open_run(slow_layer) as run:
        sums = stack_sums(run, compile_query("prepare", Table.SAMPLES))
    outside = sum(each.count for each in sums if (each.layer, each.op) == (None, None))
    # py-spy stamps a sample after it has read it: on a machine without a free core some are late.
    assert outside >= 0.7 * sum(each.count for each in sums)


def test_no_frame_of_ours_and_no_thread_of_ours_is_there(slow_layer: Path) -> None:
    with open_run(slow_layer) as run:
        frames = {frame for each in stack_sums(run) for frame in each.frames}
        threads = run.rows("SELECT count(DISTINCT tid) FROM samples")
    assert threads == [(1,)]
    ours = ("deepseek_prof", "collectors/", "sitecustomize", "_stack_work", "_stack_mark", "thread (")
    assert [frame for frame in frames if any(part in frame for part in ours)] == []
    assert any(frame.startswith("prepare (") for frame in frames)


def test_samples_come_onto_the_clock_of_the_run(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    rate_hz = 50
    options = ("--python-stacks", "--stacks-rate", str(rate_hz), "--output", str(run_dir))
    done = run_cli("run", *options, str(PROGRAMS / "timed_calls.py"))
    assert warnings_in(done.stderr) == []
    period_ns = 1_000_000_000 // rate_hz
    assert stacks_of(run_dir)["clock_error_ns"] <= period_ns
    clock = json.loads((run_dir / "run.json").read_text())["clock"]
    offset_ns = clock["epoch_ns"] - clock["monotonic_ns"]
    calls = [
        (name, int(entered), int(left)) for name, entered, left in map(str.split, done.stdout.decode().splitlines())
    ]
    with open_run(run_dir) as run:
        rows = run.rows(
            "SELECT ts_ns, regexp_extract(stack, '(odd|even) \\(', 1) AS f FROM samples WHERE f <> '' ORDER BY 1"
        )
    samples = [(ts_ns - offset_ns, function) for ts_ns, function in rows]
    astray = 0
    first: dict[int, int] = {}
    for ts_ns, function in samples:
        near = [
            entered
            for name, entered, left in calls
            if name == function and entered - period_ns <= ts_ns <= left + period_ns
        ]
        astray += not near
        if near:
            first.setdefault(near[0], ts_ns - near[0])
    assert len(first) >= 20
    assert len(samples) >= 100  # of 200 expected
    # py-spy samples at irregular moments: what it saw last may stand for longer than a period.
    assert astray <= 0.1 * len(samples)
    # The first sample of a call is about a period after its beginning, and never a period before it.
    assert 0 < statistics.median(first.values()) < 2 * period_ns


def test_workers_of_a_data_loader_are_sampled_by_themselves(tmp_path: Path) -> None:
    run_dir = record([str(PROGRAMS / "workers.py")], tmp_path, "--python-stacks")
    with open_run(run_dir) as run:
        (main,) = (process["pid"] for process in run.processes if process["is_main"])
        decoding = dict(run.rows("SELECT pid, count(*) FROM samples WHERE stack LIKE '%decode (%' GROUP BY pid"))
        waiting = run.rows(
            "SELECT count(*) FROM samples WHERE pid = ? AND tid = ? AND phase = 'data' AND stack LIKE '%__next__%'",
            (main, main),
        )
        spans = {pid for (pid,) in run.rows("SELECT DISTINCT pid FROM spans")}
        assert run.rows("SELECT count(*) FROM samples WHERE pid = ? AND stack LIKE '%decode (%'", (main,)) == [(0,)]
    assert len(decoding) == 2
    assert set(decoding) <= spans - {main}
    assert min(decoding.values()) > 20  # of 120 expected
    assert waiting[0][0] > 20  # the main thread is seen while it waits


def test_the_program_runs_as_bare(tmp_path: Path) -> None:
    program = write_program(
        tmp_path,
        """
        import os, sys, threading, warnings
        warnings.simplefilter("always")
        import torch
        torch.ones(3).sum()
        print(threading.active_count(), [thread.name for thread in threading.enumerate()])
        pid = os.fork()
        if pid == 0:
            print("child", threading.active_count(), flush=True)
            os._exit(3)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        sys.exit(5)
        """,
    )
    bare = run_words([sys.executable, str(program)], tmp_path)
    recorded = run_cli("run", "--python-stacks", "--output", str(tmp_path / "run"), str(program), cwd=tmp_path)
    assert (recorded.returncode, recorded.stdout) == (bare.returncode, bare.stdout)
    assert bare.returncode == 5


def test_native_frames_on_demand(tmp_path: Path) -> None:
    run_dir = record(
        [str(PROGRAMS / "slow_layer.py")], tmp_path, "--python-stacks", "--native-stacks", "--stacks-rate", "50"
    )
    with open_run(run_dir) as run:
        frames = {frame for each in stack_sums(run) for frame in each.frames}
    assert any(".so" in frame or "libtorch" in frame for frame in frames)
    assert not any("_stack_work" in frame or "deepseek_prof" in frame for frame in frames)


def _shown(name: str) -> str:
    return str(PROGRAMS / name)


def test_a_process_that_becomes_another_program_is_sampled_as_both(tmp_path: Path) -> None:
    program = write_program(
        tmp_path,
        """
        import os, sys, time
        import torch

        def work():
            end = time.perf_counter() + 1.0
            while time.perf_counter() < end:
                pass

        def first():
            work()

        def second():
            work()

        torch.ones(2).add_(1)
        if len(sys.argv) == 1:
            first()
            os.execv(sys.executable, [sys.executable, __file__, "again"])
        second()
        """,
    )
    run_dir = record([str(program)], tmp_path, "--python-stacks")
    with open_run(run_dir) as run:
        counts = dict(
            run.rows("SELECT regexp_extract(stack, '(first|second) \\(', 1) AS f, count(*) FROM samples GROUP BY f")
        )
        assert run.rows("SELECT count(DISTINCT pid) FROM samples") == [(1,)]
    assert counts["first"] > 40
    assert counts["second"] > 40
