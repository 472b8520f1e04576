"""Grows the calling context tree of one process while events are nested: one node for each path, not for each event."""

from __future__ import annotations

from collections.abc import Sequence

from deepseek_prof.importing.labels import Label
from deepseek_prof.model import Kind, Phase
from deepseek_prof.recording.context_table import ContextTable
from deepseek_prof.recording.contexts_log import ContextEntry

ROOT = 0
"""Stands for no context at all; contexts count from 1."""
LABEL_BITS = 32


class ContextBuilder:
    """Numbers contexts in order of discovery. ``children`` finds those that exist, by :meth:`key`.

    Args:
        labels: what the label numbers of events stand for; may grow.
    """

    def __init__(self, labels: Sequence[Label]) -> None:
        self._labels = labels
        self.table = ContextTable()
        self.children: dict[int, int] = {}
        self._known: dict[tuple[int, Kind, Phase, str], int] = {}
        # By context number, with an entry for ROOT.
        self.kinds: list[Kind] = [Kind.OP]
        self.phases: list[Phase] = [Phase.OTHER]
        self.layers: list[int] = [ROOT]
        """The nearest layer, the context itself included."""
        self.parents: list[int] = [ROOT]
        self._layer_names: dict[int, str] = {}
        self._outer_layers: dict[int, int] = {}

    @staticmethod
    def key(parent: int, label: int, variant: int) -> int:
        """``variant`` tells apart events of one label that become different contexts: see :meth:`add`."""
        return (parent << LABEL_BITS | label) << 2 | variant

    def add(self, parent: int, label_number: int, variant: int) -> int:
        """The context of an event of this label below ``parent``.

        ``variant`` 0: an event like any; 1: an operator that autograd has a number for, so one that runs forward;
        2: a backward node.
        """
        label = self._labels[label_number]
        around = self.phases[parent]
        phase = around
        kind = label.kind
        if label.phase is not None and (label.forces_phase or around is Phase.OTHER):
            phase = label.phase
        if variant == 1 and phase is Phase.OTHER:
            phase = Phase.FORWARD
        elif variant == 2:
            kind, phase = Kind.AUTOGRAD, Phase.BACKWARD
        if kind is Kind.LAYER:
            number = self._layer(parent, phase, self._layer_name(parent, label.name))
        else:
            number = self._context(parent, kind, phase, label.name)
        self.children[self.key(parent, label_number, variant)] = number
        return number

    def launcher(self, context: int) -> int:
        """The operator (or whatever stands nearest) that made a call into the driver."""
        while self.kinds[context] in (Kind.RUNTIME, Kind.SYNC):
            context = self.parents[context]
        return context

    def backward_twin(self, layer: int) -> int:
        """The context of the same layer in backward, below the twins of the layers around it."""
        if self.phases[layer] is Phase.BACKWARD:
            return layer
        outer = self._outer_layers[layer]
        return self._layer(self.backward_twin(outer) if outer else ROOT, Phase.BACKWARD, self._layer_names[layer])

    def _layer_name(self, parent: int, module: str) -> str:
        """A trace names modules by class and number: ``Linear_0``. Below a root, the layers around stand before it."""
        outer = self.layers[parent]
        if outer == ROOT or self._outer_layers[outer] == ROOT:
            return module
        return f"{self._layer_names[outer]}.{module}"

    def _layer(self, parent: int, phase: Phase, name: str) -> int:
        outer = self.layers[parent]
        number = self._context(parent, Kind.LAYER, phase, name)
        self.layers[number] = number
        self._layer_names[number] = name
        self._outer_layers[number] = outer
        return number

    def _context(self, parent: int, kind: Kind, phase: Phase, text: str) -> int:
        key = (parent, kind, phase, text)
        known = self._known.get(key)
        if known is not None:
            return known
        number = self._known[key] = len(self.kinds)
        self.kinds.append(kind)
        self.phases.append(phase)
        self.layers.append(self.layers[parent])
        self.parents.append(parent)
        self.table.add([ContextEntry(number, parent, kind, phase, text)])
        return number
