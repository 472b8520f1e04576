"""Measuring a device: on the processor, which every machine has; and what is said where there is no accelerator."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from deepseek_prof.collectors.measured_peaks import measure
from deepseek_prof.importing.importer import import_traces
from tests.support.chrome_trace import one_training_step, write_trace
from tests.support.recording import cli_command, run_words


def test_figures_of_the_processor_have_the_right_size() -> None:
    tf32 = torch.backends.cuda.matmul.allow_tf32
    found = measure(torch.device("cpu"), size=256, copy_bytes=1 << 22)
    assert found["name"] == "cpu"
    assert set(found["flops"]) == {"fp32", "fp16"}
    # Wide bounds: a unit or a factor of a thousand that is wrong leaves them on any machine.
    assert 1e7 < found["flops"]["fp32"] < 1e14
    assert 1e7 < found["bandwidth"] < 1e13
    assert torch.backends.cuda.matmul.allow_tf32 == tf32


@pytest.mark.skipif(torch.accelerator.is_available(), reason="this machine has an accelerator")
def test_without_an_accelerator_there_is_an_error(tmp_path: Path) -> None:
    import_traces([write_trace(tmp_path / "trace.json", one_training_step())], tmp_path / "run")
    outcome = run_words(cli_command("gpu", "run", "--measure-peaks"), tmp_path)
    assert outcome.returncode == 2
    assert b"torch finds no accelerator on this machine" in outcome.stderr
