"""Candidates of real programs: what works is measured and compared, what does not is a row with its reason."""

from __future__ import annotations

import gc
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from deepseek_prof.optimizer.candidate import Candidate, CandidateError, Target, prepared
from deepseek_prof.optimizer.channel import Channel
from deepseek_prof.optimizer.measure import Measurer
from deepseek_prof.optimizer.results import CandidateResult
from deepseek_prof.optimizer.session import Session
from tests.support.optimizing import captured, positional

PROGRAM = Path(__file__).parent / "programs" / "odd_models.py"
LAYOUT: list[tuple[str, dict[str, object]]] = [("layout", {})]
ROUNDS = 5


def target(name: str, call: int = 4) -> Target:
    return Target((sys.executable, str(PROGRAM), name), name, call, False, environment=(("OMP_NUM_THREADS", "1"),))


def measured(name: str, passes: tuple[str, ...] = ("layout",), prepare_s: float = 60.0) -> CandidateResult:
    row = CandidateResult(passes, tuple({} for _ in passes), "failed", None, 1.0)
    measurer = Measurer(target(name), prepare_s)
    try:
        return measurer.measure(row, ROUNDS, 60.0)
    finally:
        measurer.end_eager()


@pytest.mark.parametrize("name", ["DataDependent", "KeywordsOnly", "Tied", "Dataclass", "Unexportable"])
def test_odd_models_are_measured_and_agree_with_eager(name: str) -> None:
    row = measured(name)
    assert row.status in ("win", "inconclusive", "slower"), row.reason
    assert row.numerics is not None
    assert row.numerics["cosine"] == pytest.approx(1)
    assert row.figures is not None
    assert row.baseline is not None
    assert row.figures.calls == row.baseline.calls
    assert row.fired
    assert row.interval is not None
    assert row.speedup is not None
    assert row.interval[0] <= row.speedup <= row.interval[1]


@pytest.mark.parametrize("name", ["DataDependent", "KeywordsOnly", "Mutates", "Dataclass", "Unexportable"])
def test_odd_models_are_folded(name: str) -> None:
    row = measured(name, ("fold",))
    assert row.status in ("win", "inconclusive", "slower"), row.reason
    assert row.fired == ("1 of 1 normalizations folded",)


def test_an_argument_that_eager_writes_to_is_part_of_the_result() -> None:
    """channels_last gives the module a copy, and the caller's tensor stays as it was."""
    row = measured("Mutates")
    assert row.status == "inaccurate"
    assert row.speedup is not None


@pytest.mark.parametrize(("name", "reason"), [("ReturnsNothing", "no tensor"), ("Drifts", "another result each time")])
def test_outputs_that_prove_nothing_are_refused(name: str, reason: str) -> None:
    row = measured(name)
    assert row.status == "refused"
    assert reason in str(row.reason)


def test_labels_that_change_are_no_win() -> None:
    row = measured("LabelsOnly")
    assert row.status == "inaccurate"
    assert "not eager's" in str(row.reason)


def test_several_inputs_of_each_signature_are_kept_and_one_is_timed() -> None:
    with Candidate(target("Convolutions", call=11)) as candidate:
        candidate.reach(60.0)
        assert len(candidate.signatures) == 2
        candidate.ask({"do": "prepare", "passes": []}, 60.0)
        assert len(candidate.ask({"do": "round", "repeats": 1}, 60.0)["calls_ns"]) == 2


def test_folding_and_layout_go_together() -> None:
    row = measured("Convolutions", ("fold", "layout"))
    assert row.status in ("win", "inconclusive", "slower"), row.reason
    assert row.fired == ("1 of 1 normalizations folded", "1 convolution weights in channels_last")


@pytest.mark.parametrize(
    ("name", "reason"),
    [("KilledWhenMoved", "SIGKILL"), ("TooLargeWhenMoved", "memory"), ("HangsWhenMoved", "took more than")],
)
def test_a_candidate_that_dies_hangs_or_needs_too_much_memory_is_a_row(name: str, reason: str) -> None:
    row = measured(name, prepare_s=10.0)
    assert row.status == "failed"
    assert reason in str(row.reason)


def test_wrong_results_are_no_win_at_any_speed() -> None:
    row = measured("WrongWhenMoved")
    assert row.status == "inaccurate"
    assert "SQNR" in str(row.reason)


def test_a_pass_that_does_not_apply_is_refused() -> None:
    row = Measurer(
        Target((sys.executable, "-c", "import torch; m = torch.nn.Linear(2, 2)\nfor _ in range(3): m(torch.ones(2))"),
               "Linear", 1, True)
    ).measure(CandidateResult(("layout",), ({},), "failed", None, 1.0), ROUNDS, 60.0)  # fmt: skip
    assert (row.status, row.reason) == ("refused", "layout: no Conv2d layer")


def test_every_signature_before_the_captured_call_is_kept() -> None:
    candidate, answer = prepared(target("Convolutions"), LAYOUT, 60.0)
    with candidate:
        assert answer["status"] == "ready"
        assert [each.split("[")[1].split(",")[0] for each in candidate.signatures] == ["1", "2"]
        told = candidate.ask({"do": "round", "repeats": 3}, 30.0)
        assert len(told["calls_ns"]) == 3 * 2


def test_a_message_that_is_not_known_is_refused() -> None:
    ours, theirs = (Channel(each) for each in socket.socketpair())
    for wanted in ("rest", "end"):
        ours.send({"do": wanted})
    Session(theirs, captured(torch.nn.Linear(2, 2), positional(torch.ones(2))), None).run()
    assert ours.receive() == {"status": "failed", "reason": "no message 'rest'"}


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import torch; raise SystemExit('no such split')", "ended before call 5.*exit status 1: no such split"),
        ("raise SystemExit('no weights here')", "no weights here"),
        ("import torch, os; os._exit(3)", "exit status 3"),
        ("import time; time.sleep(60)", "did not import torch within 3 s"),
    ],
)
def test_a_program_that_does_not_reach_the_call_says_why(code: str, reason: str) -> None:
    with (
        Candidate(Target((sys.executable, "-c", code), "Net", 4, False)) as candidate,
        pytest.raises(CandidateError, match=reason),
    ):
        candidate.reach(3.0 if "sleep" in code else 60.0)


def test_a_candidate_interrupted_while_it_starts_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Interrupted(subprocess.Popen):  # type: ignore[type-arg]  # of bytes
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            started.append(self)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        Candidate(target("Convolutions"))
    gc.collect()
    assert started[0].returncode == -signal.SIGKILL
