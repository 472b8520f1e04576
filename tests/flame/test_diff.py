"""Differential flame graphs: what changed between two runs, by path and step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deepseek_prof.analysis.diff import diff
from deepseek_prof.analysis.flame_diff import flame_diff
from deepseek_prof.errors import UsageError
from deepseek_prof.query import compile_query
from deepseek_prof.trace.run import Run
from tests.flame.drawing import weights
from tests.support.drawn import Node, module, op, write_drawn_run

STEPS = 12


def drawing(fc: int, norm: int, extra: str | None = None) -> Any:
    def draw(rank: int, step: int) -> tuple[Node, ...]:
        added = [module("net.new", 40, op(extra, 40))] if extra else []
        layers = [module("net.fc", fc, op("aten::mm", fc)), module("net.norm", norm, op("aten::add", norm)), *added]
        return (module("net", 1000 + step % 3, *layers),)

    return draw


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, Path]:
    """The later run is slower in ``fc``, faster in ``norm``, has a layer more, and twice as many steps."""
    return (
        write_drawn_run(tmp_path / "before", drawing(300, 200), steps=STEPS),
        write_drawn_run(tmp_path / "after", drawing(420, 90, "aten::relu"), steps=2 * STEPS),
    )


def test_slower_and_faster_are_weighted_by_the_difference_a_step(paths: tuple[Path, Path]) -> None:
    with Run.open(paths[0]) as a, Run.open(paths[1]) as b:
        found = flame_diff(a, b)
        entries = {row.name: row.delta_ns for row in diff(a, b, "layer").rows}
        total = diff(a, b).total
    slower, faster, before, after = found.profiles
    unit = "host time a step"
    names = (f"slower · {unit}", f"faster · {unit}", f"before: before · {unit}", f"after: after · {unit}")
    assert tuple(profile.name for profile in found.profiles) == names
    assert weights(slower) == {"forward > net > net.fc > aten::mm": 120, "forward > net > net.new > aten::relu": 40}
    assert weights(faster) == {"forward > net": 50, "forward > net > net.norm > aten::add": 110}
    assert entries == {"net.fc": 120, "net.norm": -110, "net": -50, "net.new": 40}
    assert total.before_ns == pytest.approx(before.total, abs=len(before.stacks))
    assert total.after_ns == pytest.approx(after.total, abs=len(after.stacks))


def test_operators_can_be_compared_and_a_query_narrows(paths: tuple[Path, Path]) -> None:
    with Run.open(paths[0]) as a, Run.open(paths[1]) as b:
        slower, before, after = flame_diff(a, b, "ops", compile_query("type:matmul")).profiles
    assert weights(slower) == {"matmul > aten::mm > net.fc": 120}
    assert (before.total, after.total) == (300, 420)


def test_a_run_with_itself_shows_no_difference(paths: tuple[Path, Path]) -> None:
    with Run.open(paths[0]) as a, Run.open(paths[0]) as b:
        found = flame_diff(a, b)
    assert [profile.name.split(":")[0] for profile in found.profiles] == ["before", "after"]
    assert "No difference is established" in found.notes[-1]


def test_noise_is_no_difference(tmp_path: Path) -> None:
    def noisy(shift: int) -> Any:
        return lambda rank, step: (module("net", 1000, op("aten::mm", 500 + (37 * step + shift) % 90)),)

    first = write_drawn_run(tmp_path / "a", noisy(0), steps=40)
    second = write_drawn_run(tmp_path / "b", noisy(13), steps=40)
    with Run.open(first) as a, Run.open(second) as b:
        names = [profile.name for profile in flame_diff(a, b).profiles]
    assert not [name for name in names if name.startswith(("slower", "faster"))]


def test_with_too_few_steps_every_difference_is_shown_and_that_is_said(tmp_path: Path) -> None:
    first = write_drawn_run(tmp_path / "a", drawing(300, 200), steps=2)
    second = write_drawn_run(tmp_path / "b", drawing(310, 200), steps=2)
    with Run.open(first) as a, Run.open(second) as b:
        found = flame_diff(a, b)
    assert weights(found.profiles[0]) == {"forward > net > net.fc > aten::mm": 10}
    assert "fewer than" in found.notes[0]


def test_accelerators_are_compared_apart(device_run: Run) -> None:
    names = [profile.name for profile in flame_diff(device_run, device_run).profiles]
    assert [name.split(" · ")[1] for name in names] == ["host time a step"] * 2 + ["accelerator time a step"] * 2
    (before, after) = flame_diff(device_run, device_run, "kernels").profiles
    assert before.total == after.total == 447_000


def test_what_cannot_be_compared_is_said(run: Run) -> None:
    with pytest.raises(UsageError, match="choose one of layers, ops, kernels"):
        flame_diff(run, run, "memory")
    with pytest.raises(UsageError, match="Nothing to compare"):
        flame_diff(run, run, "kernels")
    with pytest.raises(UsageError, match="Nothing to compare"):
        flame_diff(run, run, "layers", compile_query("op:nothing"))
