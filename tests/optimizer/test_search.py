"""The search over scripted measurements: what it tries, what it claims, and what the budget and Ctrl-C leave."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from deepseek_prof.optimizer.protocol import Profile
from deepseek_prof.optimizer.results import CandidateResult
from deepseek_prof.optimizer.search import FULL_ROUNDS, Search

PROFILE = Profile({"conv": 0.8, "norm": 0.1, "matmul": 0.1})


@dataclass
class Scripted:
    """In the place of processes: the speed-up of each combination, in turn where it is measured again."""

    speedups: dict[tuple[str, ...], list[float]]
    inaccurate: tuple[str, ...] = ()
    interrupt_at: int | None = None
    measured: list[tuple[tuple[str, ...], int]] = field(default_factory=list)
    ended: int = 0

    def measure(self, row: CandidateResult, rounds: int, left_s: float, *, explain: bool = False) -> CandidateResult:
        if len(self.measured) == self.interrupt_at:
            raise KeyboardInterrupt
        before = sum(passes == row.passes for passes, _ in self.measured)
        self.measured.append((row.passes, rounds))
        values = self.speedups.get(row.passes)
        if values is None:
            return replace(row, status="refused", reason="not here")
        speedup = values[min(before, len(values) - 1)]
        if row.passes[0] in self.inaccurate:
            return replace(row, status="inaccurate", reason="SQNR", speedup=speedup, interval=(speedup, speedup))
        status = "win" if speedup > 1.1 else "inconclusive"
        interval = (speedup - 0.05, speedup + 0.05)
        return replace(row, status=status, reason=None, speedup=speedup, interval=interval)  # type: ignore[arg-type]  # one of Status

    def end_eager(self) -> None:
        self.ended += 1


def searched(scripted: Scripted, names: tuple[str, ...] = ("fold", "layout"), budget_s: float = 600.0) -> Search:
    search = Search(scripted, PROFILE, "inference", budget_s, lambda _: None)
    search.run(names)
    return search


def test_passes_join_as_long_as_that_is_faster() -> None:
    search = searched(Scripted({("fold",): [1.2], ("layout",): [1.5], ("fold", "layout"): [1.9]}))
    winner = search.winner()
    assert winner is not None
    assert winner.passes == ("fold", "layout")
    assert winner.confirmed
    assert search.ended_by is None


def test_a_win_that_is_not_seen_again_is_none() -> None:
    scripted = Scripted({("fold",): [1.5, 1.0], ("layout",): [1.0]})
    search = searched(scripted)
    assert search.winner() is None
    assert (("fold",), FULL_ROUNDS) in scripted.measured


def test_an_inaccurate_pass_is_neither_joined_nor_confirmed() -> None:
    scripted = Scripted({("fold",): [3.0], ("layout",): [1.5]}, inaccurate=("fold",))
    winner = searched(scripted).winner()
    assert winner is not None
    assert winner.passes == ("layout",)
    assert not any("fold" in passes and rounds == FULL_ROUNDS for passes, rounds in scripted.measured)
    assert not any(passes == ("fold", "layout") for passes, _ in scripted.measured)


def test_refused_passes_are_rows() -> None:
    search = searched(Scripted({}))
    assert {row.status for row in search.rows.values()} == {"refused"}
    assert search.winner() is None


@pytest.mark.parametrize("interrupt_at", [0, 1, 3])
def test_an_interrupt_keeps_rows_and_claims_nothing_that_was_measured_once(interrupt_at: int) -> None:
    scripted = Scripted({("fold",): [1.5], ("layout",): [1.6], ("fold", "layout"): [1.9]}, interrupt_at=interrupt_at)
    search = searched(scripted)
    assert search.ended_by == "interrupt"
    assert len(search.rows) == interrupt_at
    assert search.winner() is None
    assert all(row.status == "inconclusive" for row in search.rows.values())
    assert scripted.ended >= 1


def test_what_the_budget_has_no_time_for_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0

    class Slow(Scripted):
        def measure(
            self, row: CandidateResult, rounds: int, left_s: float, *, explain: bool = False
        ) -> CandidateResult:
            nonlocal now_s
            now_s += 100.0
            return super().measure(row, rounds, left_s, explain=explain)

    monkeypatch.setattr("deepseek_prof.optimizer.search.time.monotonic", lambda: now_s)
    scripted = Slow({("fold",): [1.5], ("layout",): [1.6], ("fold", "layout"): [1.9]})
    search = searched(scripted, budget_s=320.0)
    assert search.ended_by == "budget"
    assert [rounds == FULL_ROUNDS for _, rounds in scripted.measured] == [False, True]
    assert search.winner() is not None


def test_a_first_measurement_leaves_time_for_the_second() -> None:
    allowed_s: list[float] = []

    class Recorded(Scripted):
        def measure(
            self, row: CandidateResult, rounds: int, left_s: float, *, explain: bool = False
        ) -> CandidateResult:
            allowed_s.append(left_s)
            return super().measure(row, rounds, left_s, explain=explain)

    searched(Recorded({("fold",): [1.0]}), ("fold",), budget_s=300.0)
    assert allowed_s == [pytest.approx(100.0, abs=1)]


def test_a_candidate_that_was_cut_off_leaves_time_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0

    class CutOff(Scripted):
        def measure(
            self, row: CandidateResult, rounds: int, left_s: float, *, explain: bool = False
        ) -> CandidateResult:
            nonlocal now_s
            if row.passes == ("layout",):
                now_s += left_s
                return replace(row, status="failed", reason="no answer")
            now_s += 5
            return super().measure(row, rounds, left_s, explain=explain)

    monkeypatch.setattr("deepseek_prof.optimizer.search.time.monotonic", lambda: now_s)
    search = searched(CutOff({("fold",): [1.5]}), budget_s=60.0)
    winner = search.winner()
    assert winner is not None
    assert winner.passes == ("fold",)
    assert now_s <= 60


def test_passes_that_compile_or_lower_precision_themselves_are_not_combined_with_others_that_do() -> None:
    scripted = Scripted({(name,): [1.5] for name in ("quantize", "fuse", "amp", "layout")})
    searched(scripted, ("quantize", "fuse", "amp", "layout"))
    tried = {passes for passes, _ in scripted.measured if len(passes) > 1}
    assert tried
    assert not any({"quantize", other} <= set(each) for each in tried for other in ("fuse", "amp"))


def test_a_budget_of_nothing_still_measures_the_most_promising_that_applies() -> None:
    said: list[str] = []
    scripted = Scripted({("fold",): [1.5]})
    search = Search(scripted, PROFILE, "inference", 0.0, said.append)
    search.run(("attention", "layout", "fold", "threads"))
    assert search.ended_by == "budget"
    measured = [row.passes for row in search.rows.values() if row.status != "refused"]
    assert measured == [("fold",)]
    assert "threads" in next(line for line in said if "not tried" in line)


def test_what_saves_memory_comes_first_where_memory_is_the_goal() -> None:
    names = ("optimizer", "layout", "amp", "checkpoint")
    orders = {}
    for goal in ("latency", "memory"):
        scripted = Scripted({})
        search = Search(scripted, PROFILE, "training", 600.0, lambda _: None, goal)
        search.run(names)
        orders[goal] = [passes[0] for passes, _ in scripted.measured]
    assert orders["memory"][0] == "checkpoint"
    assert orders["latency"][-1] == "checkpoint"
