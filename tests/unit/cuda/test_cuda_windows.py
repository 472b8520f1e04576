"""When windows of CUDA recording begin and end."""

from __future__ import annotations

from deepseek_prof.collectors.cuda_windows import LONGEST_NS, MAX_FOR_CAPTURES, SHORTEST_NS, WindowPlan

MS = 1_000_000


def _windows(plan: WindowPlan, step_ns: int, steps: int, *, cost_ns: int = 0) -> list[tuple[int, int]]:
    """First and last step of each window of a program that comes by before each step."""
    found: list[tuple[int, int]] = []
    first = 0
    now_ns = 0
    for step in range(steps + 1):
        if plan.wants_close(step, now_ns):
            plan.closed()
            plan.spend(cost_ns)
            now_ns += cost_ns
            found.append((first, step - 1))
        if plan.wants_open(step, now_ns):
            plan.opened(step, now_ns)
            first = step
        now_ns += step_ns
    return found


def test_windows_hold_whole_steps_and_follow_one_another() -> None:
    windows = _windows(WindowPlan(None, None, 0), 100 * MS, 30)
    assert windows[0] == (0, SHORTEST_NS // (100 * MS))
    assert [first for first, _ in windows[1:]] == [last + 1 for _, last in windows[:-1]]


def test_a_window_is_within_the_steps_asked_for() -> None:
    assert _windows(WindowPlan((10, 12), None, 0), 100 * MS, 30) == [(10, 12)]
    assert _windows(WindowPlan((0, 0), None, 0), 1 * MS, 30) == [(0, 0)]
    assert WindowPlan((10, 12), None, 0).is_over(13)
    assert not WindowPlan((10, 12), None, 0).is_over(12)


def test_the_budget_leaves_windows_out() -> None:
    step_ns = 600 * MS
    every = _windows(WindowPlan(None, None, 0), step_ns, 200, cost_ns=60 * MS)
    some = _windows(WindowPlan(None, 0.01, 0), step_ns, 200, cost_ns=60 * MS)
    assert len(every) == 200
    # 60 ms of each 600 ms are 10 %: at 1 % about a tenth of the windows is left.
    assert 15 <= len(some) <= 25


def test_a_window_without_the_end_of_a_step_ends_by_itself() -> None:
    plan = WindowPlan(None, None, 0)
    plan.opened(-1, 0)
    assert not plan.wants_close(-1, LONGEST_NS)
    assert plan.wants_close(-1, LONGEST_NS + 1)


def test_the_second_root_module_of_a_step_changes_nothing() -> None:
    plan = WindowPlan(None, None, 0)
    plan.opened(3, 0)
    assert not plan.wants_close(3, 2 * SHORTEST_NS)
    assert plan.wants_close(4, 2 * SHORTEST_NS)
    assert not plan.wants_open(3, 2 * SHORTEST_NS)


def test_captures_are_worth_some_windows_beyond_the_budget() -> None:
    plan = WindowPlan((0, 10), 0.01, 0)
    plan.spend(10**9)
    opened = 0
    while plan.wants_open(1, 100 * MS, for_capture=True):
        assert not plan.wants_open(1, 100 * MS)
        plan.opened(1, 100 * MS, for_capture=True)
        plan.closed()
        opened += 1
    assert opened == MAX_FOR_CAPTURES
    assert not WindowPlan((0, 10), 0.01, 0).wants_open(11, 100 * MS, for_capture=True)
