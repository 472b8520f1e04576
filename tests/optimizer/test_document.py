"""docs/optimizing.md names every pass, every key of the JSON and every status."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import get_args

import pytest

from deepseek_prof.optimizer import passes
from deepseek_prof.optimizer.measure import GOALS
from deepseek_prof.optimizer.results import (
    BatchResult,
    BatchStatus,
    CandidateResult,
    Check,
    Comparison,
    Figures,
    HandOver,
    Optimization,
    Status,
)

DOCUMENT = (Path(__file__).parents[2] / "docs" / "optimizing.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [*passes.names(), *passes.ALIASES])
def test_passes(name: str) -> None:
    (table,) = re.findall(r"^\| pass \|.*?\n\n", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert f"`{name}`" in table


@pytest.mark.parametrize("kind", [Optimization, CandidateResult, BatchResult, Figures, Comparison, HandOver, Check])
def test_keys(kind: type) -> None:
    json_section = DOCUMENT[DOCUMENT.index("## JSON") : DOCUMENT.index("## How the processes talk")]
    missing = [field.name for field in dataclasses.fields(kind) if f"`{field.name}`" not in json_section]
    assert not missing


@pytest.mark.parametrize("goal", GOALS)
def test_goals(goal: str) -> None:
    assert f"| `{goal}` |" in DOCUMENT


def test_statuses() -> None:
    assert [each for each in (*get_args(Status), *get_args(BatchStatus)) if f"`{each}`" not in DOCUMENT] == []
