"""Runs that the tests of flame graphs share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deepseek_prof.importing.importer import import_traces
from deepseek_prof.trace.run import Run
from tests.flame.drawing import draw
from tests.support.chrome_trace import one_training_step, write_trace
from tests.support.drawn import write_drawn_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Four steps of :func:`tests.flame.drawing.draw`."""
    with Run.open(write_drawn_run(tmp_path_factory.mktemp("runs") / "run", draw, steps=4)) as opened:
        yield opened


@pytest.fixture(scope="module")
def device_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """An imported trace with two kernels and a copy on a stream."""
    folder = tmp_path_factory.mktemp("device")
    import_traces([write_trace(folder / "trace.json", one_training_step())], folder / "run")
    with Run.open(folder / "run") as opened:
        yield opened
