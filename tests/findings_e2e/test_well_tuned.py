"""A program with nothing to mend gets no finding, whatever it is recorded with."""

from __future__ import annotations

import pytest

from tests.findings_e2e.conftest import FindingsOf

OF_THE_MACHINE = "slow-steps"
"""True of a program as long as other programs take its CPUs for a moment, as they do where tests run side by side."""


@pytest.mark.parametrize("model", ["mlp", "network", "transformer"])
def test_nothing_is_found(findings_of: FindingsOf, model: str) -> None:
    found = findings_of("well_tuned", model)
    assert [rule for rule, each in found.items() if each.gain_high > 0 and rule != OF_THE_MACHINE] == []


@pytest.mark.parametrize(
    "options",
    [("--recorder", "kineto"), ("--record", "layers"), ("--overhead-budget", "1%")],
    ids=lambda options: "=".join(options).lstrip("-"),
)
def test_nothing_is_found_with_other_recordings(findings_of: FindingsOf, options: tuple[str, ...]) -> None:
    found = findings_of("well_tuned", "mlp", options=options)
    assert [rule for rule, each in found.items() if each.gain_high > 0 and rule != OF_THE_MACHINE] == []
