"""One event of a trace file as the native JSON parser hands it out: the fields that we read, all others passed over."""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from typing import Any, TypeAlias

import msgspec

Scalar: TypeAlias = int | float | str | bool | None

_INVALID_NUMBER = re.compile(r"(?<=[:,\[])(\s*)[-+]?(?:inf|nan|infinity)\b", re.IGNORECASE)
_INVALID_ESCAPE = re.compile(r'\\(?!["\\/bfnrtu])')


NO_LIST = msgspec.Raw(b"")
"""Stands for a list that is not there."""


class Arguments(msgspec.Struct, gc=False):
    """What an event carries under ``args``; -1 stands for what is not there."""

    external_id: Scalar = msgspec.field(default=-1, name="External id")
    external_id_2020: Scalar = msgspec.field(default=-1, name="external id")
    sequence: Scalar = msgspec.field(default=-1, name="Sequence number")
    forward_thread: Scalar = msgspec.field(default=-1, name="Fwd thread id")
    correlation: Scalar = -1
    device: Scalar = -1
    stream: Scalar = -1
    bytes: Scalar = -1
    graph: Scalar = msgspec.field(default=-1, name="graph id")
    graph_node: Scalar = msgspec.field(default=-1, name="graph node id")
    name: Scalar = None
    input_dims: msgspec.Raw = msgspec.field(default=NO_LIST, name="Input Dims")
    input_types: msgspec.Raw = msgspec.field(default=NO_LIST, name="Input type")
    """Lists as the text that stands there: many calls have the same."""


_NO_ARGUMENTS = Arguments()


class TraceEvent(msgspec.Struct, gc=False):
    """An event in the terms of the Trace Event Format; ``ts`` and ``dur`` in microseconds."""

    ph: str = ""
    name: Scalar = ""
    cat: Scalar = ""
    pid: Scalar = 0
    tid: Scalar = 0
    ts: float | int | str | None = 0
    dur: float | int | str | None = 0
    id: Scalar = None
    args: Arguments = msgspec.field(default_factory=lambda: _NO_ARGUMENTS)


class _Time(msgspec.Struct, gc=False):
    ts: Decimal | None = None


_EVENTS = msgspec.json.Decoder(list[TraceEvent])
_TIMES = msgspec.json.Decoder(list[_Time])
_EVENT = msgspec.json.Decoder(TraceEvent)


def parse_events(text: bytes) -> list[TraceEvent] | None:
    """The events of a JSON array; None if it is not valid or holds anything that is not an event."""
    try:
        return _EVENTS.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def parse_times_ns(text: bytes) -> list[int] | None:
    """The ``ts`` of the same events in nanoseconds, exact where a float of microseconds since 1970 no longer is."""
    try:
        return [0 if time.ts is None else int(time.ts.scaleb(3)) for time in _TIMES.decode(text)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, InvalidOperation, OverflowError, ValueError):
        return None


def parse_event(text: bytes) -> TraceEvent | None:
    """One event, also where it is not quite JSON: not UTF-8, ``inf`` for a number, a lone backslash."""
    try:
        return _EVENT.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        decoded = text.decode("utf-8", errors="replace")
        try:
            found = json.loads(decoded, strict=False)
        except ValueError:
            repaired = _INVALID_ESCAPE.sub(r"\\\\", _INVALID_NUMBER.sub(r"\1null", decoded))
            found = json.loads(repaired, strict=False)
    except (ValueError, RecursionError):
        return None
    return _from_object(found) if isinstance(found, dict) else None


def _from_object(found: dict[str, Any]) -> TraceEvent | None:
    arguments = found.get("args")
    fields: dict[str, Any] = _scalars(found)
    if isinstance(arguments, dict):
        fields["args"] = _scalars(arguments)
    try:
        return msgspec.convert(fields, TraceEvent)
    except msgspec.ValidationError:
        return None


def _scalars(found: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if isinstance(value, (int, float, str)) or value is None}
