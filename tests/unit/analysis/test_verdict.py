"""The one line that a report opens with names what takes the time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from deepseek_prof.analysis.summary import summarize
from deepseek_prof.analysis.verdict import Verdict, judge, small_operator_share
from deepseek_prof.trace.run import Run
from tests.support.drawn import Node, gap, op, write_drawn_run

MS = 1_000_000
LOADER = "enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__"
OPTIMIZER = "Optimizer.step#SGD.step"


def _judge(path: Path, nodes: Sequence[Node], *, with_steps: bool = True) -> Verdict:
    with Run.open(write_drawn_run(path / "run", lambda rank, step: nodes, steps=5, with_steps=with_steps)) as run:
        return judge(summarize(run))


@pytest.mark.parametrize(
    ("nodes", "bound", "headline"),
    [
        ((Node(LOADER, 30 * MS, "data", "data"), op("aten::mm", 70 * MS)), "data", "30 % of it waits"),
        (
            (Node(OPTIMIZER, 40 * MS, "user", "optimizer"), op("aten::mm", 35 * MS)),
            "optimizer",
            "53 % of it is optimizer",
        ),
        ((op("aten::mm", 50 * MS), gap(50 * MS)), "python", "50 % of it runs no operator"),
        ((op("aten::mm", 5_000), op("aten::relu", 4_000), op("aten::conv2d", 5_000)), "dispatch", "small operators"),
        ((op("aten::mm", 60 * MS), op("aten::relu", 40 * MS)), "matmul", "60 % of operator time"),
        ((op("aten::convolution", 60 * MS), op("aten::relu", 40 * MS)), "conv", "bound by conv"),
    ],
)
def test_what_bounds_the_step(tmp_path: Path, nodes: Sequence[Node], bound: str, headline: str) -> None:
    verdict = _judge(tmp_path, nodes)
    assert verdict.bound == bound
    assert verdict.headline.startswith("The step is bound by ")
    assert headline in verdict.headline
    assert verdict.why
    assert verdict.next


def test_what_is_spread_is_said_to_be(tmp_path: Path) -> None:
    names = ("aten::mm", "aten::convolution", "aten::relu", "aten::softmax", "aten::sum", "aten::add")
    verdict = _judge(tmp_path, [op(name, 20 * MS) for name in names])
    assert verdict.bound == "mixed"
    assert "no single bottleneck" in verdict.headline


def test_ranks_that_wait_for_each_other_are_not_told_to_compile(tmp_path: Path) -> None:
    verdict = _judge(tmp_path, (op("gloo:all_reduce", 60 * MS), op("aten::mm", 40 * MS)))
    assert verdict.bound == "collective"
    assert "no_sync()" in verdict.next
    assert "torch.compile" not in verdict.next


def test_a_program_without_backward_is_told_of_none(tmp_path: Path) -> None:
    inference = _judge(tmp_path / "inference", (op("aten::mm", MS, phase="forward"),))
    training = _judge(
        tmp_path / "training", (op("aten::mm", MS, phase="forward"), op("aten::mm", MS, phase="backward"))
    )
    assert inference.why.startswith("Of the time, forward 100 %; ")
    assert training.why.startswith("Of the time, forward 50 %, backward 50 %; ")


def test_without_steps_it_is_the_program(tmp_path: Path) -> None:
    assert _judge(tmp_path, (op("aten::mm", MS),), with_steps=False).headline.startswith("The program is bound by")


def test_nothing_recorded(tmp_path: Path) -> None:
    verdict = _judge(tmp_path, ())
    assert verdict.bound == "nothing"
    assert "doctor" in verdict.next


def test_small_operators_are_measured_by_their_mean_self_time(tmp_path: Path) -> None:
    nodes = (op("aten::outer", 30_000, op("aten::inner", 24_000)), op("aten::mm", 30_000))
    with Run.open(write_drawn_run(tmp_path / "run", lambda rank, step: nodes)) as run:
        assert small_operator_share(summarize(run)) == pytest.approx(0.1)
