"""Rules on loaders, slow steps, warm-up and time outside operators."""

from __future__ import annotations

import pytest

from deepseek_prof.analysis.findings.data_stall import data_stall
from deepseek_prof.analysis.findings.outside_operators import outside_operators
from deepseek_prof.analysis.findings.slow_steps import slow_steps
from deepseek_prof.analysis.findings.warmup import warmup
from tests.support.synthetic_step import US, StepTemplate
from tests.unit.findings.conftest import Record
from tests.unit.findings.drawing import Draw, loader, operator, product


def _waiting(us: float, kind: str = "_SingleProcessDataLoaderIter") -> Draw:
    def draw(step: StepTemplate, _: int) -> None:
        loader(step, us, kind)
        product(step, 1000)

    return draw


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_wait_for_data_is_found(record: Record, ranks: int) -> None:
    found = data_stall(record(_waiting(1000), ranks=ranks))
    assert found is not None
    assert found.gain_low == pytest.approx(0.25, rel=0.01)
    assert found.gain_high == pytest.approx(0.475, rel=0.01)
    assert found.severity == "high"
    assert "num_workers=0" in " ".join(found.evidence)
    assert "1.00 ms of 2.00 ms a step" in found.evidence[0]


def test_a_wait_for_workers_asks_for_more_of_them(record: Record) -> None:
    found = data_stall(record(_waiting(1000, "_MultiProcessingDataLoaderIter")))
    assert found is not None
    assert "Raise num_workers (8 CPUs to run on)" in found.advice
    assert "num_workers=0" not in " ".join(found.evidence)


def test_with_one_cpu_no_gain_is_certain(record: Record) -> None:
    found = data_stall(record(_waiting(1000), cpus=1))
    assert found is not None
    assert found.gain_low == 0


def test_a_wait_counts_without_steps_too(record: Record) -> None:
    assert data_stall(record(_waiting(1000), with_steps=False)) is not None


@pytest.mark.parametrize("us", [0, 105])
def test_a_short_wait_is_none(record: Record, us: float) -> None:
    assert data_stall(record(_waiting(us))) is None


def test_the_share_of_a_wait_starts_at_a_tenth(record: Record) -> None:
    assert data_stall(record(_waiting(120))) is not None


def _with_pause(us: float, *, only: int | None = None) -> Draw:
    def draw(step: StepTemplate, index: int) -> None:
        product(step, 3000)
        if only is None or index == only:
            step.idle(int(us * US))

    return draw


def test_time_outside_operators_is_found(record: Record) -> None:
    found = outside_operators(record(_with_pause(1500)))
    assert found is not None
    assert found.gain_low == 0
    assert found.gain_high == pytest.approx(2 / 9, rel=0.01)
    assert "1.50 ms of 4.50 ms" in found.evidence[0]


def test_below_a_millisecond_it_is_the_loop_itself(record: Record) -> None:
    def draw(step: StepTemplate, _: int) -> None:
        product(step, 300)
        step.idle(900 * US)

    assert outside_operators(record(draw)) is None


def test_below_a_quarter_it_is_none(record: Record) -> None:
    assert outside_operators(record(_with_pause(990))) is None


def test_one_long_pause_is_no_pause_of_every_step(record: Record) -> None:
    evidence = record(_with_pause(90_000, only=9))
    assert evidence.summary.phase_share("outside") > 0.5
    assert outside_operators(evidence) is None
    assert slow_steps(evidence) is not None


@pytest.mark.parametrize(
    "run",
    [
        {"process": {"recorder": "kineto"}},
        {"info": {"settings": {"record": "layers"}}},
        {"info": {"dropped": [{"pid": 4200, "reason": "the recorder could not write them", "spans": 5}]}},
        {"with_steps": False},
    ],
)
def test_missing_spans_are_no_evidence_of_time_outside(record: Record, run: dict[str, object]) -> None:
    assert outside_operators(record(_with_pause(3000), **run)) is None


def test_spans_that_the_size_limit_removed_are_outside_the_window(record: Record) -> None:
    dropped = [{"pid": 4200, "reason": "size limit: only their sums by context are kept", "spans": 5}]
    assert outside_operators(record(_with_pause(3000), info={"dropped": dropped})) is not None


def _lengths(lengths: dict[int, float], *, usual: float = 1000, name: str = "aten::mm") -> Draw:
    def draw(step: StepTemplate, index: int) -> None:
        product(step, usual)
        if index in lengths:
            operator(step, name, lengths[index])

    return draw


def test_a_slow_step_is_named_with_what_was_longer(record: Record) -> None:
    found = slow_steps(record(_lengths({15: 4000}, name="aten::sort"), steps=20))
    assert found is not None
    assert found.title.startswith("Step 15 costs 17 %")
    assert "5.0 times the median; longer: aten::sort in forward (+3.80 ms)" in found.evidence[0]
    assert found.gain_low == 0
    assert found.gain_high == pytest.approx(4 / 24, rel=0.01)
    assert "step:15" in found.advice


def test_the_rank_of_a_slow_step_is_named(record: Record) -> None:
    found = slow_steps(record(_lengths({15: 4000}), steps=20, ranks=2))
    assert found is not None
    assert found.title.startswith("2 slow steps")
    assert [fact[:16] for fact in found.evidence[:2]] == ["step 15 of rank ", "step 15 of rank "]
    assert {fact[16] for fact in found.evidence[:2]} == {"0", "1"}


def test_twice_the_median_is_the_limit(record: Record) -> None:
    assert slow_steps(record(_lengths({15: 900}), steps=20)) is None
    assert slow_steps(record(_lengths({15: 1100}), steps=20)) is not None


def test_few_steps_have_no_outliers(record: Record) -> None:
    assert slow_steps(record(_lengths({7: 4000}), steps=9)) is None
    assert slow_steps(record(_lengths({7: 4000}), steps=10)) is not None


def test_long_steps_in_turn_are_a_pattern(record: Record) -> None:
    every_third = _lengths(dict.fromkeys(range(2, 30, 3), 4000.0))
    assert slow_steps(record(every_third, steps=30)) is None


def test_steps_of_varying_length_have_no_outliers(record: Record) -> None:
    assert slow_steps(record(_lengths({index: 137.0 * (index * 7 % 30) for index in range(30)}), steps=30)) is None


def test_slow_steps_need_steps_of_the_program_itself(record: Record) -> None:
    assert slow_steps(record(_lengths({15: 4000}), steps=20, process={"recorder": "kineto"})) is None
    assert slow_steps(record(_lengths({15: 4000}), steps=20, with_steps=False)) is None


def test_warm_up_steps_are_named_without_a_gain(record: Record) -> None:
    found = warmup(record(_lengths({0: 4000, 1: 2000}), steps=20))
    assert found is not None
    assert found.gain_high == 0
    assert found.title == "The first 2 steps are warm-up and left out"
    assert found.evidence == ("the first 2 steps took 8.00 ms (4.00 ms each), the median of the others is 1.00 ms",)


def test_even_first_steps_are_no_warm_up(record: Record) -> None:
    assert warmup(record(_lengths({}), steps=20)) is None
    assert warmup(record(_lengths({0: 4000}), steps=3)) is None
    assert warmup(record(_lengths({0: 4000}), with_steps=False)) is None
