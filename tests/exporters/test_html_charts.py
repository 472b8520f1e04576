"""The data of the HTML report's flame graphs and the bars of its chart of steps."""

from __future__ import annotations

import pytest

from deepseek_prof.analysis.flame import Frame, Profile, Stack
from deepseek_prof.analysis.steps import Step, step_stats
from deepseek_prof.exporters.html_report.charts import step_chart
from deepseek_prof.exporters.html_report.flame_data import MAX_FRAMES, flame_data


def test_small_frames_are_put_together_and_no_time_is_lost() -> None:
    outer = Frame("model", "layer")
    stacks = tuple(
        Stack((outer, Frame(f"op{number}", "op", "matmul")), number + 1, 1) for number in range(MAX_FRAMES + 500)
    )
    profile = Profile("layers", "nanoseconds", stacks)
    data = flame_data([profile], 1.0)
    (encoded,) = data["profiles"]
    assert len(encoded["depth"]) == MAX_FRAMES + 1
    assert encoded["total"][0] == profile.total
    assert sum(encoded["total"][1:]) == profile.total
    assert encoded["total"][-1] == sum(range(1, 502))
    assert data["texts"][encoded["name"][-1]] == "(501 smaller)"


def test_equal_beginnings_of_stacks_are_one_frame() -> None:
    forward, block, mm = Frame("forward", "phase"), Frame("block", "layer"), Frame("aten::mm", "op", "matmul")
    stacks = (Stack((forward, block), 5, 2), Stack((forward, block, mm), 7, 3), Stack((mm,), 1, 1))
    (encoded,) = flame_data([Profile("layers", "nanoseconds", stacks)], 1.0)["profiles"]
    assert encoded["depth"] == [0, 1, 2, 0]
    assert encoded["total"] == [12, 12, 7, 1]
    assert encoded["count"] == [0, 2, 3, 1]


def steps_of(*durations_ns: int) -> list[Step]:
    return [Step(0, 1, number, ns) for number, ns in enumerate(durations_ns)]


def test_one_slow_step_does_not_flatten_the_others() -> None:
    steps = steps_of(900, *[100] * 200, 50_000, *[100] * 98)
    stats = step_stats(steps, 1)
    assert stats is not None
    chart = step_chart(steps, stats)
    assert chart is not None
    assert chart.bars[0].kind == "warm-up"
    assert [bar.kind for bar in chart.bars[1:]] == ["steady"] * (len(chart.bars) - 1)
    beyond = [bar for bar in chart.bars if bar.beyond]
    assert len(beyond) == 2
    usual = chart.bars[-1]
    assert usual.y == pytest.approx(100 - 100 / 2 / 1.05, abs=0.01)


def test_many_steps_share_bars() -> None:
    steps = steps_of(*range(1_000, 101_000))
    stats = step_stats(steps, 0)
    assert stats is not None
    chart = step_chart(steps, stats)
    assert chart is not None
    assert len(chart.bars) <= 240
    assert chart.bars[0].title.startswith("steps 0 to 416: median ")
    assert chart.bars[0].low_y > chart.bars[0].y > chart.bars[0].high_y
    assert sum(bar.width for bar in chart.bars) == pytest.approx(100, abs=0.1)


def test_a_single_step_has_no_chart() -> None:
    steps = steps_of(100)
    stats = step_stats(steps, 0)
    assert stats is not None
    assert step_chart(steps, stats) is None
