"""Devices: what one tells is told on, and what it does not tell is absent."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from deepseek_prof.cli.doctor_devices import device_line
from deepseek_prof.collectors.accelerator_metrics import AcceleratorMetrics
from deepseek_prof.collectors.child import Attachment, ChildSettings
from deepseek_prof.collectors.devices import KINDS, Cpu, Cuda, Xpu, devices
from deepseek_prof.collectors.metric_log import MetricLog
from tests.support.recording import run_cli


def test_the_cpu_is_always_there_and_first() -> None:
    found = devices()
    assert isinstance(found[0], Cpu)
    told = found[0].describe()
    assert told["memory"]["total"] == psutil.virtual_memory().total
    assert told["activities"] == ["CPU"]
    assert told["peaks"] is None


def test_every_kind_has_a_name_of_torch_of_its_own() -> None:
    assert len({kind.type for kind in KINDS}) == len(KINDS)
    for kind in KINDS:
        torch.device(kind.type)


@pytest.fixture
def gaudi(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A module of torch that knows some functions only, and fails in one."""

    def refuse(index: int) -> tuple[int, int]:
        raise RuntimeError(f"no figures of {index}")

    module = SimpleNamespace(
        is_available=lambda: True,
        device_count=lambda: 2,
        get_device_name=lambda index: f"Gaudi 2 ({index})",
        mem_get_info=refuse,
        memory_allocated=lambda index: 1000 + index,
    )
    monkeypatch.setattr(torch, "xpu", module)
    return module


def test_what_a_device_does_not_tell_is_absent(gaudi: SimpleNamespace) -> None:
    del gaudi
    second = [each for each in devices() if isinstance(each, Xpu)][1]
    told = second.describe()
    assert told["device"] == "xpu:1"
    assert told["memory"] == {"allocated": 1001}
    assert told["metrics"] == ["memory_allocated"]
    assert told["peaks"]["bandwidth"] == 2450e9
    assert device_line(told) == (
        "Gaudi 2 (1); records CPU; metrics (torch.xpu): memory_allocated; "
        "peaks 432 TFLOP/s fp16, 865 TFLOP/s fp8, 2,450 GB/s"
    )


def test_memory_of_other_accelerators_is_told_from_the_process(gaudi: SimpleNamespace, tmp_path: Path) -> None:
    del gaudi
    (tmp_path / "live").mkdir()
    attachment = Attachment(tmp_path / "live", ChildSettings())
    log = MetricLog(attachment)
    sampled = AcceleratorMetrics(log)
    sampled.poll()
    sampled.poll()  # not due
    log.flush()
    (path,) = attachment.directory.glob("metrics-*.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(each["device"], each["name"], each["value"], each["unit"]) for each in rows] == [
        ("xpu:0", "memory_allocated", 1000.0, "bytes"),
        ("xpu:1", "memory_allocated", 1001.0, "bytes"),
    ]


def test_cuda_is_looked_at_where_the_program_uses_it_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To count devices before would keep what the program forks later from using them."""

    def counted() -> int:
        raise AssertionError("counted")

    def asked_the_device(_index: int) -> tuple[int, int]:
        raise AssertionError("makes a context on a device that the program does not use")

    (tmp_path / "live").mkdir()
    attachment = Attachment(tmp_path / "live", ChildSettings())
    log = MetricLog(attachment)
    monkeypatch.setattr(torch.cuda, "is_available", counted)
    monkeypatch.setattr(torch.cuda, "device_count", counted)
    AcceleratorMetrics(log).poll()
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", asked_the_device)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda index: (70, 0)[index])
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda index: (100, 0)[index])
    AcceleratorMetrics(log).poll()
    log.flush()
    (path,) = attachment.directory.glob("metrics-*.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(each["device"], each["name"], each["value"]) for each in rows] == [
        ("cuda:0", "memory_allocated", 70.0),
        ("cuda:0", "memory_reserved", 100.0),
    ]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_there_is_none() -> None:
    assert Cuda.count() == 0


def test_doctor_prints_the_devices_of_the_programs_python(tmp_path: Path) -> None:
    done = run_cli("doctor", "--no-build", "--format", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    checks = {each["name"]: each for each in json.loads(done.stdout)}
    assert checks["device cpu"]["state"] == "ok"
    assert "of memory; records CPU; metrics (psutil): cpu" in checks["device cpu"]["found"]


def test_doctor_says_why_devices_cannot_be_asked(tmp_path: Path) -> None:
    broken = tmp_path / "torch"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise ImportError('no libtorch here')")
    (broken / "version.py").write_text("__version__ = '2.13.0'")
    done = run_cli("doctor", "--no-build", "--format", "json", cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    (check,) = [each for each in json.loads(done.stdout) if each["name"] == "devices"]
    assert check["state"] == "warn"
    assert "no libtorch here" in check["found"]
