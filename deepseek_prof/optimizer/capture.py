"""The optimizer's half in the user's process: looks at the program's root modules, or stops at one of their calls.

The shim calls ``attach`` when torch has been imported. The job is JSON in ``DEEPSEEK_PROF_JOB``; docs/optimizing.md
describes the conversation. Standard library and torch only.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch

from deepseek_prof.optimizer.attaching import attached
from deepseek_prof.optimizer.channel import Channel
from deepseek_prof.optimizer.device import device_of
from deepseek_prof.optimizer.protocol import Call, Captured
from deepseek_prof.optimizer.roots import RootNames, watch_root_calls
from deepseek_prof.optimizer.training_steps import watch_losses, watch_steps
from deepseek_prof.optimizer.values import copied, signature, tensors

MAX_SIGNATURES = 4
MAX_CALLS = 8
"""Kept of each signature: ranges of activations and predictions of one input alone say little."""
_MAX_MORE_BYTES = 256 << 20
"""Of the arguments of all calls beyond the first of each signature."""
_MIN_CALLS = 3


def attach() -> None:
    """Do what the job says: ``survey`` or ``capture``. A process that is not the program itself is left alone."""
    begun = attached()
    if begun is None:
        return
    channel, job = begun
    if job["do"] == "survey":
        Survey(channel, job).install()
    else:
        Capture(channel, job).install()


@dataclass
class _Root:
    """What the survey saw of the calls of one root in one mode."""

    name: str
    training: bool
    grad: bool
    parameter_bytes: int
    device: str
    calls: int = 0
    total_ns: int = 0
    signatures: dict[str, int] = field(default_factory=dict)
    """With the number of the first call of each."""


class Survey:
    """Runs the program for a while and tells which root modules take the time."""

    def __init__(self, channel: Channel, job: dict[str, Any]) -> None:
        self._channel = channel
        self._limit_s = float(job["limit_s"])
        self._max_calls = int(job["max_calls"])
        self._names = RootNames()
        self._roots: dict[tuple[str, bool], _Root] = {}
        self._began_s: float | None = None
        self._max_steps = int(job["max_steps"])
        """Of training; 0: calls are counted, whatever the program trains."""
        self._step_ends_ns: list[int] = []
        self._backward_passes = 0
        self._told = False

    def install(self) -> None:
        """Begin to watch."""
        watch_steps(self._step_ended)
        watch_losses(self._backward_began)
        watch_root_calls(self._call)
        atexit.register(self._tell)

    def _step_ended(self) -> None:
        self._step_ends_ns.append(time.monotonic_ns())

    def _backward_began(self, _: torch.Tensor) -> None:
        self._backward_passes += 1

    def _call(
        self, module: torch.nn.Module, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if self._began_s is None:
            self._began_s = time.monotonic()
        elif self._is_enough():  # between calls: what follows a training step's forward belongs to the step
            self._tell()
            sys.stdout.flush()
            os._exit(0)
        root = self._root(module)
        described = signature((args, kwargs))
        start_ns = time.monotonic_ns()
        result = original(module, *args, **kwargs)
        root.total_ns += time.monotonic_ns() - start_ns
        if described not in root.signatures and len(root.signatures) < MAX_SIGNATURES:
            root.signatures[described] = root.calls
        root.calls += 1
        return result

    def _root(self, module: torch.nn.Module) -> _Root:
        key = (self._names.of(module), module.training)
        if key not in self._roots:
            self._roots[key] = _Root(
                *key,
                grad=torch.is_grad_enabled(),
                parameter_bytes=sum(each.numel() * each.element_size() for each in module.parameters()),
                device=device_of(module),
            )
        return self._roots[key]

    def _is_enough(self) -> bool:
        calls = [root.calls for root in self._roots.values()]
        assert self._began_s is not None
        late = time.monotonic() - self._began_s > self._limit_s and max(calls) >= _MIN_CALLS
        if self._max_steps and self._step_ends_ns:
            return late or len(self._step_ends_ns) > self._max_steps
        return late or max(calls) >= self._max_calls

    def _tell(self) -> None:
        if self._told:
            return
        self._told = True
        self._channel.send(
            {
                "told": "survey",
                "roots": [vars(root) for root in self._roots.values()],
                "steps_ns": [end - start for start, end in pairwise(self._step_ends_ns)],
                "backward_passes": self._backward_passes,
                "world_size": os.environ.get("WORLD_SIZE"),
                "torch": str(torch.__version__),
                "threads": torch.get_num_threads(),
            }
        )


class Capture:
    """Runs the program up to one call of one root module and holds the parent's conversation inside that call."""

    def __init__(self, channel: Channel, job: dict[str, Any]) -> None:
        self._channel = channel
        self._job = job
        self._names = RootNames()
        self._count = 0
        self._calls: dict[str, list[Call]] = {}
        self._more_bytes = 0
        self._undo: Callable[[], None] = lambda: None

    def install(self) -> None:
        """Begin to watch."""
        self._undo = watch_root_calls(self._call)
        atexit.register(self._missed)

    def _missed(self) -> None:
        root, call = self._job["root"], self._job["call"]
        reason = f"the program ended before call {call + 1} of {root}, which the first run reached"
        self._channel.send({"told": "missed", "reason": reason})

    def _call(
        self, module: torch.nn.Module, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if self._names.of(module) != self._job["root"] or module.training != self._job["training"]:
            return original(module, *args, **kwargs)
        self._keep(Call(args, kwargs))
        self._count += 1
        if self._count <= self._job["call"]:
            return original(module, *args, **kwargs)
        self._undo()
        self._converse(module)
        return None

    def _keep(self, call: Call) -> None:
        """Copy the arguments, as long as that is worth its memory."""
        described = signature(call.given)
        same = self._calls.get(described)
        if same is None:
            if len(self._calls) < MAX_SIGNATURES:
                self._calls[described] = [copied(call)]
            return
        size_bytes = sum(each.numel() * each.element_size() for _, each in tensors(call.given))
        if len(same) < MAX_CALLS and self._more_bytes + size_bytes <= _MAX_MORE_BYTES:
            self._more_bytes += size_bytes
            same.append(copied(call))

    def _converse(self, module: torch.nn.Module) -> None:
        """Never returns to the program."""
        from deepseek_prof.optimizer.session import Session

        captured = Captured(
            module,
            tuple(same[0] for same in self._calls.values()),
            module.training,
            device_of(module),
            tuple(call for same in self._calls.values() for call in same[1:]),
        )
        status = 0
        try:
            self._channel.send({"told": "captured", "signatures": list(self._calls)})
            Session(self._channel, captured, self._job.get("metric")).run()
        except (EOFError, OSError):
            status = 1  # the parent has gone: there is nobody to tell
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
