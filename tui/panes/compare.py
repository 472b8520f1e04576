"""The pane Compare: this run against another one, by layer, operator, type or phase, and what is more than noise."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from rich.style import Style
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import ContentSwitcher, Static

from deepseek_prof.analysis.groups import OUTSIDE_LAYERS
from deepseek_prof.errors import RunDamagedError, RunNotFoundError
from deepseek_prof.query import quoted
from deepseek_prof.text import clean, count, counted, duration
from deepseek_prof.trace.catalog import RunEntry, default_root, list_runs
from deepseek_prof.trace.run import Run
from deepseek_prof.tui.data import RunSession, Selection
from deepseek_prof.tui.pane import Pane
from deepseek_prof.tui.widgets.choices import Choices
from deepseek_prof.tui.widgets.paged_table import Column, PagedTable, Row

if TYPE_CHECKING:
    from deepseek_prof.analysis.diff import DiffRow, DiffTable

_BY = ("layer", "op", "type", "phase")
_RUN_COLUMNS = (
    Column("compare with", align="left", min_width=16),
    Column("script", 18, "left", drop=2),
    Column("status", 10, "left", drop=1),
    Column("spans", 12, drop=3),
)
_COLUMNS = (
    Column("name", align="left", min_width=18),
    Column("before", 9),
    Column("after", 9),
    Column("delta", 10),
    Column("ratio", 7, drop=1),
    Column("verdict", 14, "left"),
)
_SIGNS = {"slower": "▲", "faster": "▼", "added": "+", "removed": "-", "inconclusive": "≈", "unknown": "?"}


@dataclass(frozen=True)
class Compared:
    """The comparison; before another run is chosen, the runs there are."""

    others: tuple[RunEntry, ...] = ()
    table: DiffTable | None = None
    names: tuple[str, str] = ("", "")
    problem: str = ""
    rows: tuple[DiffRow, ...] = field(default=())
    """The step, all spans, then the entries."""


class Compare(Pane[Compared]):
    """A list of runs to choose from, then the table of differences."""

    name_of = "compare"
    title = "Compare"
    short_title = "Diff"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("v", "by", "By", tooltip="By layer, operator, …"),
        Binding("c", "choose", "Another run"),
        Binding("o", "only", "Only this"),
    ]
    DEFAULT_CSS = """
    Compare #subject { height: 1; }
    Compare ContentSwitcher { height: 1fr; }
    Compare #detail { height: auto; max-height: 5; color: $text-muted; background: $panel; }
    """

    def __init__(self, session: RunSession) -> None:
        super().__init__(session)
        self.other: Path | None = None
        """The run that this one is compared with."""
        self.by = _BY[0]
        self._found = Compared()

    def compose(self) -> ComposeResult:
        """What is compared, by what, and the two tables."""
        yield Static(id="subject")
        yield Choices("By", _BY)
        with ContentSwitcher(initial="runs"):
            yield PagedTable(_RUN_COLUMNS, empty="No other run here. Record one: deepseek-prof run train.py", id="runs")
            yield PagedTable(_COLUMNS, empty="Neither run holds anything of this.", id="rows")
        yield Static(id="detail")

    def read(self, run: Run, selection: Selection) -> Compared:
        """The runs beside this one, or the comparison with the chosen one."""
        if self.other is None:
            return Compared(_others(run.path))
        from deepseek_prof.analysis.diff import diff

        try:
            with Run.open(self.other) as before:
                table = diff(before, run, self.by, selection.condition, limit=None)
                names = before.name, run.name
        except (RunNotFoundError, RunDamagedError) as error:
            return Compared(_others(run.path), problem=str(error))
        step = () if table.step is None else (table.step,)
        return Compared((), table, names, rows=(*step, table.total, *table.rows))

    def show(self, selection: Selection) -> None:
        """Two long runs take some seconds: what stands here meanwhile is of the query before."""
        if self.other is not None:
            self._subject(Text(f"comparing with {clean(self.other.name, 40)} …", style="bold"))
        super().show(selection)

    def draw(self, found: Compared, selection: Selection) -> None:
        """The list or the table."""
        self._found = found
        switcher = self.query_one(ContentSwitcher)
        focused = self.app.focused is not None and self.app.focused in switcher.children
        switcher.current = "runs" if found.table is None else "rows"
        if found.table is None:
            self.other = None
            self.query_one("#runs", PagedTable).show_rows([_run_cells(each) for each in found.others])
            self._subject(Text("Compare this run with an earlier one: choose it and press Enter."))
            self._detail(found.problem)
        else:
            before, after = (clean(name, 40) for name in found.names)
            self._subject(Text(f"{before} → {after}{_unit(found.table)}", style="bold"))
            self.query_one("#rows", PagedTable).show_rows([self._cells(row) for row in found.rows])
            self._describe(self.query_one("#rows", PagedTable).cursor)
        if focused:
            self.query_one(f"#{switcher.current}", PagedTable).focus()

    def command(self, selection: Selection) -> tuple[str, ...]:
        """``diff``, with the other run first."""
        return ("runs",) if self.other is None else ("diff", "--by", self.by, str(self.other))

    def action_by(self) -> None:
        """Compare by the next of layer, operator, type and phase."""
        self.query_one(Choices).next()

    def action_choose(self) -> None:
        """Back to the list of runs."""
        self.other = None
        self.refresh_data()

    def action_only(self) -> None:
        """Make the entry under the cursor the query of all panes."""
        from deepseek_prof.analysis.per_step import OUTSIDE_OPERATORS

        row = self._row(self.query_one("#rows", PagedTable).cursor)
        if row is not None and row.row == "entry" and row.name not in (OUTSIDE_LAYERS, OUTSIDE_OPERATORS):
            self.post_message(self.Filter(f"{self.by}:{quoted(row.name)}"))

    @on(Choices.Picked)
    def _picked(self, event: Choices.Picked) -> None:
        event.stop()
        self.by = event.label
        self.refresh_data()

    @on(PagedTable.Chosen)
    def _chosen(self, event: PagedTable.Chosen) -> None:
        event.stop()
        if event.table.id == "runs" and event.row < len(self._found.others):
            self.other = self._found.others[event.row].path
            self.refresh_data()

    @on(PagedTable.Highlighted)
    def _highlighted(self, event: PagedTable.Highlighted) -> None:
        event.stop()
        if event.table.id == "rows":
            self._describe(event.row)

    def _row(self, place: int) -> DiffRow | None:
        return self._found.rows[place] if place < len(self._found.rows) else None

    def _describe(self, place: int) -> None:
        """What the table has no room for: the interval, the calls, and what holds for all rows."""
        row, table = self._row(place), self._found.table
        if row is None or table is None:
            return
        parts = [clean(row.name), row.verdict]
        if row.low_ns is not None and row.high_ns is not None:
            parts.append(f"95 % interval {_signed(row.low_ns)} … {_signed(row.high_ns)}")
        if row.before_calls is not None and row.after_calls is not None:
            parts.append(f"calls a step {count(row.before_calls)} → {count(row.after_calls)}")
        self._detail("\n".join((" · ".join(parts), *table.notes)))

    def _subject(self, text: Text) -> None:
        text.no_wrap, text.overflow = True, "ellipsis"
        self.query_one("#subject", Static).update(text)

    def _detail(self, text: str) -> None:
        self.query_one("#detail", Static).update(Text("\n".join(clean(line, 400) for line in text.splitlines())))

    def _cells(self, row: DiffRow) -> Row:
        theme = self.app.current_theme
        colours = {"slower": theme.error, "added": theme.error, "faster": theme.success, "removed": theme.success}
        style = Style(color=colours[row.verdict]) if row.verdict in colours else Style(dim=True)
        name = {"total": "all spans", "step": "the step itself"}.get(row.row, clean(row.name))
        return (
            name if row.row == "entry" else (name, Style(bold=True)),
            "" if row.before_ns is None else duration(row.before_ns),
            "" if row.after_ns is None else duration(row.after_ns),
            (_signed(row.delta_ns), style),
            "" if row.ratio is None else f"{row.ratio:.2f}×",
            (f"{_SIGNS[row.verdict]} {row.verdict}", style),
        )


def _others(path: Path) -> tuple[RunEntry, ...]:
    """The runs beside the run at ``path`` and in the usual folder, the newest first, without itself."""
    own = path.resolve()
    found = {entry.path.resolve(): entry for root in (own.parent, default_root()) for entry in list_runs(root)}
    found.pop(own, None)
    return tuple(sorted(found.values(), key=lambda entry: (entry.created_ns, entry.path.name), reverse=True))


def _run_cells(entry: RunEntry) -> Row:
    return (clean(entry.name), clean(entry.script), clean(entry.status), count(entry.spans))


def _unit(table: DiffTable) -> str:
    if table.step is None:
        return ", whole recordings"
    return f", {table.statistic} of {count(table.total.before_steps)} and {counted(table.total.after_steps, 'step')}"


def _signed(ns: float) -> str:
    return f"{'-' if ns < 0 else '+'}{duration(abs(ns))}" if ns else "0"
