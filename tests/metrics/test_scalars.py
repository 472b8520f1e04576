"""Scalars of devices: what can be tested of their reading without one."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from deepseek_prof.collectors.import_hooks import ImportWatcher
from deepseek_prof.collectors.program_metrics import ProgramMetrics
from deepseek_prof.collectors.scalars import ScalarReader


class Event:
    """Stands in for ``torch.Event``: the copy has arrived."""

    device = torch.device("cuda:0")

    def __init__(self) -> None:
        self.asked = 0

    def query(self) -> bool:
        """True, always."""
        self.asked += 1
        return True


def test_no_event_is_asked_while_a_graph_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver ends a capture with an error when its thread asks for an event."""
    reader, event, told = ScalarReader(), Event(), []
    reader._waiting.append((event, torch.tensor(2.5), 7, lambda value, ts_ns: told.append((value, ts_ns))))
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    reader.poll()
    assert (event.asked, told) == (0, [])
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    reader.poll()
    assert told == [(2.5, 7)]


def test_a_fork_leaves_the_copies_to_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, event = ScalarReader(), Event()
    reader._waiting.append((event, torch.tensor(2.5), 7, lambda value, ts_ns: None))
    parent = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    reader.finish()
    assert (event.asked, len(reader._waiting)) == (0, 0)


def test_a_device_that_has_failed_does_not_end_the_recording(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail() -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    told: list[tuple[Any, ...]] = []
    attachment: Any = SimpleNamespace(live_root=tmp_path / "live", directory=tmp_path / "live")
    metrics = ProgramMetrics(attachment, lambda *what: told.append(what), ImportWatcher())
    monkeypatch.setattr(metrics._reader, "finish", fail)
    metrics.remove()
    ((level, event, fields),) = told
    assert (level, event) == ("warning", "collector_failed")
    assert "device-side assert" in fields["message"]


def test_a_copy_arrives_in_the_computers_memory_whatever_the_default_device(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = torch.empty

    def unpinned(*args: Any, pin_memory: bool, **kwargs: Any) -> torch.Tensor:
        assert pin_memory
        return empty(*args, **kwargs)

    monkeypatch.setattr(torch, "empty", unpinned)
    monkeypatch.setattr(torch, "Event", lambda device: device)
    with torch.device("meta"):
        _, held = ScalarReader._make(torch.tensor(1.0))
    assert held.device.type == "cpu"
