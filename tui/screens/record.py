"""One log record with all its fields; leads to its layer, its operator and its moment."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Footer, Static

from deepseek_prof.analysis.logs import LogRecord
from deepseek_prof.text import clean, duration

_LONG = 4_000


@dataclass(frozen=True)
class Leave:
    """Where to go from a record."""

    to: Literal["layer", "operator", "timeline"]
    record: LogRecord


class RecordScreen(ModalScreen[Leave | None]):
    """A record. Its result says where to go; None: back."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l", "leave('layer')", "Its layer"),
        Binding("o", "leave('operator')", "Its operator"),
        Binding("t", "leave('timeline')", "Timeline"),
        Binding("escape,enter,q", "back", "Back"),
    ]
    DEFAULT_CSS = """
    RecordScreen { align: center middle; }
    RecordScreen > Vertical { width: 90%; height: 80%; background: $surface; border: round $primary; }
    RecordScreen VerticalScroll { padding: 0 1; height: 1fr; }
    RecordScreen Static { height: auto; }
    """

    def __init__(self, record: LogRecord, moment: str) -> None:
        """``moment`` is the record's time for people."""
        super().__init__()
        self.record = record
        self._moment = moment

    def compose(self) -> ComposeResult:
        """Names and values, one a line."""
        with Vertical(), VerticalScroll():
            yield Static(_described(self.record, self._moment))
        yield Footer()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what the record has leads on."""
        if action == "leave":
            known = {"layer": self.record.layer, "operator": self.record.op, "timeline": self.record.dur_ns is not None}
            return bool(known[str(parameters[0])])
        return True

    def action_leave(self, to: Literal["layer", "operator", "timeline"]) -> None:
        """Go on from here."""
        self.dismiss(Leave(to, self.record))

    def action_back(self) -> None:
        """Back to the table."""
        self.dismiss(None)


def _described(record: LogRecord, moment: str) -> Text:
    places: list[tuple[str, Any]] = [
        ("time", moment),
        ("ts_ns", record.ts_ns),
        ("rank", record.rank),
        ("pid", record.pid),
        ("tid", record.tid),
        ("step", record.step),
        ("phase", record.phase),
        ("layer", record.layer),
        ("op", record.op),
        ("type", record.type),
        ("kind", record.kind),
        ("dur", None if record.dur_ns is None else f"{duration(record.dur_ns)} ({record.dur_ns:,} ns)"),
        ("self", None if record.self_ns is None else f"{duration(record.self_ns)} ({record.self_ns:,} ns)"),
        ("level", record.level),
        ("event", record.event),
        *record.fields.items(),
    ]
    text = Text()
    for name, value in places:
        if value is not None:
            text.append(f"{clean(name, 60):<12} ", "bold")
            text.append_text(_value(value)).append("\n")
    return text


def _value(value: Any) -> Text:
    """A value with its lines kept, as those of a traceback, and all else that does not print made visible."""
    whole = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr)
    return Text("\n  ".join(clean(line, _LONG) for line in whole[: 50 * _LONG].splitlines() or [""]))
