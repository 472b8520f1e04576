"""The recorder against an independent witness: ``torch.profiler`` on the same steps of the same program."""

from __future__ import annotations

import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deepseek_prof.trace.run import Run
from tests.support.recording import open_run, operator_counts, record, write_program

FIRST, LAST = 4, 11

# Operators of milliseconds, so that neither profiler's own cost shows, and small ones, for the counts.
PROGRAM = f"""
    import json, sys
    import torch
    from torch.profiler import profile

    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3), torch.nn.ReLU(), torch.nn.BatchNorm2d(16), torch.nn.Flatten(),
        torch.nn.Linear(16 * 30 * 30, 512), torch.nn.Dropout(), torch.nn.Linear(512, 10),
    )
    optimizer = torch.optim.AdamW(net.parameters())
    witness = profile()
    for step in range({LAST + 3}):
        if step == {FIRST}:
            witness.start()
        optimizer.zero_grad()
        images = torch.randn(32, 3, 32, 32)
        torch.mm(images.reshape(512, -1), images.reshape(-1, 512))
        loss = torch.nn.functional.cross_entropy(net(images), torch.randint(10, (32,)))
        loss.backward()
        loss.item()
        optimizer.step()
        if step == {LAST}:
            witness.stop()
    # Not witness.events(), which leaves out an operator that is the only one inside another of its name.
    events = [(event.name(), event.duration_ns()) for event in witness.profiler.kineto_results.events()]
    with open("witness.json", "w") as file:
        json.dump(events, file)
"""


@dataclass(frozen=True)
class Witnessed:
    """A run, and what ``torch.profiler`` saw: name and duration in nanoseconds of each event."""

    run: Run
    events: list[tuple[str, int]]


@pytest.fixture(scope="module")
def witnessed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Witnessed]:
    folder = tmp_path_factory.mktemp("witness")
    run_dir = record([str(write_program(folder, PROGRAM))], folder, "--recorder", "native")
    events = [(str(name), int(duration)) for name, duration in json.loads((folder / "witness.json").read_text())]
    with open_run(run_dir) as run:
        yield Witnessed(run, events)


def _is_operator(name: str) -> bool:
    return not name.startswith(("Optimizer.", "ProfilerStep#", "profiler::", "PyTorch Profiler"))


def test_every_operator_ran_as_often_as_the_witness_saw(witnessed: Witnessed) -> None:
    theirs = Counter(name for name, _ in witnessed.events if _is_operator(name))
    found = witnessed.run.rows(
        "SELECT name, count(*) FROM spans WHERE kind IN ('op', 'autograd') AND step BETWEEN ? AND ? GROUP BY name",
        [FIRST, LAST],
    )
    assert Counter(dict(found)) == theirs
    assert theirs["aten::conv2d"] == LAST - FIRST + 1
    assert len(theirs) > 40


def test_user_scopes_of_torch_itself_are_the_witnesss(witnessed: Witnessed) -> None:
    theirs = Counter(name for name, _ in witnessed.events if name.startswith("Optimizer."))
    found = witnessed.run.rows(
        "SELECT name, count(*) FROM spans WHERE name LIKE 'Optimizer.%' AND step BETWEEN ? AND ? GROUP BY name",
        [FIRST, LAST],
    )
    assert Counter(dict(found)) == theirs


def test_times_of_large_operators_are_the_witnesss_within_15_percent(witnessed: Witnessed) -> None:
    theirs = defaultdict(list)
    for name, duration_ns in witnessed.events:
        theirs[name].append(duration_ns)
    ours = defaultdict(list)
    query = "SELECT name, dur_ns FROM spans WHERE kind = 'op' AND step BETWEEN ? AND ?"
    for name, dur_ns in witnessed.run.rows(query, [FIRST, LAST]):
        ours[name].append(dur_ns)
    # The median over the steps of operators of more than 0.2 ms: less is the profilers' own cost on one another.
    large = {name: statistics.median(times) for name, times in ours.items() if statistics.median(times) > 200_000}
    assert {"aten::mm", "aten::addmm", "aten::convolution_backward"} <= large.keys()
    for name, ours_ns in large.items():
        assert ours_ns == pytest.approx(statistics.median(theirs[name]), rel=0.15), name


def test_spans_of_each_thread_nest(witnessed: Witnessed) -> None:
    rows = witnessed.run.rows(
        "SELECT pid, tid, start_ns, start_ns + dur_ns, name FROM spans WHERE kind <> 'step' "
        "ORDER BY pid, tid, start_ns, dur_ns DESC"
    )
    open_until: dict[tuple[int, int], list[int]] = defaultdict(list)
    for pid, tid, start_ns, end_ns, name in rows:
        stack = open_until[pid, tid]
        while stack and stack[-1] <= start_ns:
            stack.pop()
        assert not stack or end_ns <= stack[-1], name
        stack.append(end_ns)
    assert len(rows) > 1000


def test_self_times_of_each_tree_sum_to_its_root(witnessed: Witnessed) -> None:
    rows = witnessed.run.rows(
        "SELECT pid, tid, start_ns, dur_ns, self_ns FROM spans WHERE kind <> 'step' "
        "ORDER BY pid, tid, start_ns, dur_ns DESC"
    )
    roots: list[list[int]] = []  # of each tree: thread, end, duration, sum of self times
    for pid, tid, start_ns, dur_ns, self_ns in rows:
        if not roots or roots[-1][:2] != [pid, tid] or start_ns >= roots[-1][2]:
            roots.append([pid, tid, start_ns + dur_ns, dur_ns, 0])
        roots[-1][4] += self_ns
    assert len(roots) > 10
    assert [root[4] for root in roots] == [root[3] for root in roots]


def test_kineto_recorder_writes_the_same_kind_of_run(tmp_path: Path) -> None:
    code = """
        import torch
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
        optimizer = torch.optim.AdamW(net.parameters())
        for _ in range(7):
            net(torch.ones(4, 8)).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    """
    counts, layers, steps, phases = [], [], [], []
    for recorder in ("native", "kineto"):
        folder = tmp_path / recorder
        folder.mkdir()
        with open_run(record([str(write_program(folder, code))], folder, "--recorder", recorder)) as run:
            assert [process["recorder"] for process in run.processes] == [recorder]
            counts.append(operator_counts(run))
            query = "SELECT name, phase, count(*) FROM spans WHERE kind = 'layer' GROUP BY ALL ORDER BY ALL"
            layers.append(run.rows(query))
            steps.append(run.rows("SELECT step FROM spans WHERE kind = 'step' ORDER BY step"))
            # Kineto does not tell whose gradient AccumulateGrad takes: backward layers are compared by the native one.
            query = (
                "SELECT name, phase, if(phase = 'forward', layer, ''), count(*) FROM spans WHERE kind = 'op' "
                "GROUP BY ALL ORDER BY ALL"
            )
            phases.append(run.rows(query))
    assert counts[0] == counts[1]
    assert layers[0] == layers[1]
    assert steps[0] == steps[1] == [(step,) for step in range(7)]
    assert phases[0] == phases[1]
