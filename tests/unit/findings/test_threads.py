"""Rules on intra-op threads."""

from __future__ import annotations

from typing import Any

import pytest

from deepseek_prof.analysis.findings.too_few_threads import too_few_threads
from deepseek_prof.analysis.findings.too_many_threads import too_many_threads
from deepseek_prof.model import Phase
from tests.support.synthetic_step import StepTemplate
from tests.unit.findings.conftest import Record
from tests.unit.findings.drawing import operator, product


def _shared_out(step: StepTemplate, _: int) -> None:
    operator(step, "aten::gelu", 600)
    product(step, 400)


def _products(step: StepTemplate, _: int) -> None:
    product(step, 500, times=4)


def _small(step: StepTemplate, _: int) -> None:
    operator(step, "aten::gelu", 40, times=20)
    product(step, 40, times=20)


def _threads(count: int, **more: Any) -> dict[str, Any]:
    return {"intra_op_threads": count, **more}


def test_more_threads_than_cpus_are_too_many(record: Record) -> None:
    found = too_many_threads(record(_shared_out, cpus=2, process=_threads(8)))
    assert found is not None
    assert found.gain_low == 0
    assert found.gain_high == pytest.approx(0.6 * 0.75, rel=0.01)
    assert "4.0 threads a CPU" in found.evidence[0]
    assert "torch.set_num_threads(2)" in found.advice


def test_threads_of_ranks_add_up(record: Record) -> None:
    found = too_many_threads(record(_shared_out, cpus=4, ranks=2, process=_threads(4)))
    assert found is not None
    assert found.title == "8 intra-op threads on 4 CPUs"
    assert "torch.set_num_threads(2)" in found.advice


def test_processes_one_after_another_share_nothing(record: Record) -> None:
    evidence = record(_shared_out, cpus=4, ranks=3, process=_threads(4), one_after_another=True)
    assert len(evidence.processes) == 3
    assert too_many_threads(evidence) is None


def test_a_killed_process_lives_to_the_end(record: Record) -> None:
    killed = _threads(4, ended_ns=None)
    evidence = record(_shared_out, cpus=4, ranks=3, process=killed, one_after_another=True)
    assert too_many_threads(evidence) is not None


@pytest.mark.parametrize("count", [0, 1, 2])
def test_no_more_threads_than_cpus_are_not_too_many(record: Record, count: int) -> None:
    assert too_many_threads(record(_shared_out, cpus=2, process=_threads(count))) is None


def test_cpus_are_those_that_the_run_may_use(record: Record) -> None:
    host = {"cpu_count": 64, "usable_cpu_count": 2}
    assert too_many_threads(record(_shared_out, process=_threads(8), info={"host": host})) is not None
    assert too_few_threads(record(_products, process=_threads(2), info={"host": host})) is None


@pytest.mark.parametrize("draw", [_small, _products])
def test_operators_that_do_not_suffer_are_no_evidence(record: Record, draw: Any) -> None:
    assert too_many_threads(record(draw, cpus=2, process=_threads(8))) is None


def test_a_host_without_a_count_of_cpus_says_nothing(record: Record) -> None:
    unknown: tuple[dict[str, int] | None, ...] = ({}, None)
    for host in unknown:
        assert too_many_threads(record(_shared_out, process=_threads(8), info={"host": host})) is None
        assert too_few_threads(record(_products, process=_threads(1), info={"host": host})) is None


def test_large_operators_on_few_threads_are_found(record: Record) -> None:
    found = too_few_threads(record(_products, cpus=16, process=_threads(2), busy_cpus=2.0))
    assert found is not None
    assert found.gain_low == pytest.approx(0.25, rel=0.01)
    assert found.gain_high == pytest.approx(1 - 1 / 6, rel=0.01)
    assert "the program kept 2.0 CPUs busy on average" in found.evidence
    assert "OMP_NUM_THREADS=16" in found.advice
    assert "torchrun" not in found.advice


def test_ranks_share_the_cpus_and_torchrun_is_named(record: Record) -> None:
    found = too_few_threads(record(_products, cpus=16, ranks=2, process=_threads(1, world_size=2)))
    assert found is not None
    assert "OMP_NUM_THREADS=8" in found.advice
    assert "torchrun" in found.advice


def test_one_thread_of_two_cpus_has_no_certain_gain(record: Record) -> None:
    found = too_few_threads(record(_products, cpus=2, process=_threads(1), busy_cpus=1.1))
    assert found is not None
    assert found.gain_low == 0
    assert found.gain_high == pytest.approx(1 / 3, rel=0.01)


@pytest.mark.parametrize(("count", "cpus"), [(4, 8), (5, 8), (8, 8), (1, 1), (0, 8)])
def test_a_thread_for_every_core_is_enough(record: Record, count: int, cpus: int) -> None:
    assert too_few_threads(record(_products, cpus=cpus, process=_threads(count))) is None


def test_cpus_that_others_keep_busy_are_not_idle(record: Record) -> None:
    assert too_few_threads(record(_products, cpus=16, process=_threads(2), busy_cpus=12.0)) is None


def test_small_operators_need_no_more_threads(record: Record) -> None:
    assert too_few_threads(record(_small, cpus=16, process=_threads(2))) is None


def test_workers_that_load_data_are_no_training_processes(record: Record) -> None:
    def loading(step: StepTemplate, _: int) -> None:
        operator(step, "aten::stack", 900, phase=Phase.DATA)

    for with_steps in (True, False):
        evidence = record(_shared_out, ranks=3, others=loading, cpus=8, process=_threads(4), with_steps=with_steps)
        assert evidence.workers == 2
        assert len(evidence.processes) == 1
        assert too_many_threads(evidence) is None


def test_a_run_without_steps_is_judged_as_a_whole(record: Record) -> None:
    assert too_few_threads(record(_products, cpus=16, process=_threads(2), with_steps=False)) is not None
    assert too_many_threads(record(_shared_out, cpus=2, process=_threads(8), with_steps=False)) is not None
