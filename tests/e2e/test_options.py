"""The options of ``run``, each on a real recording, and their defaults from ``pyproject.toml``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.recording import open_run, record, run_cli, write_program

STEPS = 60
ENDLESS = """
    import torch
    a = torch.ones(2)
    for _ in range(300_000):
        a.add(a)
"""
OPERATORS = "kind = 'op'"
PROGRAM = f"""
    import torch
    net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range({STEPS}):
        net(torch.ones(4, 8)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
"""


@pytest.fixture
def program(tmp_path: Path) -> str:
    """A program of many small operators."""
    return str(write_program(tmp_path, PROGRAM))


def test_steps_records_operators_of_these_steps_only(program: str, tmp_path: Path) -> None:
    with open_run(record([program], tmp_path, "--steps", "10:20")) as run:
        found = [step for (step,) in run.rows(f"SELECT DISTINCT step FROM spans WHERE {OPERATORS} ORDER BY step")]
        assert found == list(range(10, 20))
        assert run.rows("SELECT count(*) FROM spans WHERE kind = 'step'") == [(STEPS,)]
        calls = run.rows("SELECT step, count(*) FROM spans WHERE name = 'aten::linear' GROUP BY step")
        assert {count for _, count in calls} == {2}


def test_record_layers_leaves_operators_out(program: str, tmp_path: Path) -> None:
    with open_run(record([program], tmp_path, "--record", "layers")) as run:
        kinds = dict(run.rows("SELECT kind, count(*) FROM spans GROUP BY kind"))
    assert "op" not in kinds
    assert "autograd" not in kinds
    assert kinds["step"] == STEPS
    assert kinds["layer"] == 4 * STEPS


def test_record_full_adds_shapes_flops_and_bytes(program: str, tmp_path: Path) -> None:
    with open_run(record([program], tmp_path, "--record", "full")) as run:
        query = "SELECT DISTINCT shapes, flops, bytes > 0 FROM spans WHERE name = 'aten::linear' ORDER BY flops"
        small, large = run.rows(query)
    # A product and a sum for each of [4, 8] @ [8, 1] and [4, 8] @ [8, 8]; the bias is left out.
    assert small == ("float32[4,8];float32[1,8];float32[1]", 2 * 4 * 8 * 1, True)
    assert large == ("float32[4,8];float32[8,8];float32[8]", 2 * 4 * 8 * 8, True)


def test_overhead_budget_records_some_steps_in_full_and_all_as_steps(tmp_path: Path) -> None:
    program = str(write_program(tmp_path, PROGRAM.replace(f"range({STEPS})", "range(1500)")))
    with open_run(record([program], tmp_path, "--overhead-budget", "1%")) as run:
        (process,) = run.processes
        with_operators = run.rows(f"SELECT count(DISTINCT step) FROM spans WHERE {OPERATORS}")[0][0]
        assert 0 < with_operators < 1500
        assert 0 < process["full_steps"] < process["steps"] == 1500
        assert run.rows("SELECT count(*) FROM spans WHERE kind = 'step'") == [(1500,)]


@pytest.mark.parametrize(
    ("spent_ns", "least", "most"),
    [
        ("0", 100, 200),
        ("10**9 if step == 0 else 0", 100, 200),  # what only the first step pays
        ("10**9 if step > 20 else 0", 20, 30),
        ("10**8 if step % 10 == 0 else 0", 2, 30),  # rare, and more than ten steps allow
    ],
)
def test_the_overhead_budget_counts_what_is_spent_besides_records(
    tmp_path: Path, spent_ns: str, least: int, most: int
) -> None:
    body = f"""
    import time
    from deepseek_prof.collectors.operators import load_library
    for step in range(200):
        time.sleep(0.002)
        load_library().spent({spent_ns})"""
    program = str(write_program(tmp_path, PROGRAM.replace(f"\n    for _ in range({STEPS}):", body)))
    with open_run(record([program], tmp_path, "--overhead-budget", "100%")) as run:
        assert least <= run.processes[0]["full_steps"] <= most


def test_max_size_keeps_the_newest_spans_and_sums_of_the_others(tmp_path: Path) -> None:
    program = str(write_program(tmp_path, ENDLESS))
    run_dir = tmp_path / "run"
    done = run_cli("run", "--output", str(run_dir), "--max-size", "200KiB", program, cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    with open_run(run_dir) as run:
        kept = run.rows("SELECT count(*) FROM spans WHERE name = 'aten::add'")[0][0]
        summed = run.rows("SELECT sum(count) FROM sums WHERE name = 'aten::add'")[0][0]
        assert kept + summed == 300_000
        assert kept > 0
        assert summed > 0
        assert run.info["spans"]["size_bytes"] <= 400 << 10
        assert sum(entry["spans"] for entry in run.info["dropped"]) >= summed


def test_name_finds_the_run(program: str, tmp_path: Path) -> None:
    done = run_cli("run", "--name", "baseline", program, cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    (folder,) = (path for path in (tmp_path / ".deepseek-prof").iterdir() if path.is_dir())
    with open_run(folder) as run:
        assert run.name == "baseline"
    shown = run_cli("top", "--run", "baseline", "--format", "csv", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr.decode()
    assert b"aten::" in shown.stdout
    assert done.stderr.endswith(b"deepseek-prof report baseline\n")


def test_the_hint_can_be_pasted_into_a_shell(tmp_path: Path) -> None:
    program = str(write_program(tmp_path, "import torch; torch.ones(1) + 1"))
    spaced = run_cli("run", "--name", "base line", program, cwd=tmp_path)
    assert spaced.stderr.endswith(b"deepseek-prof report 'base line'\n")
    dashed = run_cli("run", "--name=-x", program, cwd=tmp_path)
    assert not dashed.stderr.endswith(b"-x\n")
    elsewhere = run_cli("run", "--name", "other", "--output", "far/there", program, cwd=tmp_path)
    assert elsewhere.stderr.endswith(f"deepseek-prof report {tmp_path / 'far' / 'there'}\n".encode())


def test_settings_of_pyproject_and_options_over_them(program: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.deepseek-prof]\nrecord = "layers"\nname = "from the file"\n'
        'output = "recorded"\nsteps = "3:5"\nquiet = true\n'
    )
    below = tmp_path / "below"
    below.mkdir()
    done = run_cli("run", "--record", "ops", program, cwd=below)
    assert (done.returncode, done.stderr) == (0, b"")
    with open_run(tmp_path / "recorded") as run:
        assert run.name == "from the file"
        assert run.info["settings"]["record"] == "ops"
        assert run.rows(f"SELECT DISTINCT step FROM spans WHERE {OPERATORS} ORDER BY step") == [(3,), (4,)]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--steps", "20:10"], "--steps"),
        (["--overhead-budget", "3"], "3%"),
        (["--max-size", "much"], "2GiB"),
        (["--record", "all"], "layers, ops, full"),
        (["--recorder", "nsight"], "native"),
    ],
)
def test_values_that_do_not_fit_are_told_before_the_start(options: list[str], told: str, tmp_path: Path) -> None:
    program = write_program(tmp_path, "open('started', 'w')\n")
    done = run_cli("run", *options, program.name, cwd=tmp_path)
    assert done.returncode == 2
    assert told in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert not (tmp_path / "started").exists()


def test_unknown_key_in_pyproject_is_told_with_the_nearest(tmp_path: Path) -> None:
    write_program(tmp_path, "print(1)\n")
    (tmp_path / "pyproject.toml").write_text('[tool.deepseek-prof]\nrecords = "ops"\n')
    done = run_cli("run", "program.py", cwd=tmp_path)
    assert done.returncode == 2
    assert b"'records'" in done.stderr
    assert b"Did you mean record?" in done.stderr
