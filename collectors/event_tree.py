"""Builds the calling context tree and self times from a flat list of timed events, as other profilers hand them out.

Standard library only. The same attribution as the native recorder's: layers by nesting, backward nodes by
``(forward thread, sequence number)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from deepseek_prof.model import Kind, Phase

LAYER_PREFIX = "deepseek_prof::layer::"
"""Events by this prefix are layer frames; the rest of the name is the layer's."""
BACKWARD_EVENT = "deepseek_prof::backward"
EVALUATE_PREFIX = "autograd::engine::evaluate_function: "


@dataclass(frozen=True)
class Event:
    """One finished event of a thread; times in ns on one clock. Unknown: ``sequence`` -1, ``forward_thread`` 0."""

    name: str
    start_ns: int
    dur_ns: int
    thread: int
    sequence: int = -1
    forward_thread: int = 0
    is_user: bool = False
    is_backward: bool = False


@dataclass
class _Open:
    event: Event
    context: int
    layer: int
    phase: Phase
    child_ns: int = 0


class EventTree:
    """Nests events and hands out contexts; keeps what links one window of events to the next.

    Args:
        new_context: makes a context ``(parent id, kind, phase, text) -> id``.
        emit: takes each span ``(thread, start_ns, dur_ns, self_ns, context id)`` in order of its end.
    """

    def __init__(
        self, new_context: Callable[[int, int, int, str], int], emit: Callable[[int, int, int, int, int], None]
    ) -> None:
        self._new_context = new_context
        self._emit = emit
        self._ids: dict[tuple[int, Kind, Phase, str], int] = {}
        self._layer_paths: dict[int, tuple[int, str]] = {}  # layer context -> (enclosing layer context, name)
        self._layer_phase: dict[int, Phase] = {}
        self._sequences: dict[tuple[int, int], int] = {}

    def add(self, events: Iterable[Event]) -> None:
        """Add the events of one window; a frame that is open at its ends must not be among them."""
        by_thread: dict[int, list[Event]] = {}
        for event in events:
            by_thread.setdefault(event.thread, []).append(event)
        # Threads that run forward first: the backward threads look their layers up.
        for thread in sorted(by_thread, key=lambda thread: any(e.forward_thread for e in by_thread[thread])):
            self._nest(sorted(by_thread[thread], key=lambda event: (event.start_ns, -event.dur_ns)))

    def _nest(self, events: list[Event]) -> None:
        stack: list[_Open] = []
        for event in events:
            while stack and stack[-1].event.start_ns + stack[-1].event.dur_ns <= event.start_ns:
                self._close(stack)
            stack.append(self._open(event, stack[-1] if stack else None))
        while stack:
            self._close(stack)

    def _close(self, stack: list[_Open]) -> None:
        top = stack.pop()
        event = top.event
        if stack:
            stack[-1].child_ns += event.dur_ns
        self._emit(event.thread, event.start_ns, event.dur_ns, max(event.dur_ns - top.child_ns, 0), top.context)

    def _open(self, event: Event, parent: _Open | None) -> _Open:
        name, sequence = event.name, event.sequence
        parent_context = parent.context if parent else 0
        layer = parent.layer if parent else 0
        phase = parent.phase if parent else Phase.OTHER
        kind = Kind.OP
        if name.startswith(LAYER_PREFIX):
            phase = Phase.FORWARD if phase is Phase.OTHER else phase
            text = name[len(LAYER_PREFIX) :]
            context = self._layer(parent_context, layer, phase, text)
            return _Open(event, context, context, phase)
        if name == BACKWARD_EVENT:
            kind, phase, name = Kind.PHASE, Phase.BACKWARD, "backward"
        elif event.is_backward or event.forward_thread or name.startswith(EVALUATE_PREFIX):
            kind, phase = Kind.AUTOGRAD, Phase.BACKWARD
            owner = self._sequences.get((event.forward_thread, sequence), 0)
            if owner and not (parent and parent.event.forward_thread):
                parent_context = layer = self._backward_twin(owner)
        elif event.is_user:
            kind = Kind.USER
            if name.startswith("Optimizer."):
                phase = Phase.OPTIMIZER
            elif name.startswith("enumerate(DataLoader)#"):
                kind, phase = Kind.DATA, Phase.DATA
        else:
            if name.startswith("c10d::"):
                kind = Kind.COLLECTIVE
            if sequence >= 0:
                self._sequences[event.thread, sequence] = layer
                phase = Phase.FORWARD if phase is Phase.OTHER else phase
        return _Open(event, self._context(parent_context, kind, phase, name), layer, phase)

    def _context(self, parent: int, kind: Kind, phase: Phase, text: str) -> int:
        key = (parent, kind, phase, text)
        known = self._ids.get(key)
        if known is None:
            known = self._ids[key] = self._new_context(parent, int(kind), int(phase), text)
        return known

    def _layer(self, parent: int, outer_layer: int, phase: Phase, text: str) -> int:
        context = self._context(parent, Kind.LAYER, phase, text)
        self._layer_paths[context] = (outer_layer, text)
        self._layer_phase[context] = phase
        return context

    def _backward_twin(self, layer: int) -> int:
        if self._layer_phase[layer] is Phase.BACKWARD:
            return layer
        outer, text = self._layer_paths[layer]
        outer_twin = self._backward_twin(outer) if outer else 0
        return self._layer(outer_twin, outer_twin, Phase.BACKWARD, text)
