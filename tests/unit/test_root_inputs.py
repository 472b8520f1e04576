"""What of a call's arguments tells the size of a batch, and that looking at it changes nothing."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from deepseek_prof.collectors import child
from deepseek_prof.collectors.child import ChildSettings
from deepseek_prof.collectors.root_inputs import RootInputs, first_tensor, input_size
from deepseek_prof.recording.input_totals import InputTotals, read_input_totals

IDS = torch.zeros(4, 10, dtype=torch.int64)
IMAGES = torch.zeros(8, 3, 5, 5)


class OwnTensor(torch.Tensor):
    """A subclass: to ask it for its shape may run the program's code."""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((IDS,), (4, 40)),
        ((IMAGES, IDS), (8, 0)),
        ((torch.tensor(1.0), IMAGES), (8, 0)),
        ({"attention_mask": torch.zeros(2, 2), "input_ids": IDS}, (4, 40)),
        (OrderedDict(pixels=IMAGES), (8, 0)),
        (([{"input_ids": IDS}],), (4, 40)),
        (("text", None, [torch.zeros(3)]), (3, 0)),
        ((torch.zeros(4, 10, dtype=torch.bool),), (4, 0)),
        ((torch.zeros(0, 7, dtype=torch.int32),), (0, 0)),
    ],
)
def test_the_size_of_a_batch(value: Any, expected: tuple[int, int]) -> None:
    found = first_tensor(value, 3)
    assert found is not None
    assert input_size(found) == expected


@pytest.mark.parametrize("value", [(), None, "text", (OwnTensor(2),), (torch.tensor(1),), [[[[[IDS]]]]]])
def test_calls_that_tell_no_size(value: Any) -> None:
    assert first_tensor(value, 3) is None


class Attached:
    """In the place of the recording of a process: a folder."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def make_directory(self) -> None:
        """It is there."""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(child, "_current", Attached(tmp_path))
    return tmp_path


def called(inputs: RootInputs, module: torch.nn.Module, calls: int, *args: Any, **kwargs: Any) -> bool:
    """As from the wrapper of ``nn.Module.__call__``."""
    return inputs.note(module, calls)


def totals(directory: Path) -> tuple[int, int, int]:
    found = read_input_totals(directory)
    assert isinstance(found, InputTotals)
    return found.calls, found.samples, found.tokens


def test_calls_are_summed_with_the_size_seen_last(directory: Path) -> None:
    inputs, module = RootInputs(), torch.nn.Linear(1, 1)
    assert called(inputs, module, 1, IDS)
    assert called(inputs, module, 3, IDS[:2])
    assert called(inputs, module, 1, batch={"input_ids": IDS})
    assert totals(directory) == (5, 4 + 3 * 2 + 4, 40 + 3 * 20 + 40)


def test_a_root_without_parameters_does_not_count(directory: Path) -> None:
    inputs = RootInputs()
    assert not called(inputs, torch.nn.MSELoss(), 1, IMAGES, IMAGES)
    assert called(inputs, torch.nn.Linear(1, 1), 1, IDS)  # freed at once: its address may be the next module's
    assert not called(inputs, torch.nn.MSELoss(), 1, IMAGES, IMAGES)
    assert totals(directory) == (1, 4, 40)


def test_a_fork_begins_at_zero(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, module = RootInputs(), torch.nn.Linear(1, 1)
    called(inputs, module, 7, IDS)
    forked = tmp_path / "forked"
    forked.mkdir()
    monkeypatch.setattr(child, "_current", Attached(forked))
    inputs.restart()
    called(inputs, module, 1, IMAGES)
    assert totals(forked) == (1, 8, 0)
    assert totals(directory) == (7, 28, 280)


def test_a_file_that_cannot_be_made_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attached = Attached(tmp_path / "missing")
    warnings: list[str] = []
    monkeypatch.setattr(attached, "warn", warnings.append, raising=False)
    monkeypatch.setattr(child, "_current", attached)
    inputs, module = RootInputs(), torch.nn.Linear(1, 1)
    assert called(inputs, module, 1, IDS)
    assert called(inputs, module, 1, IDS)
    assert len(warnings) == 1


def test_traced_graphs_are_the_same_when_recorded(tmp_path: Path) -> None:
    class Doubles(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return batch * self.weight

    bare = str(torch.jit.trace(Doubles(), IMAGES).graph)
    child.begin(tmp_path, ChildSettings())
    try:
        recorded = str(torch.jit.trace(Doubles(), IMAGES).graph)
    finally:
        child.end()
    assert recorded.count("aten::size") == bare.count("aten::size") == 0
    assert recorded.count("\n") == bare.count("\n")
