"""What an event is, by its category and name: our kind, the phase that it begins, and which table it goes to.

Categories are those of Kineto of all ages (``cpu_op``; ``Operator`` in traces of 2021); other tools' are user scopes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum

from deepseek_prof.model import Kind, Phase


class Place(IntEnum):
    """Where an event of a label is kept."""

    NOWHERE = 0
    """The profiler's own bookkeeping."""
    HOST = 1
    """Nests on a thread."""
    STEP = 2
    """A step's frame: stands beside the calling contexts, as in our own runs."""
    DEVICE = 3
    """Work on a stream of an accelerator."""
    DEVICE_FRAME = 4
    """A name around work on a stream, which would count its time twice: it has no self time."""


@dataclass(frozen=True)
class Label:
    """All events of one category and name. ``phase`` None: that of the event around."""

    name: str
    kind: Kind
    place: Place
    phase: Phase | None = None
    launches: bool = False
    """Calls into the driver: work on the device refers to them."""
    forces_phase: bool = False
    """``phase`` holds whatever is around; else it gives way to any phase but ``other``."""


_DEVICE_KINDS = {
    "kernel": Kind.KERNEL,
    "gpu_memcpy": Kind.MEMCPY,
    "memcpy": Kind.MEMCPY,
    "gpu_memset": Kind.MEMSET,
    "memset": Kind.MEMSET,
}
_DRIVER = re.compile(r"(?:^|_)(?:runtime|driver)$")
_BOOKKEEPING = frozenset({"trace", "overhead"})
_PYTHON = frozenset({"python_function", "pythonfunction", "python", "fee"})  # the last is viztracer's
_MODULE = "nn.Module: "
_TRANSPARENT = re.compile(r"^(?:DistributedDataParallel|DataParallel|FullyShardedDataParallel|OptimizedModule)_\d+$")
"""Modules around the user's model whose name is left out of layers' names, as in our own runs."""
_STEP = re.compile(r"^ProfilerStep\s*#\s*(\d{1,9})$")
_COLLECTIVE = re.compile(r"^(?:nccl:|gloo:|c10d::|_c10d_functional::|record_param_comms)")
_BACKWARD_NODE = ("autograd::engine::evaluate_function: ", "torch::autograd::")
_WORDS = (
    (re.compile(r"(?<![a-z])(?:zero_grad|optimizer)(?![a-z])"), Phase.OPTIMIZER),
    (re.compile(r"(?<![a-z])backward(?![a-z])"), Phase.BACKWARD),
    (re.compile(r"(?<![a-z])forward(?![a-z])"), Phase.FORWARD),
    (re.compile(r"(?<![a-z])(?:data_?load(?:er|ing)?|load_batch|next_batch)(?![a-z])"), Phase.DATA),
)


def step_number(name: str) -> int | None:
    """101 for ``ProfilerStep#101``; None for any other name."""
    match = _STEP.match(name)
    return int(match[1]) if match else None


def label_of(category: str, name: str) -> Label:
    """The label of an event."""
    category = category.lower()
    if category in _BOOKKEEPING:
        return Label(name, Kind.USER, Place.NOWHERE)
    if category in _DEVICE_KINDS:
        return Label(name, _DEVICE_KINDS[category], Place.DEVICE)
    if category == "cuda_sync":
        return Label(name, Kind.SYNC, Place.DEVICE_FRAME)
    if category == "gpu_user_annotation":
        place = Place.NOWHERE if step_number(name) is not None else Place.DEVICE_FRAME
        return Label(name, Kind.USER, place)
    if _DRIVER.search(category):
        return Label(name, Kind.SYNC if "Synchronize" in name else Kind.RUNTIME, Place.HOST, launches=True)
    if category in _PYTHON:
        return _python(name)
    if category in ("cpu_op", "operator"):
        return _operator(name)
    return _user(name)


def _python(name: str) -> Label:
    module = name.removeprefix(_MODULE)
    if module == name or _TRANSPARENT.match(module):
        return Label(name, Kind.PYTHON, Place.HOST)
    return Label(module, Kind.LAYER, Place.HOST, Phase.FORWARD)


def _operator(name: str) -> Label:
    if step_number(name) is not None or name.startswith(("Optimizer.", "enumerate(DataLoader)#")):
        return _user(name)  # traces of 2021 give annotations the operators' category
    if name.startswith(_BACKWARD_NODE):
        return Label(name, Kind.AUTOGRAD, Place.HOST, Phase.BACKWARD, forces_phase=True)
    return Label(name, Kind.COLLECTIVE if _COLLECTIVE.match(name) else Kind.OP, Place.HOST)


def _user(name: str) -> Label:
    if step_number(name) is not None:
        return Label(name, Kind.STEP, Place.STEP)
    if name.startswith("Optimizer."):
        return Label(name, Kind.USER, Place.HOST, Phase.OPTIMIZER, forces_phase=True)
    if name.startswith("enumerate(DataLoader)#"):
        return Label(name, Kind.DATA, Place.HOST, Phase.DATA, forces_phase=True)
    if _COLLECTIVE.match(name):
        return Label(name, Kind.COLLECTIVE, Place.HOST)
    lowered = name.lower()
    phase = next((phase for word, phase in _WORDS if word.search(lowered)), None)
    return Label(name, Kind.USER, Place.HOST, phase)
