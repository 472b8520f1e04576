"""Logs: operators and events in one stream by time, of any length, followed while the run goes on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from rich.style import Style
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static

from deepseek_prof.analysis.log_pages import LogPages
from deepseek_prof.analysis.logs import LogRecord
from deepseek_prof.errors import DeepseekProfError
from deepseek_prof.query.sql import CompiledQuery
from deepseek_prof.text import clean, count, duration
from deepseek_prof.trace.run import Run
from deepseek_prof.tui.data import RunSession, Selection
from deepseek_prof.tui.palette import type_colour
from deepseek_prof.tui.pane import Pane
from deepseek_prof.tui.query_edit import with_values
from deepseek_prof.tui.screens.record import Leave, RecordScreen
from deepseek_prof.tui.widgets.paged_table import Column, PagedTable, Row

_ALL = CompiledQuery("TRUE", ())
_COLUMNS = (
    Column("time", 15, "left"),
    Column("type", 11, "left"),
    Column("step", 6, drop=1),
    Column("phase", 9, "left", drop=3),
    Column("layer", align="left", drop=2, min_width=14),
    Column("what", align="left", min_width=18),
    Column("took", 9),
)
_LEVELS = {
    "debug": Style(dim=True),
    "info": Style(color="green"),
    "warning": Style(color="yellow", bold=True),
    "error": Style(color="red", bold=True),
    "critical": Style(color="red", bold=True, reverse=True),
}


class Logs(Pane[LogPages]):
    """The stream. Enter opens a record; following stays with the newest."""

    name_of = "logs"
    title = "Logs"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("o", "follow", "Follow"),
        Binding("l", "to_layer", "To its layer"),
    ]
    DEFAULT_CSS = """
    Logs #state { height: 1; color: $text-muted; padding: 0 1; }
    """

    def __init__(self, session: RunSession) -> None:
        super().__init__(session)
        self.following = session.in_progress
        """Whether the newest record stays in sight."""
        self._pages: LogPages | None = None
        self._records: dict[int, LogRecord] = {}

    def compose(self) -> ComposeResult:
        """The table, and below it where it stands."""
        yield PagedTable(_COLUMNS)
        yield Static("", id="state")

    def read(self, run: Run, selection: Selection) -> LogPages:
        """Where each record stands; the records themselves come by pages."""
        return LogPages(run, selection.condition or _ALL, selection.events or _ALL)

    def draw(self, found: LogPages, selection: Selection) -> None:
        """The first page, or the last one."""
        self._pages = found
        self._records = {}

        async def fetch(first: int, rows: int) -> Sequence[Row]:
            return await self._fetch(found, first, rows)

        table = self.query_one(PagedTable)
        table.show_pages(len(found), fetch, cursor=len(found) - 1 if self.following else None)
        self._say()

    def command(self, selection: Selection) -> tuple[str, ...]:
        """``logs``."""
        return ("logs",)

    async def _fetch(self, pages: LogPages, first: int, rows: int) -> Sequence[Row]:
        try:
            found = await self.session.ask(lambda run: pages.page(run, first, rows))
        except DeepseekProfError as error:
            self.post_message(self.Failed(error))
            return []
        self._records |= {first + index: record for index, record in enumerate(found)}
        return [self._cells(record) for record in found]

    def _cells(self, record: LogRecord) -> Row:
        if record.is_event:
            label = (clean(record.level or "", 11), _LEVELS.get(record.level or "", Style.null()))
            what = _told(record)
        else:
            label = (record.type or "", Style(color=type_colour(record.type or "", dark=self.app.current_theme.dark)))
            what = clean(record.op or "")
        took = "" if record.dur_ns is None else duration(record.dur_ns)
        step = "" if record.step is None else str(record.step)
        return (clock(record.ts_ns), label, step, record.phase or "", clean(record.layer or ""), what, took)

    def _say(self) -> None:
        table = self.query_one(PagedTable)
        place = f"record {count(table.cursor + 1)} of {count(table.row_count)}" if table.row_count else "no record"
        self.query_one("#state", Static).update(f"{place}{' · following' if self.following else ''}")

    def on_paged_table_highlighted(self, event: PagedTable.Highlighted) -> None:
        """Say where the cursor is; moving off the end stops following."""
        event.stop()
        if self.following and event.row < event.table.row_count - 1:
            self.following = False
        self._say()

    def on_paged_table_chosen(self, event: PagedTable.Chosen) -> None:
        """Open the record."""
        event.stop()
        record = self._records.get(event.row)
        if record is not None:
            self.app.push_screen(RecordScreen(record, clock(record.ts_ns)), self._leave)

    def _leave(self, leave: Leave | None) -> None:
        if leave is None or self.selection is None:
            return
        record = leave.record
        if leave.to == "timeline":
            self.post_message(self.ShowCall(record.ts_ns, record.dur_ns or 0, record.step))
            return
        field, value = ("layer", record.layer) if leave.to == "layer" else ("op", record.op)
        if value is not None:
            self.post_message(self.Filter(with_values(self.selection.query, field, [value])))
            self.post_message(self.Open("layers" if leave.to == "layer" else "operators"))

    def action_follow(self) -> None:
        """Stay with the newest record, or no longer."""
        self.following = not self.following
        if self.following:
            self.query_one(PagedTable).action_jump(-1)
        self._say()

    def action_to_layer(self) -> None:
        """Filter all panes to the layer of the record under the cursor."""
        record = self._records.get(self.query_one(PagedTable).cursor)
        if record is not None and record.layer is not None and self.selection is not None:
            self.post_message(self.Filter(with_values(self.selection.query, "layer", [record.layer])))


def _told(record: LogRecord) -> str:
    message = record.fields.get("message")
    texts = [clean(record.event or "", 60)]
    if isinstance(message, str) and message != record.event:
        texts.append(clean(message, 200))
    texts += [f"{clean(key, 40)}={clean(str(value), 60)}" for key, value in record.fields.items() if key != "message"]
    return " ".join(text for text in texts if text)


def clock(ts_ns: int) -> str:
    """The local time of day to the microsecond."""
    seconds, rest_ns = divmod(ts_ns, 1_000_000_000)
    try:
        return f"{datetime.fromtimestamp(seconds).astimezone():%H:%M:%S}.{rest_ns // 1000:06d}"
    except (OverflowError, ValueError, OSError):
        return str(ts_ns)
