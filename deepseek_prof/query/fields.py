"""The fields of the query language: what each one means, and the column it reads in each view."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from enum import Enum

from deepseek_prof.model import Kind, Phase
from deepseek_prof.operator_types import OPERATOR_TYPES


class FieldType(Enum):
    """What values a field takes, and so what may be written after it."""

    TEXT = "text"
    CHOICE = "choice"
    """Text out of a closed set."""
    LEVEL = "level"
    """Text that also has an order."""
    COUNT = "count"
    TIME = "time"
    """Whole nanoseconds."""
    SIZE = "size"
    """Whole bytes."""

    @property
    def is_number(self) -> bool:
        """Whether values are whole numbers."""
        return self in (FieldType.COUNT, FieldType.TIME, FieldType.SIZE)


class Table(Enum):
    """The views of a run that a query can select from."""

    SPANS = "spans"
    LOGS = "logs"
    SAMPLES = "samples"
    ALLOCATIONS = "allocations"


_OF_ALLOCATIONS = {
    **{name: name for name in ("type", "layer", "phase", "step", "rank", "pid", "tid", "kind", "device")},
    "op": "name",
    "dur": "life_ns",
    "start": "start_ns",
    "bytes": "size_bytes",
}
"""The columns of ``allocations`` by field."""


@dataclass(frozen=True)
class Field:
    """One field. ``spans``, ``logs`` and ``samples`` name the column it reads there; None: that view has none."""

    name: str
    type: FieldType
    meaning: str
    spans: str | None
    logs: str | None = None
    choices: tuple[str, ...] = ()
    samples: str | None = None

    def column(self, table: Table) -> str | None:
        """The column's name in a view."""
        if table is Table.ALLOCATIONS:
            return _OF_ALLOCATIONS.get(self.name)
        return {Table.SPANS: self.spans, Table.LOGS: self.logs, Table.SAMPLES: self.samples}[table]


LEVELS = ("debug", "info", "warning", "error", "critical")
"""Log levels, the least severe first."""

MESSAGE_COLUMN = "msg"
"""Stands for a log record's message: the key ``message`` of its ``fields``, or else its event."""

_PHASES = tuple(phase.label for phase in Phase)
_KINDS = tuple(kind.label for kind in Kind)

FIELDS: dict[str, Field] = {
    field.name: field
    for field in (
        Field("op", FieldType.TEXT, "operator or kernel, with or without its namespace", "name", "op", samples="name"),
        Field("type", FieldType.CHOICE, "operator type", "type", choices=OPERATOR_TYPES, samples="type"),
        Field("layer", FieldType.TEXT, "module, by its qualified name", "layer", "layer", samples="layer"),
        Field("phase", FieldType.CHOICE, "part of the training step", "phase", "phase", _PHASES, "phase"),
        Field("step", FieldType.COUNT, "step, counted from 0", "step", "step", samples="step"),
        Field("rank", FieldType.COUNT, "rank of a distributed run, else 0", "rank", "rank", samples="rank"),
        Field("pid", FieldType.COUNT, "process", "pid", samples="pid"),
        Field("tid", FieldType.COUNT, "thread", "tid", samples="tid"),
        Field("kind", FieldType.CHOICE, "what was recorded", "kind", choices=_KINDS),
        Field("device", FieldType.TEXT, "device", "device"),
        Field("stream", FieldType.COUNT, "stream of the device", "stream"),
        Field("level", FieldType.LEVEL, "severity of a log record", None, "level", LEVELS),
        Field("event", FieldType.TEXT, "event of a log record", None, "event"),
        Field("dur", FieldType.TIME, "duration, children included", "dur_ns"),
        Field("self", FieldType.TIME, "duration without children", "self_ns"),
        Field(
            "start", FieldType.TIME, "moment, from the beginning of the recording", "start_ns", "ts_ns", samples="ts_ns"
        ),
        Field("bytes", FieldType.SIZE, "bytes moved or allocated", "bytes"),
        Field("flops", FieldType.COUNT, "floating-point operations", "flops"),
        Field("msg", FieldType.TEXT, "message of a log record", None, MESSAGE_COLUMN),
    )
}

_OTHER_NAMES = {
    "name": "op",
    "operator": "op",
    "kernel": "op",
    "module": "layer",
    "thread": "tid",
    "process": "pid",
    "duration": "dur",
    "dur_ns": "dur",
    "total": "dur",
    "time": "dur",
    "self_ns": "self",
    "start_ns": "start",
    "ts": "start",
    "ts_ns": "start",
    "size": "bytes",
    "message": "msg",
    "severity": "level",
}
"""What people call a field elsewhere: too far from its name for a comparison of letters."""


def similar_field(name: str) -> str | None:
    """The field that an unknown name may have meant."""
    lower = name.lower()
    if lower in FIELDS:
        return lower
    if lower in _OTHER_NAMES:
        return _OTHER_NAMES[lower]
    return similar(lower, tuple(FIELDS))


def similar(text: str, known: tuple[str, ...]) -> str | None:
    """The one of ``known`` that ``text`` may have meant; None where nothing is near."""
    found = difflib.get_close_matches(text[:100], known, n=1, cutoff=0.6)
    return found[0] if found else None


def word_columns(table: Table) -> tuple[str, ...]:
    """The columns in which a bare word is searched."""
    found = (FIELDS[name].column(table) for name in ("op", "layer", "msg"))
    stack = ("stack",) if table is Table.SAMPLES else ()
    return (*(column for column in found if column is not None), *stack)
