"""The native operator recorder in the profiled process: loads the library, attaches layers and steps, follows forks."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from deepseek_prof.collectors.layers import LayerNames, install_layers, remove_layers
from deepseek_prof.collectors.native import build
from deepseek_prof.collectors.root_inputs import RootInputs
from deepseek_prof.collectors.steps import install_steps, remove_steps
from deepseek_prof.collectors.tensor_roles import TensorRoles
from deepseek_prof.errors import RecorderError

if TYPE_CHECKING:
    from types import ModuleType

    from deepseek_prof.collectors.child import ChildSettings

IN_SITU_FACTOR = 3.0
"""Cost of a record inside a training step over its cost in the calibration loop, whose code stays in the caches.

Measured as (recorded - bare) / records on the tiny transformer of benchmarks/, where caches suffer most: 250 to 270 ns
against 85 ns.
"""

_library: ModuleType | None = None
_fork_hook_registered = False


def load_library() -> ModuleType:
    """The native module for this interpreter, built first if need be.

    Raises:
        RecorderError: it cannot be built or loaded.
    """
    global _library
    if _library is None:
        path = build.ensure_built(progress=lambda line: print(f"deepseek-prof: {line}", file=sys.stderr))
        loader = ExtensionFileLoader(build.MODULE_NAME, str(path))
        spec = spec_from_file_location(build.MODULE_NAME, path, loader=loader)
        if spec is None:
            raise RecorderError(f"cannot load {path}")
        _library = module_from_spec(spec)
        loader.exec_module(_library)
    return _library


class NativeRecorder:
    """Records through ``at::addGlobalCallback``; see collectors/native."""

    name = "native"

    def __init__(self) -> None:
        self._library: ModuleType | None = None
        self._overhead: dict[str, Any] = {}
        self._roles: TensorRoles | None = None

    def start(self, live: Path, description: dict[str, Any], settings: ChildSettings) -> None:
        """Begin to record into the folder ``live``."""
        import json

        native = load_library()
        names = LayerNames(native.forget_module)
        self.inputs = RootInputs()
        roles = TensorRoles(native.note_tensor, names.resolve) if settings.record == "full" else None
        first, last = settings.steps or (-1, -1)
        operator_ns = native.calibrate(IN_SITU_FACTOR) if settings.record != "layers" else 0.0
        layer_ns = _layer_cost_ns(native)
        self._overhead = {
            "operator_ns": operator_ns,
            "layer_ns": layer_ns,
            "method": f"calibrated at start, times {IN_SITU_FACTOR} for caches that the program fills",
        }
        description["overhead"] = self._overhead
        budget = -1.0 if settings.overhead_budget is None else settings.overhead_budget
        native.start(
            str(live),
            json.dumps(description),
            settings.record != "layers",
            settings.record == "full",
            settings.record == "full",
            first,
            last,
            budget,
            operator_ns,
            layer_ns,
            settings.max_live_segments,
            roles.resolve if roles is not None else names.resolve,
            self.inputs.note,
        )
        self._library = native
        install_layers(native.push_layer, native.pop_layer, names)
        install_steps(native)
        if roles is not None:
            roles.install()
        self._roles = roles
        _follow_forks()

    def position(self) -> tuple[int, int, str]:
        """Where the calling thread is: the running step or -1, a Phase's code, the innermost layer or ''."""
        place: tuple[int, int, str] = load_library().current_position()
        return place

    def watch_roots(self, callback: Callable[[], None] | None, /) -> None:
        """Call ``callback`` before each call of a root module, on its thread."""
        load_library().watch_roots(callback)

    def watch_layers(self, callback: Callable[[bool], None] | None, /) -> None:
        """Call ``callback`` with True in each layer that has begun, with False in each that is about to end."""
        load_library().watch_layers(callback)

    def clock_ns(self) -> int:
        """The time as this thread's records have it: nanoseconds, CLOCK_MONOTONIC."""
        ns: int = load_library().clock_ns()
        return ns

    def thread_ids(self) -> list[tuple[int, int]]:
        """The thread id and ``pthread_self()`` of each thread that has recorded."""
        ids: list[tuple[int, int]] = load_library().thread_ids()
        return ids

    def stop(self) -> dict[str, Any]:
        """End the recording and hand over the counts."""
        native = self._library
        if native is None:
            return {}
        remove_layers()
        remove_steps()
        if self._roles is not None:
            self._roles.remove()
        native.stop()
        counts = native.statistics()
        self._library = None
        # A layer is a record too, so its share of `events` is charged at the layer's price only.
        operators = counts["events"] - counts["layers"]
        total_ns = operators * self._overhead["operator_ns"] + counts["layers"] * self._overhead["layer_ns"]
        return {
            "overhead": {**self._overhead, "total_ns": round(total_ns)},
            "events": counts["events"],
            "layers": counts["layers"],
            "steps": counts["steps"],
            "full_steps": counts["full_steps"],
            "dropped_spans": counts["dropped"],
            "dropped_allocations": counts["dropped_allocations"],
            "intra_op_threads": int(torch.get_num_threads()),
        }


def _layer_cost_ns(native: ModuleType, rounds: int = 300) -> float:
    """What the wrapper of ``nn.Module.__call__`` adds to a call, in nanoseconds; the frame itself is not opened."""
    push, pop = native.push_layer, native.pop_layer
    module = torch.nn.Identity()
    begin = time.perf_counter_ns()
    for _ in range(rounds):
        torch.compiler.is_dynamo_compiling()
        try:
            push(module)
        finally:
            pop()
    # Measured before the recording starts, when frames are not opened: they add two clock reads and one record. On the
    # tiny transformer of benchmarks/ a layer costs 1.1 to 1.3 us, three to four times this loop.
    return ((time.perf_counter_ns() - begin) / rounds + 150.0) * IN_SITU_FACTOR


def _follow_forks() -> None:
    global _fork_hook_registered
    if not _fork_hook_registered:
        _fork_hook_registered = True
        os.register_at_fork(after_in_child=_reopen_in_child)


def _reopen_in_child() -> None:
    from deepseek_prof.collectors.child import current

    attachment = current()
    if attachment is not None and isinstance(attachment.recorder, NativeRecorder) and _library is not None:
        attachment.recorder.inputs.restart()
        directory, description = attachment.describe_fork()
        _library.reopen(str(directory), description)
