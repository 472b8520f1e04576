"""The optimizer's half in a training program: injects passes and stops the program between its steps.

The shim calls ``attach`` when torch has been imported. The program then runs by itself, some steps each time the parent
asks for a round, and waits within ``Optimizer.step`` in between. Standard library and torch only.
"""

from __future__ import annotations

import atexit
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import torch

from deepseek_prof.optimizer import passes, recorder
from deepseek_prof.optimizer.attaching import attached
from deepseek_prof.optimizer.channel import Channel, not_known, reason_of
from deepseek_prof.optimizer.device import device_of, peak_bytes, reset_peak, wait
from deepseek_prof.optimizer.operators import profiler_of, totals
from deepseek_prof.optimizer.probing import unseen
from deepseek_prof.optimizer.protocol import Applied, Call, Callee, Captured, Handler, Injector
from deepseek_prof.optimizer.roots import RootNames, watch_root_calls
from deepseek_prof.optimizer.training_file import AppliedFile, FileHandler
from deepseek_prof.optimizer.training_steps import watch_losses, watch_optimizers, watch_steps
from deepseek_prof.optimizer.values import copied, signature, state_bytes

_PR_SET_PDEATHSIG = 1


def attach() -> None:
    """Take part in the program's training; a process that is not the program itself is left alone."""
    begun = attached()
    if begun is not None:
        _die_with_parent()
        Training(*begun).install()


class Training:
    """The program's steps, their times and losses, and the conversation with the parent between them.

    The job: ``root`` (module that takes the time), ``passes`` or the ``file`` that was made of them (``path``,
    ``lossy``), ``warm`` (steps before the first round) and ``nudge``: before and after each of these, change the
    weights as rounding does, so that the losses show what becomes of it. With ``live``, a folder of a run directory,
    the steps ``recorded`` (first, last) are recorded there, and the process makes no more than ``warm`` steps.
    """

    def __init__(self, channel: Channel, job: dict[str, Any]) -> None:
        self._channel = channel
        self._job = job
        self._names = RootNames()
        self._chosen: list[tuple[Handler[Any], Any]] = passes.chosen(job["passes"])
        if job["file"] is not None:
            self._chosen = [(FileHandler(), AppliedFile(**job["file"]))]
        self._optimizers: list[torch.optim.Optimizer] = []
        self._applied: list[Applied] = []
        self._captured: Captured | None = None
        self._callee: Callee | None = None
        self._step_ns: list[int] = []
        self._losses: list[list[torch.Tensor]] = [[]]
        self._left = int(job["warm"])
        self._profiler: torch.profiler.profile | None = None
        self._is_warm = False
        self._pending: Callable[[], dict[str, Any]] | None = None
        self._began_ns = time.perf_counter_ns()
        self._start_ns = self._began_ns

    def install(self) -> None:
        """Inject what has to be there before the program's own code runs, and begin to watch.

        Raises:
            RecorderError: the job asks for a recording, and no recorder works here.
        """
        if self._job["live"] is not None:  # first: its hooks see a step's end before the program is held up in ours
            recorder.begin(Path(self._job["live"]), tuple(self._job["recorded"]))
        for handler, config in self._chosen:
            if isinstance(handler, Injector):
                handler.inject(config)
        watch_optimizers(self._optimizers)
        watch_steps(self._step_ended)
        watch_losses(self._backward_began)
        watch_root_calls(self._call)
        atexit.register(self._program_ended)
        os.register_at_fork(after_in_child=self._forked)

    def _forked(self) -> None:
        """In workers of the program: they end with it and do not keep its connection open."""
        self._channel.close()
        atexit.unregister(self._program_ended)
        # The signal comes at the end of the thread that forked.
        if threading.current_thread() is threading.main_thread():
            _die_with_parent()

    def _call(
        self, module: torch.nn.Module, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if not (module.training and torch.is_grad_enabled()):
            return original(module, *args, **kwargs)
        if self._captured is None and self._names.of(module) == self._job["root"]:
            self._reached(module, Call(args, kwargs))
        if self._captured is None or module is not self._captured.module or self._callee is module:
            return original(module, *args, **kwargs)
        assert self._callee is not None
        return self._callee(*args, **kwargs)

    def _reached(self, module: torch.nn.Module, call: Call) -> None:
        """The first call of the root in training: from here on, what the passes make of it is called in its place."""
        self._captured = captured = Captured(
            module, (copied(call),), True, device_of(module), optimizers=tuple(self._optimizers)
        )
        self._callee = module
        self._send({"told": "captured", "signatures": [signature(call.given)]})
        for handler, config in self._chosen:
            reason = None if isinstance(handler, Injector) else handler.refusal(config, captured)
            if reason is not None:
                self._settle({"status": "refused", "reason": f"{handler.name}: {reason}"})
        try:
            for handler, config in self._chosen:
                self._applied.append(handler.apply(config, self._callee, captured))
                self._callee = self._applied[-1].call
        except Exception as error:  # noqa: BLE001  # any pass on any module: the candidate fails, with its reason
            self._settle({"status": "failed", "reason": f"{handler.name}: {reason_of(error)}"})
        if self._job["nudge"]:
            nudge(module)
        self._began_ns = self._start_ns = time.perf_counter_ns()

    def _backward_began(self, loss: torch.Tensor) -> None:
        self._losses[-1].append(loss)

    def _step_ended(self) -> None:
        if self._captured is None:
            reason = f"the program trained without {self._job['root']}, which the first run called"
            self._send({"told": "missed", "reason": reason})
            self._leave(0)
        self._left -= 1
        # On a GPU the host runs ahead: only whole rounds are timed there, for waiting at each step would change them.
        is_timed = self._captured.device != "cuda" or self._left == 0
        if is_timed:
            wait(self._captured.device)
            self._step_ns.append(time.perf_counter_ns() - self._start_ns)
        self._losses.append([])
        if self._job["nudge"] and not self._is_warm:
            nudge(self._captured.module)
        if self._left == 0:
            self._converse()
        if is_timed:
            self._start_ns = time.perf_counter_ns()

    def _converse(self) -> None:
        """Answer what was asked for, and do what is asked for next. Returns to the program for a round."""
        if self._pending is not None:
            self._send(self._pending())
            self._pending = None
        while True:
            try:
                message = self._channel.receive()
            except EOFError:
                self._leave(1)
            assert message is not None  # it waits without a limit
            match message["do"]:
                case "end":
                    self._leave(0)
                case "prepare":
                    self._send(self._prepared())
                case "round":
                    self._begin(int(message["repeats"]), self._timed)
                    return
                case "operators":
                    self._begin(int(message["repeats"]), self._profiled)
                    assert self._captured is not None
                    self._profiler = profiler_of(self._captured.device)
                    self._profiler.start()
                    return
                case unknown:
                    self._send(not_known(unknown))

    def _begin(self, steps: int, answer: Callable[[], dict[str, Any]]) -> None:
        """Let the program make so many steps, after which ``answer`` tells what they were."""
        self._left = steps
        self._step_ns.clear()
        self._pending = answer

    def _prepared(self) -> dict[str, Any]:
        """After the first steps: whether the passes took effect, and what the steps took."""
        assert self._captured is not None
        self._is_warm = True
        warm_ns = time.perf_counter_ns() - self._began_ns
        if self._job["live"] is not None:  # such a process is asked for nothing more
            recorder.end()
        with unseen(self._captured.module):
            evidence = [each.fired() for each in self._applied]
        for (handler, config), each in zip(self._chosen, evidence, strict=True):
            if each is None:
                why = handler.refusal(config, self._captured) or "had no effect on this program"
                return {"status": "refused", "reason": f"{handler.name}: {why}"}
        reset_peak(self._captured.device)
        return {
            "status": "ready",
            "warm_ns": warm_ns,
            "workers": len(multiprocessing.active_children()),
            "losses": self._taken_losses(),
            "model_bytes": state_bytes(self._captured.module),
            "fired": evidence,
            "notes": [note for each in self._applied for note in each.notes],
            "code": passes.code_of(self._chosen, self._applied),
            "compiles": any(each.compiles for each in self._applied),
            "lossy": any(handler.lossy for handler, _ in self._chosen) or any(each.lossy for each in self._applied),
        }

    def _timed(self) -> dict[str, Any]:
        assert self._captured is not None
        repeats = len(self._losses) - 1
        steps_ns = self._step_ns if self._captured.device != "cuda" else [self._step_ns[0] // repeats] * repeats
        return {
            "status": "timed",
            "calls_ns": list(steps_ns),
            "losses": self._taken_losses(),
            "peak_bytes": peak_bytes(self._captured.device),
        }

    def _profiled(self) -> dict[str, Any]:
        assert self._captured is not None
        assert self._profiler is not None
        self._profiler.stop()
        repeats = len(self._losses) - 1
        return {
            "status": "profiled",
            "operators": totals(self._profiler, self._captured.device, repeats),
            "losses": self._taken_losses(),
        }

    def _taken_losses(self) -> list[list[float]]:
        """Of each ended step since the last time, every loss that a backward pass began from."""
        taken, self._losses = self._losses[:-1], self._losses[-1:]
        return [[float(each) for each in step] for step in taken]

    def _settle(self, answer: dict[str, Any]) -> NoReturn:
        """The candidate ends with this answer to the parent's next message."""
        try:
            self._channel.receive()
        except EOFError:
            self._leave(1)
        self._send(answer)
        self._leave(0)

    def _send(self, answer: dict[str, Any]) -> None:
        try:
            self._channel.send(answer)
        except OSError:
            self._leave(1)  # the parent has gone: there is nobody to tell

    def _leave(self, status: int) -> NoReturn:
        """End the program where it is."""
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

    def _program_ended(self) -> None:
        error = getattr(sys, "last_value", None)
        reason = reason_of(error) if error is not None else "the program ended before the steps that the first run made"
        self._send({"told": "missed", "status": "failed", "reason": reason})


@torch.no_grad()
def nudge(module: torch.nn.Module) -> None:
    """Change every weight by one unit in the last place of its tensor's root mean square, up or down by lot.

    Sums are rounded at the size of their terms, so that small weights are off by more than their own last place. Where
    each was changed by that only, losses of a network with batch normalization parted some steps later than by a pass.
    """
    for number, each in enumerate(module.parameters()):
        if each.is_floating_point():
            generator = torch.Generator(each.device).manual_seed(number)
            signs = torch.randint(0, 2, each.shape, generator=generator, device=each.device, dtype=each.dtype)
            each.add_((2 * signs - 1) * torch.finfo(each.dtype).eps * each.square().mean().sqrt())


def _die_with_parent() -> None:
    """Let the kernel end this process with its parent, which may have stopped it and can then not wake it up."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
