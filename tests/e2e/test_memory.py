"""Tensor memory of real programs at ``--record full``: every allocation, to the byte, with its layer and its role."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from deepseek_prof.analysis.memory import MemoryProfile, held_memory, held_over_time, memory_profile
from deepseek_prof.query import Table, compile_query
from tests.support.recording import open_run, record, run_cli, warnings_in, write_program

FLOAT = 4
TRAINING = """
    import torch
    from torch import nn

    model = nn.Sequential(nn.Linear(100, 200), nn.ReLU(), nn.Linear(200, 10))
    optimizer = torch.optim.Adam(model.parameters(), foreach=False)
    inputs = torch.ones(32, 100)
    for _ in range(4):
        optimizer.zero_grad()
        loss = model(inputs).square().mean()
        loss.backward()
        optimizer.step()
    print(loss.item())
"""


def profile_of(run_dir: Path, by: str = "layer", query: str = "") -> MemoryProfile:
    with open_run(run_dir) as run:
        found = memory_profile(run, by, compile_query(query, Table.ALLOCATIONS) if query else None)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    return record([str(write_program(folder, TRAINING))], folder, "--record", "full")


def test_parameters_gradients_and_optimizer_state_are_told_apart_to_the_byte(training: Path) -> None:
    weights = (100 * 200 + 200 + 200 * 10 + 10) * FLOAT
    found = {row.name: row for row in profile_of(training, "role").rows}
    assert found["parameter"].kept_bytes == found["parameter"].peak_bytes == weights
    assert found["gradient"].peak_bytes == weights
    assert found["gradient"].allocated_bytes == 4 * weights  # zero_grad gives them up
    # Adam: two moments and a step count of 4 bytes for each of the 4 parameters.
    assert found["optimizer"].kept_bytes == 2 * weights + 4 * FLOAT


def test_activations_are_what_forward_leaves_for_backward(training: Path) -> None:
    with open_run(training) as run:
        rows = run.rows(
            "SELECT layer, name, size_bytes FROM allocations WHERE step = 2 AND role = 'activation' AND size_bytes > 4 "
            "ORDER BY start_ns"
        )
        first = run.rows("SELECT DISTINCT role FROM allocations WHERE step = 2 AND layer = '0' AND phase = 'forward'")
    # What ReLU was given is not needed again, what it made is; so are the outputs, which the program holds.
    assert rows == [("1", "aten::clamp_min", 32 * 200 * FLOAT), ("2", "aten::addmm", 32 * 10 * FLOAT)]
    assert first == [("temporary",)]


def test_memory_belongs_to_its_layer(training: Path) -> None:
    rows = {row.name: row for row in profile_of(training, query="bytes>=0").rows}
    weights = (100 * 200 + 200) * FLOAT
    assert rows["0"].kept_bytes == 4 * weights + 2 * FLOAT  # parameters, gradients, two moments, two step counts
    backward = profile_of(training, "op", "layer:0 phase:backward step:3")
    assert {row.name: row.allocated_bytes for row in backward.rows}["aten::mm"] == 100 * 200 * FLOAT


def test_the_peak_is_the_sum_of_what_is_alive_then(training: Path) -> None:
    profile = profile_of(training)
    assert sum(row.at_peak_bytes for row in profile.rows) == profile.peak_bytes
    assert sum(row.at_peak_bytes for row in profile.roles) == profile.peak_bytes
    assert sum(row.allocated_bytes for row in profile.rows) == profile.allocated_bytes
    assert profile.peak_phase == "optimizer"
    with open_run(training) as run:
        ((alive,),) = run.rows(
            "SELECT sum(size_bytes)::BIGINT FROM allocations WHERE start_ns <= ? AND (end_ns IS NULL OR end_ns > ?)",
            (profile.peak_ns, profile.peak_ns),
        )
        (held,) = held_memory(run)
    assert alive == profile.peak_bytes == max(held.values)
    assert held.last == profile.kept_bytes


def test_a_part_of_the_time_has_as_many_points_as_the_whole(training: Path) -> None:
    with open_run(training) as run:
        ((begin_ns, end_ns),) = run.rows(
            "SELECT start_ns, start_ns + dur_ns FROM spans WHERE kind = 'step' AND step = 2"
        )
        (whole,) = held_over_time(run, 1_000_000)
        (part,) = held_over_time(run, 8, begin_ns=begin_ns, end_ns=end_ns)
    inside = [held for ts, held in zip(whole.ts_ns, whole.held_bytes, strict=True) if begin_ns <= ts <= end_ns]
    assert all(begin_ns <= ts <= end_ns for ts in part.ts_ns)
    assert 4 < len(part.ts_ns) <= 9 < len(inside)
    assert max(part.held_bytes) == max(inside)


def test_what_is_held_all_the_while_is_told_for_a_time_without_changes(training: Path) -> None:
    with open_run(training) as run:
        (whole,) = held_over_time(run, 1_000_000)
        quiet_ns, index = max((after - ts, index) for index, (ts, after) in enumerate(pairwise(whole.ts_ns)))
        assert quiet_ns > 10
        begin_ns = whole.ts_ns[index] + 1
        (part,) = held_over_time(run, 8, begin_ns=begin_ns, end_ns=whole.ts_ns[index + 1] - 1)
    assert (part.ts_ns, part.held_bytes) == ((begin_ns,), (whole.held_bytes[index],))


def test_views_and_operators_in_place_allocate_nothing(tmp_path: Path) -> None:
    program = write_program(
        tmp_path,
        """
        import torch
        x = torch.ones(1000, 1000)
        x.view(-1).add_(1)
        x.t()[10:20].mul_(2)
        y = x + 1
        del x
        z = torch.empty(0)
        """,
    )
    run_dir = record([str(program)], tmp_path, "--record", "full")
    with open_run(run_dir) as run:
        rows = run.rows(
            "SELECT name, size_bytes, end_ns IS NULL FROM allocations WHERE size_bytes > 99 ORDER BY start_ns"
        )
    assert rows == [("aten::empty", 4_000_000, False), ("aten::add", 4_000_000, True)]


def test_memory_freed_by_another_thread_is_freed(tmp_path: Path) -> None:
    program = write_program(
        tmp_path,
        """
        import queue, threading
        import torch
        made = queue.Queue()
        gone = threading.Event()

        def take():
            for _ in range(20):
                held = made.get()
                held = None
                gone.set()

        thread = threading.Thread(target=take)
        thread.start()
        for _ in range(20):
            gone.clear()
            made.put(torch.empty(5000))
            gone.wait()
        thread.join()
        """,
    )
    run_dir = record([str(program)], tmp_path, "--record", "full")
    with open_run(run_dir) as run:
        ((pieces, freed, elsewhere),) = run.rows(
            "SELECT count(*), count(end_ns), count(*) FILTER (freed_tid <> tid) FROM allocations "
            "WHERE size_bytes = 20000"
        )
    assert (pieces, freed) == (20, 20)
    assert elsewhere > 0


def test_two_threads_keep_their_memory_apart(tmp_path: Path) -> None:
    program = write_program(
        tmp_path,
        """
        import threading
        import torch

        def work(size, both):
            both.wait()
            for _ in range(50):
                torch.empty(size)

        both = threading.Barrier(2)
        threads = [threading.Thread(target=work, args=(size, both)) for size in (1000, 3000)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        """,
    )
    run_dir = record([str(program)], tmp_path, "--record", "full")
    with open_run(run_dir) as run:
        rows = run.rows(
            "SELECT size_bytes, count(*), count(DISTINCT tid), count(end_ns) FROM allocations "
            "WHERE size_bytes IN (4000, 12000) GROUP BY 1 ORDER BY 1"
        )
    assert rows == [(4000, 50, 1, 50), (12000, 50, 1, 50)]


def test_forked_processes_and_data_workers_have_memory_of_their_own(tmp_path: Path) -> None:
    program = write_program(
        tmp_path,
        """
        import os
        import torch
        from torch.utils.data import DataLoader, Dataset

        class Items(Dataset):
            def __len__(self): return 8
            def __getitem__(self, index): return torch.full((777,), float(index))

        if __name__ == "__main__":
            inherited = torch.ones(4321)
            child = os.fork()
            if child == 0:
                inherited = None  # the parent's: no memory of the child
                torch.ones(1234)
                os._exit(0)
            os.waitpid(child, 0)
            for batch in DataLoader(Items(), batch_size=4, num_workers=1):
                pass
        """,
    )
    run_dir = record([str(program)], tmp_path, "--record", "full")
    with open_run(run_dir) as run:
        main = next(process["pid"] for process in run.processes if process["is_main"])
        rows = run.rows(
            "SELECT size_bytes, pid = ?, min(role), count(*) FROM allocations "
            "WHERE size_bytes IN (4321 * 4, 1234 * 4, 777 * 4) GROUP BY 1, 2 ORDER BY 1",
            (main,),
        )
    assert rows == [(777 * 4, False, "input", 8), (1234 * 4, False, "other", 1), (4321 * 4, True, "other", 1)]


def test_a_killed_program_keeps_its_allocations(tmp_path: Path) -> None:
    program = write_program(
        tmp_path,
        """
        import os, signal
        import torch
        kept = [torch.empty(1000) for _ in range(100)]
        os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    run_dir = tmp_path / "run"
    run_cli("run", "--output", str(run_dir), "--record", "full", str(program), cwd=tmp_path)
    with open_run(run_dir) as run:
        rows = run.rows("SELECT count(*), count(end_ns) FROM allocations WHERE size_bytes = 4000")
    assert rows == [(100, 0)]


def test_the_users_own_memory_profiler_sees_what_it_sees_without_us(tmp_path: Path) -> None:
    program = write_program(
        tmp_path,
        """
        import torch
        from torch.profiler import ProfilerActivity, profile
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            x = torch.empty(2500)
            del x
        print(sorted((each.key, each.self_cpu_memory_usage) for each in profiler.key_averages()))
        """,
    )
    run_dir = record([str(program)], tmp_path, "--record", "full")
    with open_run(run_dir) as run:
        assert run.rows("SELECT count(*), count(end_ns) FROM allocations WHERE size_bytes = 10000") == [(1, 1)]
    done = run_cli("run", "--output", str(tmp_path / "again"), "--record", "full", str(program), cwd=tmp_path)
    assert "('[memory]', -10000)" in done.stdout.decode()
    assert "('aten::empty', 10000)" in done.stdout.decode()


def test_many_allocations_are_converted_while_the_program_runs(tmp_path: Path) -> None:
    program = write_program(
        tmp_path,
        """
        import sys
        import time
        from pathlib import Path
        import torch

        rounds, until = 1, time.monotonic() + 120
        while not list(Path(sys.argv[1]).rglob("allocations/*/*/part-*.parquet")) and time.monotonic() < until:
            for _ in range(50_000):
                torch.empty(100)
            rounds += 1
        for _ in range(50_000):
            torch.empty(100)
        Path("rounds").write_text(str(rounds))
        """,
    )
    run_dir = record([str(program), str(tmp_path)], tmp_path, "--record", "full")
    count = 50_000 * int((tmp_path / "rounds").read_text())
    with open_run(run_dir) as run:
        assert run.rows("SELECT count(*), count(end_ns) FROM allocations WHERE size_bytes = 400") == [(count, count)]
    assert len(list((run_dir / "allocations").rglob("part-*.parquet"))) > 1


def test_other_levels_record_no_allocations_and_say_how_to(tmp_path: Path) -> None:
    run_dir = record([str(write_program(tmp_path, "import torch; torch.ones(10)"))], tmp_path)
    assert not (run_dir / "allocations").exists()
    done = run_cli("memory", str(run_dir), cwd=tmp_path)
    assert done.returncode != 0
    assert b"--record full" in done.stderr
    assert warnings_in(done.stderr) == []


def test_the_command_prints_json_csv_and_a_table(training: Path, tmp_path: Path) -> None:
    weights = (100 * 200 + 200 + 200 * 10 + 10) * FLOAT
    done = run_cli("memory", str(training), "--by", "role", "--format", "json", cwd=tmp_path)
    rows = {row["name"]: row for row in json.loads(done.stdout)["rows"]}
    assert rows["parameter"]["kept_bytes"] == weights
    csv = run_cli(
        "memory", str(training), "--by", "op", "--format", "csv", "--limit", "0", "phase:backward", cwd=tmp_path
    )
    assert csv.stdout.decode().splitlines()[0] == "name,count,allocated_bytes,peak_bytes,at_peak_bytes,kept_bytes"
    assert any(line.startswith("aten::mm,") for line in csv.stdout.decode().splitlines())
    table = run_cli(
        "memory", str(training), cwd=tmp_path, env={"COLUMNS": str(100), "TERM": os.environ.get("TERM", "dumb")}
    )
    assert "Alive at the peak" in table.stdout.decode()
    assert "parameter" in table.stdout.decode()
    assert "Tensor memory" in run_cli("report", str(training), cwd=tmp_path).stdout.decode()


def test_an_unknown_field_of_allocations_is_refused(training: Path, tmp_path: Path) -> None:
    done = run_cli("memory", str(training), "flops>1", cwd=tmp_path)
    assert done.returncode != 0
    assert b"allocations" in done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a CUDA device")
def test_without_cuda_a_snapshot_is_refused_and_the_program_runs(tmp_path: Path) -> None:
    program = write_program(tmp_path, "import torch; print(torch.ones(3).sum().item())")
    done = run_cli("run", "--output", str(tmp_path / "run"), "--memory-snapshot", str(program), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"3.0\n")
    (warning,) = warnings_in(done.stderr)
    assert warning.startswith("no memory snapshot: ")
    assert "--record full" in warning
    assert not (tmp_path / "run" / "snapshots").exists()


def test_a_timeline_shows_the_memory_that_was_held(training: Path, tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    assert run_cli("export", "chrome", str(training), "-o", str(file)).returncode == 0
    events = json.loads(file.read_text())["traceEvents"]
    held = [event["args"]["value"] for event in events if event.get("name") == "tensors (cpu) [bytes]"]
    assert max(held) == profile_of(training).peak_bytes
    imported = run_cli("import", str(file), "--output", str(tmp_path / "run"))
    assert imported.returncode == 0, imported.stderr
