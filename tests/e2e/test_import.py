"""``deepseek-prof import`` end to end: real traces add up to what their JSON says, and nothing half is left behind."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from deepseek_prof.trace.run import Run
from tests.support.chrome_trace import REAL_TRACES, complete, one_training_step, read_trace, write_trace
from tests.support.recording import TIMEOUT_S, cli_command, environment, run_words

HOST = ("cpu_op", "user_annotation", "python_function", "cuda_runtime", "cuda_driver")
DEVICE = {"kernel": "kernel", "gpu_memcpy": "memcpy", "gpu_memset": "memset"}
HOSTILE = (
    "'; DROP TABLE spans; --",
    "[bold red]markup[/]",
    "\x1b[31mred\x1b[0m \x07",
    "two\nlines\tand\rmore",
    '"},{"quotes\\',
    "\U0001f600 \u202e",
    "x" * 10_000,
    "",
    "$(touch stolen) `touch stolen`",
)


def run_import(folder: Path, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    return run_words(cli_command("import", *map(str, arguments)), folder)


def sums_in_trace(path: Path) -> dict[str, Counter[tuple[str, int]]]:
    """Name and length of every event by our kinds' names, the host's under ``host``: read by the json module alone."""
    found: dict[str, Counter[tuple[str, int]]] = {"host": Counter(), **{kind: Counter() for kind in DEVICE.values()}}
    for event in read_trace(path)["traceEvents"]:
        category = event.get("cat")
        if event.get("ph") != "X" or str(event["name"]).startswith("ProfilerStep#"):
            continue
        name = str(event["name"]).removeprefix("nn.Module: ")
        if category in HOST:
            found["host"][name, round(event["dur"] * 1000)] += 1
        elif category in DEVICE:
            found[DEVICE[category]][name, round(event["dur"] * 1000)] += 1
    return found


def sums_in_run(run_dir: Path) -> dict[str, Counter[tuple[str, int]]]:
    """The same from the run. Layers' names are longer than the modules' in a trace: their last part counts."""
    with Run.open(run_dir) as run:
        rows = run.rows(
            "SELECT CASE WHEN device IS NULL THEN 'host' ELSE kind END, kind, name, dur_ns, count(*) FROM spans "
            "WHERE kind <> 'step' AND NOT (device IS NOT NULL AND kind = 'user') GROUP BY ALL"
        )
    found: dict[str, Counter[tuple[str, int]]] = {"host": Counter(), **{kind: Counter() for kind in DEVICE.values()}}
    for place, kind, name, dur_ns, count in rows:
        found[place][name.rpartition(".")[2] if kind == "layer" else name, dur_ns] += count
    return found


@pytest.mark.parametrize("name", ["resnet-ddp-v100.rank0", "control.rank3", "test.rank1"])
def test_real_gpu_traces_add_up(tmp_path: Path, name: str) -> None:
    path = REAL_TRACES / f"{name}.json.gz"
    if not path.exists():
        pytest.skip(f"{path} is not here; set CHROME_TRACES to the folder that holds it")
    outcome = run_import(tmp_path, path, "--output", "run")
    assert outcome.returncode == 0, outcome.stderr
    assert sums_in_run(tmp_path / "run") == sums_in_trace(path)
    with Run.open(tmp_path / "run") as run:
        events = read_trace(path)["traceEvents"]
        steps = [event for event in events if event.get("ph") == "X" and event["name"].startswith("ProfilerStep#")]
        assert run.rows("SELECT DISTINCT rank FROM spans") == [(int(name[-1]),)]
        assert run.rows("SELECT step, dur_ns FROM spans WHERE kind = 'step' ORDER BY 1") == sorted(
            (int(event["name"].partition("#")[2]), round(event["dur"] * 1000)) for event in steps
        )
        # Nearly all work of the device is placed below an operator, and in its step.
        placed = run.rows(
            "SELECT count(*) FILTER (c.parent_id IS NOT NULL AND s.step IS NOT NULL) / count(*) FROM spans s "
            "JOIN contexts c USING (context_id) WHERE s.device IS NOT NULL AND s.kind <> 'user'"
        )[0][0]
        assert placed > 0.9
        # Self times on a thread add up to no more than the trace's length.
        assert not run.rows(
            "SELECT tid FROM spans WHERE device IS NULL AND kind <> 'step' GROUP BY pid, tid "
            "HAVING sum(self_ns) > max(start_ns + dur_ns) - min(start_ns) + 1000 OR min(self_ns) < 0"
        )
    for command in (["report"], ["top"], ["top", "kind:kernel"], ["top", "--by", "step"]):
        shown = run_words(cli_command(command[0], "run", *command[1:]), tmp_path)
        assert shown.returncode == 0, shown.stderr
    assert "Accelerators" in run_words(cli_command("report", "run"), tmp_path).stdout.decode()


@pytest.fixture(scope="module")
def torch_trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trace of a small training on the CPU, with modules, stacks, shapes and memory."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    path = tmp_path_factory.mktemp("trace") / "trace.json"
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Sequential(torch.nn.Linear(8, 4)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with profile(
        activities=[ProfilerActivity.CPU], with_stack=True, with_modules=True, record_shapes=True, profile_memory=True
    ) as profiler:
        for _ in range(3):
            model(torch.randn(4, 8)).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            profiler.step()
    profiler.export_chrome_trace(str(path))
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_a_trace_of_torch_on_the_cpu_adds_up(tmp_path: Path, torch_trace: Path, packed: bool) -> None:
    path = tmp_path / ("trace.json.gz" if packed else "trace.json")
    path.write_bytes(gzip.compress(torch_trace.read_bytes()) if packed else torch_trace.read_bytes())
    outcome = run_import(tmp_path, path.name, "--output", "run")
    assert outcome.returncode == 0, outcome.stderr
    assert b"warning" not in outcome.stderr
    assert outcome.stdout == b""
    assert sums_in_run(tmp_path / "run") == sums_in_trace(path)
    with Run.open(tmp_path / "run") as run:
        assert run.rows("SELECT DISTINCT layer, phase FROM spans WHERE name LIKE 'Addmm%' ORDER BY 1") == [
            ("Linear_0", "backward"),
            ("Sequential_1.Linear_1", "backward"),
        ]
        assert run.rows("SELECT DISTINCT layer, phase FROM spans WHERE name = 'aten::addmm' ORDER BY 1") == [
            ("Linear_0", "forward"),
            ("Sequential_1.Linear_1", "forward"),
        ]
        assert run.rows("SELECT count(*) FROM spans WHERE kind = 'step'") == [(3,)]
        assert not run.rows(
            "SELECT tid FROM spans WHERE kind <> 'step' GROUP BY pid, tid "
            "HAVING sum(self_ns) > max(start_ns + dur_ns) - min(start_ns) OR min(self_ns) < 0"
        )


def test_copies_cut_off_anywhere_keep_what_is_whole(tmp_path: Path, torch_trace: Path) -> None:
    data = torch_trace.read_bytes()
    first = data.index(b'"traceEvents"') + 400
    names = [event["name"] for event in json.loads(data)["traceEvents"] if event["ph"] == "X"]
    decoder = json.JSONDecoder()
    for number, cut in enumerate(random.Random(7).sample(range(first + 20_000, len(data) - 600), 4)):
        path = tmp_path / f"cut-{number}.json"
        path.write_bytes(data[:cut])
        outcome = run_import(tmp_path, path.name, "--output", f"run-{number}")
        assert outcome.returncode == 0, outcome.stderr
        assert b"is cut off" in outcome.stderr
        text, whole = data[:cut].decode(), 0
        position = text.index("[", text.index('"traceEvents"')) + 1
        while True:
            position += len(text[position:]) - len(text[position:].lstrip(" \n,"))
            try:
                event, position = decoder.raw_decode(text, position)
            except ValueError:
                break
            whole += event["ph"] == "X"
        with Run.open(tmp_path / f"run-{number}") as run:
            assert run.rows("SELECT count(*) FROM spans WHERE kind <> 'step'") == [(whole,)]
            assert 0 < whole < len(names)
            assert "cut off" in run.info["warnings"][0]


def test_hostile_names_are_data(tmp_path: Path) -> None:
    events = [complete(name, 10 * index, 5) for index, name in enumerate(HOSTILE)]
    write_trace(tmp_path / "trace.json", events)
    outcome = run_import(tmp_path, "trace.json", "--output", "run")
    assert outcome.returncode == 0, outcome.stderr
    with Run.open(tmp_path / "run") as run:
        assert [row[0] for row in run.rows("SELECT name FROM spans ORDER BY start_ns")] == list(HOSTILE)
    for command in ("report", "top"):
        shown = run_words(cli_command(command, "run"), tmp_path)
        assert shown.returncode == 0, shown.stderr
        assert b"\x1b" not in shown.stdout
        assert b"\x07" not in shown.stdout
    assert not (tmp_path / "stolen").exists()


def test_ranks_are_what_the_files_tell(tmp_path: Path) -> None:
    events = one_training_step()
    write_trace(tmp_path / "a.json", events, distributedInfo={"rank": 5, "world_size": 8})
    write_trace(tmp_path / "worker_rank-2.json.gz", events)
    write_trace(tmp_path / "c.json", events)
    outcome = run_import(tmp_path, "a.json", "worker_rank-2.json.gz", "c.json", "--output", "run")
    assert outcome.returncode == 0, outcome.stderr
    assert b"c.json does not tell its rank" in outcome.stderr
    with Run.open(tmp_path / "run") as run:
        assert run.rows("SELECT DISTINCT rank FROM spans ORDER BY 1") == [(0,), (2,), (5,)]
        assert sorted(each["rank"] for each in run.processes) == [0, 2, 5]
    outcome = run_import(tmp_path, "a.json", "c.json", "--rank", 1, "--rank", 9, "--output", "named")
    assert outcome.returncode == 0, outcome.stderr
    with Run.open(tmp_path / "named") as run:
        assert run.rows("SELECT DISTINCT rank FROM spans ORDER BY 1") == [(1,), (9,)]
    assert run_import(tmp_path, "a.json", "c.json", "--rank", 1, "--output", "no").returncode == 2


def test_windows_of_one_process_make_one_process(tmp_path: Path) -> None:
    for number in (0, 1):
        later: list[dict[str, Any]] = [{**event, "ts": event["ts"] + 10_000 * number} for event in one_training_step()]
        later[0]["name"] = f"ProfilerStep#{number}"
        write_trace(tmp_path / f"window{number}.json", later)
    outcome = run_import(tmp_path, "window0.json", "window1.json", "--rank", 0, "--rank", 0, "--output", "run")
    assert outcome.returncode == 0, outcome.stderr
    with Run.open(tmp_path / "run") as run:
        assert run.rows("SELECT count(*), count(DISTINCT context_id) FROM spans WHERE name = 'aten::addmm'") == [(2, 1)]
        assert run.rows("SELECT step FROM spans WHERE kind = 'step' ORDER BY 1") == [(0,), (1,)]
        assert [(each["pid"], each["steps"]) for each in run.processes] == [(4000, 2)]


def test_without_output_the_run_is_the_latest(tmp_path: Path) -> None:
    write_trace(tmp_path / "trace.json", one_training_step())
    assert run_import(tmp_path, "trace.json", "--quiet").stderr == b""
    (run_dir,) = (path for path in (tmp_path / ".deepseek-prof").iterdir() if path.is_dir())
    assert run_dir.name.endswith("-trace")
    assert run_dir.stat().st_mode & 0o777 == 0o700
    assert b"trace.json" in run_words(cli_command("report"), tmp_path).stdout


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"", 3), (b"hello", 3), (b'{"a": 1}', 3), (b"[]", 3), (b'{"traceEvents": []}', 3), (b"[1, 2, null]", 3)],
)
def test_what_is_no_trace_leaves_nothing_behind(tmp_path: Path, content: bytes, status: int) -> None:
    (tmp_path / "file.json").write_bytes(content)
    outcome = run_import(tmp_path, "file.json", "--output", "run")
    assert outcome.returncode == status
    assert outcome.stderr.startswith(b"deepseek-prof: file.json ")
    assert len(outcome.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file.json"]


def test_an_existing_run_is_not_written_over(tmp_path: Path) -> None:
    write_trace(tmp_path / "trace.json", one_training_step())
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine").touch()
    outcome = run_import(tmp_path, "trace.json", "--output", "run")
    assert outcome.returncode == 4
    assert b"exists already" in outcome.stderr
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine"]


def test_ctrl_c_leaves_no_half_run(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    process = subprocess.Popen(
        cli_command("import", "pipe", "--output", "run"), cwd=tmp_path, env=environment(), stderr=subprocess.PIPE
    )
    try:
        with (tmp_path / "pipe").open("wb") as pipe:  # opens once the import reads
            pipe.write(b'{"traceEvents": [{"ph": "X", "name": "a", "ts": 1, "dur": 1},')
            pipe.flush()
            process.send_signal(signal.SIGINT)
            assert process.wait(TIMEOUT_S) == 130
    finally:
        process.kill()
        process.communicate()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
