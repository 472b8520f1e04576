"""What a candidate does inside the captured call: applies passes, tells how exact they are, and times them.

Standard library and torch only: it runs in the user's environment.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch

from deepseek_prof.optimizer import batches, numerics, passes
from deepseek_prof.optimizer.channel import Channel
from deepseek_prof.optimizer.device import peak_bytes, reset_peak, wait
from deepseek_prof.optimizer.operators import by_operator
from deepseek_prof.optimizer.protocol import Applied, Call, Callee, Captured
from deepseek_prof.optimizer.values import copied, equal, tensors

_WARM_CALLS = 3
_SEED = 7
_MAX_REASON = 600


class Session:
    """The conversation of one process with the parent, until that says ``end``."""

    def __init__(self, channel: Channel, captured: Captured, metric: str | None) -> None:
        self._channel = channel
        self._captured = captured
        self._metric = metric
        self._callee: Callee = captured.module
        self._mutates = False
        self._batches: dict[int, Call] = {}
        self._lossy = False

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
                answer = {"status": "failed", "reason": f"{type(error).__name__}: {error}"[:_MAX_REASON]}
            self._channel.send(answer)

    def _answer(self, message: dict[str, Any]) -> dict[str, Any]:
        if message["do"] == "prepare":
            return self._prepare(message["passes"])
        if message["do"] == "operators":
            found = by_operator(self._time, self._captured.device, int(message["repeats"]))
            return {"status": "profiled", "operators": found}
        if message["do"] == "batch":
            return self._batch(message["rows"], int(message["repeats"]))
        return self._round(message)

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
            return {"status": "ready", **self._sizes(), "mutates_inputs": self._mutates}
        if not equal(eager, again) and self._captured.training:
            return {"status": "refused", "reason": "eager gives another result each time, for it is in training"}
        reference, why = numerics.float64_outputs(self._captured)
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
        difference = numerics.compare(eager, outputs, reference, why)
        lossy = self._lossy = any(handler.lossy for handler, _ in chosen)
        return {
            "status": "ready",
            **self._sizes(),
            "compile_ns": compile_ns,
            "fired": evidence,
            "notes": [note for each in applied for note in each.notes],
            "lossy": lossy,
            "numerics": numerics.as_json(difference),
            "inaccurate": numerics.failure(difference, lossy=lossy),
            "metric": None if metric is None else [metric, self._measure()],
        }

    def _apply(self, chosen: Sequence[tuple[Any, Any]]) -> list[Applied]:
        applied: list[Applied] = []
        for handler, config in chosen:
            applied.append(handler.apply(config, self._callee, self._captured))
            self._callee = applied[-1].call
        return applied

    def _outputs(self, callee: Callee) -> list[Any]:
        """What each captured call returns, from the same random numbers each time."""
        results = []
        for call in self._captured.calls:
            fresh = copied(call)
            torch.manual_seed(_SEED)
            # Copies: a compiled module may write over what it returned.
            returned = tensors(callee(*fresh.args, **fresh.kwargs))
            results.append({path: each.detach().clone() for path, each in returned})
            self._mutates = self._mutates or not equal((fresh.args, fresh.kwargs), (call.args, dict(call.kwargs)))
        return results

    def _warm(self) -> None:
        for _ in range(_WARM_CALLS):
            self._time()

    def _round(self, message: dict[str, Any]) -> dict[str, Any]:
        """``repeats`` times all captured calls; the time of each call in nanoseconds."""
        calls_ns = [each for _ in range(int(message["repeats"])) for each in self._time()]
        return {"status": "timed", "calls_ns": calls_ns, "peak_bytes": peak_bytes(self._captured.device)}

    def _time(self) -> list[int]:
        return [self._timed(call) for call in self._captured.calls]

    def _timed(self, call: Call) -> int:
        given = copied(call) if self._mutates else call
        wait(self._captured.device)
        start_ns = time.perf_counter_ns()
        result = self._callee(*given.args, **given.kwargs)
        wait(self._captured.device)
        taken_ns = time.perf_counter_ns() - start_ns
        del result
        return taken_ns

    def _batch(self, rows: int | None, repeats: int) -> dict[str, Any]:
        """Time the first captured call with so many rows (None: its own), checked and warmed up when it is new."""
        device, first = self._captured.device, self._captured.calls[0]
        rows = batches.rows_of(first) if rows is None else rows
        before_bytes = after_bytes = 0
        if rows not in self._batches:
            reset_peak(device)
            before_bytes = peak_bytes(device)
            batches.check(self._callee, first, rows, lossy=self._lossy)
            self._batches[rows] = batches.with_rows(first, rows)
            for _ in range(_WARM_CALLS):
                self._timed(self._batches[rows])
            after_bytes = peak_bytes(device)
        return {
            "status": "timed",
            "rows": rows,
            "calls_ns": [self._timed(self._batches[rows]) for _ in range(repeats)],
            "extra_bytes": after_bytes - before_bytes,
            "available_bytes": batches.available_bytes(device),
        }

    def _measure(self) -> float:
        """The user's metric of the present callee. Raises what it raises."""
        assert self._metric is not None
        module, _, function = self._metric.partition(":")
        return float(getattr(import_module(module), function)(self._callee))

    def _sizes(self) -> dict[str, Any]:
        held = self._callee.state_dict().values() if isinstance(self._callee, torch.nn.Module) else ()
        own = [each for each in held if isinstance(each, torch.Tensor)]
        reset_peak(self._captured.device)
        return {"model_bytes": sum(each.numel() * each.element_size() for each in own) if own else None}
