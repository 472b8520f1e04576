"""What a candidate does inside the captured call: applies passes, tells how exact they are, and times them.

Standard library and torch only: it runs in the user's environment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from deepseek_prof.optimizer import batches, handover, numerics, passes
from deepseek_prof.optimizer.channel import Channel, not_known, reason_of
from deepseek_prof.optimizer.device import peak_bytes, reset_peak, wait
from deepseek_prof.optimizer.operators import by_operator
from deepseek_prof.optimizer.protocol import Applied, Call, Callee, Captured
from deepseek_prof.optimizer.recorder import record
from deepseek_prof.optimizer.values import copied, equal, state_bytes, tensors

_WARM_CALLS = 3
_SEED = 7


class Session:
    """The conversation of one process with the parent, until that says ``end``."""

    def __init__(self, channel: Channel, captured: Captured, metric: str | None) -> None:
        self._channel = channel
        self._captured = captured
        self._metric = metric
        self._callee: Callee = captured.module
        self._batches: dict[int, Call] = {}
        self._lossy = False
        self._written: frozenset[str] = frozenset()
        """Paths of the arguments that a call writes to; what it leaves there belongs to its results."""

    def run(self) -> None:
        """Answer every message. Raises EOFError when the parent has gone."""
        while True:
            message = self._channel.receive()
            assert message is not None  # it waits without a limit
            if message["do"] == "end":
                return
            try:
                answer = self._answer(message)
            except EOFError:
                raise
            except Exception as error:  # noqa: BLE001  # any pass on any module: the candidate fails, with its reason
                answer = {"status": "failed", "reason": reason_of(error)}
            self._channel.send(answer)

    def _answer(self, message: dict[str, Any]) -> dict[str, Any]:
        match message["do"]:
            case "prepare":
                return self._prepare(message["passes"])
            case "round":
                return self._round(message)
            case "apply_file":
                return self._replaced(handover.applied_by_file(message["file"], self._captured), message["lossy"])
            case "load_packages":
                return self._replaced(handover.loaded(message["files"], self._captured), message["lossy"])
            case "package":
                handover.package(self._apply(passes.chosen(message["passes"])), message["files"], self._captured)
                return {"status": "packaged"}
            case "record":
                record(Path(message["live"]), self._time, int(message["repeats"]))
                return {"status": "recorded"}
            case "operators":
                found = by_operator(self._time, self._captured.device, int(message["repeats"]))
                return {"status": "profiled", "operators": found}
            case "batch":
                return self._batch(message["rows"], int(message["repeats"]))
            case unknown:
                return not_known(unknown)

    def _prepare(self, wanted: Sequence[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
        """Apply the passes (none: the baseline) and hold their outputs against eager's."""
        chosen = passes.chosen(wanted)
        for handler, config in chosen:
            reason = handler.refusal(config, self._captured)
            if reason is not None:
                return {"status": "refused", "reason": f"{handler.name}: {reason}"}
        eager = self._outputs(self._captured.module)
        again = self._outputs(self._captured.module)
        if not chosen:
            self._warm()
            return {"status": "ready", **self._sizes()}
        reason = _incomparable(eager, again)
        if reason is not None and self._metric is None:
            return {"status": "refused", "reason": reason}
        reference, why = numerics.float64_outputs(self._captured)
        classes = numerics.class_scores(self._captured)
        metric = self._measure() if self._metric else None
        began_ns = time.monotonic_ns()
        applied = self._apply(chosen)
        outputs = self._outputs(self._callee)
        compile_ns = time.monotonic_ns() - began_ns
        self._warm()
        evidence = [each.fired() for each in applied]
        silent = [handler.name for (handler, _), each in zip(chosen, evidence, strict=True) if each is None]
        if silent:
            return {"status": "refused", "reason": f"{', '.join(silent)}: had no effect on this module"}
        difference = numerics.compare(eager, outputs, reference, why, classes)
        lossy = self._lossy = any(handler.lossy for handler, _ in chosen)
        return {
            "status": "ready",
            **self._sizes(),
            "compile_ns": compile_ns,
            "fired": evidence,
            "notes": [note for each in applied for note in each.notes],
            "kept_in_float": [layer for each in applied for layer in each.kept_in_float],
            "code": passes.code_of(chosen, applied),
            "compiles": any(each.compiles for each in applied),
            "lossy": lossy,
            "numerics": numerics.as_json(difference),
            "inaccurate": numerics.failure(difference, lossy=lossy),
            "metric": None if metric is None else [metric, self._measure()],
        }

    def _replaced(self, make: Callable[[], Callee], lossy: bool) -> dict[str, Any]:
        """Put what the hand-over makes in the place of the module, and hold its outputs against eager's."""
        eager = self._outputs(self._captured.module)
        reference, why = numerics.float64_outputs(self._captured)
        classes = numerics.class_scores(self._captured)
        self._callee = make()
        difference = numerics.compare(eager, self._outputs(self._callee), reference, why, classes)
        self._warm()
        return {
            "status": "ready",
            **self._sizes(),
            "numerics": numerics.as_json(difference),
            "inaccurate": numerics.failure(difference, lossy=lossy),
        }

    def _apply(self, chosen: Sequence[tuple[Any, Any]]) -> list[Applied]:
        applied: list[Applied] = []
        for handler, config in chosen:
            applied.append(handler.apply(config, self._callee, self._captured))
            self._callee = applied[-1].call
        return applied

    def _outputs(self, callee: Callee) -> list[numerics.Outputs]:
        """What each captured call returns and writes to its arguments, from the same random numbers each time."""
        results: list[numerics.Outputs] = []
        for call in self._captured.all_calls:
            fresh = copied(call)
            torch.manual_seed(_SEED)
            # Copies: a compiled module may write over what it returned.
            returned = {path: each.detach().clone() for path, each in tensors(callee(*fresh.args, **fresh.kwargs))}
            given, left = (dict(tensors(each.given)) for each in (call, fresh))
            self._written |= {path for path, each in left.items() if not equal(each, given.get(path))}
            # An argument that eager writes to is compared also where the candidate leaves it as it was.
            returned |= {f"argument {path}": left[path].detach().clone() for path in self._written if path in left}
            results.append(returned)
        return results

    def _warm(self) -> None:
        for _ in range(_WARM_CALLS):
            self._time()

    def _round(self, message: dict[str, Any]) -> dict[str, Any]:
        """``repeats`` times all captured calls; the time of each call in nanoseconds."""
        reset_peak(self._captured.device)
        calls_ns = [each for _ in range(int(message["repeats"])) for each in self._time()]
        return {"status": "timed", "calls_ns": calls_ns, "peak_bytes": peak_bytes(self._captured.device)}

    def _time(self) -> list[int]:
        return [self._timed(call) for call in self._captured.calls]

    def _timed(self, call: Call) -> int:
        given = copied(call) if self._written else call
        wait(self._captured.device)
        start_ns = time.perf_counter_ns()
        result = self._callee(*given.args, **given.kwargs)
        wait(self._captured.device)
        taken_ns = time.perf_counter_ns() - start_ns
        del result
        return taken_ns

    def _learned(self, call: Call) -> int:
        """Time the forward and the backward pass of a call, from the mean of all floating-point results."""
        given = copied(call)
        wait(self._captured.device)
        start_ns = time.perf_counter_ns()
        results = [each.mean() for _, each in tensors(self._callee(*given.args, **given.kwargs)) if each.requires_grad]
        torch.stack([each.float() for each in results]).sum().backward()
        wait(self._captured.device)
        taken_ns = time.perf_counter_ns() - start_ns
        self._captured.module.zero_grad()
        return taken_ns

    def _batch(self, rows: int | None, repeats: int) -> dict[str, Any]:
        """Time the first captured call with so many rows (None: its own), checked and warmed up when it is new.

        In training with its backward pass.
        """
        device, first = self._captured.device, self._captured.calls[0]
        rows = batches.rows_of(first) if rows is None else rows
        timed = self._learned if self._captured.training else self._timed
        before_bytes = after_bytes = 0
        if rows not in self._batches:
            reset_peak(device)
            before_bytes = peak_bytes(device)
            if not self._captured.training:  # where rows may share statistics, and another batch is another training
                batches.check(self._callee, first, rows, lossy=self._lossy)
            self._batches[rows] = batches.with_rows(first, rows)
            for _ in range(_WARM_CALLS):
                timed(self._batches[rows])
            after_bytes = peak_bytes(device)
        return {
            "status": "timed",
            "rows": rows,
            "calls_ns": [timed(self._batches[rows]) for _ in range(repeats)],
            "extra_bytes": after_bytes - before_bytes,
            "available_bytes": batches.available_bytes(device),
        }

    def _measure(self) -> float:
        """The user's metric of the present callee. Raises what it raises."""
        assert self._metric is not None
        module, _, function = self._metric.partition(":")
        return float(getattr(import_module(module), function)(self._callee))

    def _sizes(self) -> dict[str, Any]:
        module = self._callee if isinstance(self._callee, torch.nn.Module) else None
        return {"model_bytes": None if module is None else state_bytes(module)}


def _incomparable(eager: Sequence[numerics.Outputs], again: Sequence[numerics.Outputs]) -> str | None:
    """Why outputs of this module prove nothing, or None: there are none, or eager does not repeat its own."""
    if not any(eager):
        return "the module returns no tensor that could be compared; name a --metric"
    differs = numerics.failure(numerics.compare(eager, again, None, "not asked for"), lossy=False)
    return f"eager itself gives another result each time ({differs})" if differs else None
