"""Programs with one problem on purpose get its finding, and lose it when they take its advice."""

from __future__ import annotations

import os

import pytest

from deepseek_prof.analysis.findings import Finding
from tests.findings_e2e.conftest import FindingsOf

CPUS = len(os.sched_getaffinity(0))


def _check(finding: Finding) -> None:
    assert finding.title
    assert finding.evidence
    assert finding.advice
    assert 0 <= finding.gain_low <= finding.gain_high <= 1
    assert finding.gain_high > 0


@pytest.mark.parametrize(
    "rule",
    [
        "data-stall",
        "small-operators",
        "optimizer-on-cpu",
        "conv-layout",
        "synchronisation",
        "eager-graph",
        "outside-operators",
        "unfused-attention",
        "copies",
        "gradient-zeroing",
    ],
)
def test_the_finding_appears_and_the_advice_removes_it(findings_of: FindingsOf, rule: str) -> None:
    program = rule.replace("-", "_")
    found = findings_of(program)
    assert rule in found
    _check(found[rule])
    assert rule not in findings_of(program, "tuned")


def test_the_slow_step_is_named(findings_of: FindingsOf) -> None:
    found = findings_of("slow_steps")
    assert found["slow-steps"].evidence[0].startswith("step 25: ")
    assert "time outside any operator" in found["slow-steps"].evidence[0]
    assert "outside-operators" not in found


def test_the_optimizer_loop_is_told_from_foreach(findings_of: FindingsOf) -> None:
    assert "foreach" in findings_of("optimizer_on_cpu")["optimizer-on-cpu"].title
    assert "a loop over the parameters" in findings_of("optimizer_on_cpu", "loop")["optimizer-on-cpu"].title


@pytest.mark.skipif(CPUS < 2, reason="one CPU cannot have too few threads")
def test_one_thread_for_large_products_is_too_few(findings_of: FindingsOf) -> None:
    found = findings_of("threads", "1")
    _check(found["too-few-threads"])
    assert f"torch.set_num_threads({CPUS})" in found["too-few-threads"].advice
    assert "too-many-threads" not in found


def test_eight_threads_a_cpu_are_too_many(findings_of: FindingsOf) -> None:
    found = findings_of("threads", str(8 * CPUS))
    _check(found["too-many-threads"])
    assert f"torch.set_num_threads({CPUS})" in found["too-many-threads"].advice
    assert "too-few-threads" not in found


def test_a_thread_a_cpu_is_right(findings_of: FindingsOf) -> None:
    assert not {"too-few-threads", "too-many-threads"} & findings_of("threads", str(CPUS)).keys()
