"""One operator in detail: the layers that call it, its shapes, its slowest calls; leads to layer and timeline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Footer, Static

from deepseek_prof.analysis.operator_calls import Call, Caller, OperatorCalls, operator_calls
from deepseek_prof.errors import DeepseekProfError
from deepseek_prof.text import clean, count, counted, duration, percent
from deepseek_prof.tui.data import RunSession, Selection
from deepseek_prof.tui.widgets.paged_table import Column, PagedTable
from deepseek_prof.tui.worker import run_latest

_CALLERS = (
    Column("layer that calls it", align="left", min_width=24),
    Column("phase", 9, "left", drop=1),
    Column("self", 9),
    Column("share", 7),
    Column("total", 9, drop=2),
    Column("calls", 9, drop=1),
)
_CALLS = (
    Column("slowest calls: layer", align="left", min_width=24),
    Column("phase", 9, "left", drop=1),
    Column("step", 8),
    Column("took", 9),
    Column("self", 9, drop=2),
)
_SHAPES = (
    Column("shapes", align="left", min_width=24),
    Column("self", 9),
    Column("calls", 9),
    Column("mean", 9),
)


@dataclass(frozen=True)
class ToLayer:
    """Filter all panes to one layer and this operator."""

    layer: str
    operator: str


@dataclass(frozen=True)
class ToCall:
    """Show a call on the timeline."""

    call: Call


class OperatorScreen(ModalScreen[ToLayer | ToCall | None]):
    """The detail of an operator. Its result says where to go on; None: back."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "app.focus_next", "Next table", show=True),
        Binding("t", "timeline", "Slowest on the timeline"),
        Binding("escape,q", "back", "Back"),
    ]
    DEFAULT_CSS = """
    OperatorScreen { align: center middle; }
    OperatorScreen > Vertical { width: 96%; height: 92%; background: $surface; border: round $primary; }
    OperatorScreen #subject { height: auto; max-height: 3; padding: 0 1; }
    OperatorScreen #shapes { max-height: 30%; }
    OperatorScreen #shapes.none { display: none; }
    """

    def __init__(self, session: RunSession, selection: Selection, operator: str) -> None:
        super().__init__()
        self._session = session
        self._selection = selection
        self._operator = operator
        self._found: OperatorCalls | None = None

    def compose(self) -> ComposeResult:
        """Two tables, and a third where shapes were recorded."""
        with Vertical():
            yield Static(Text(f"{clean(self._operator)}  …", style="bold"), id="subject")
            yield PagedTable(_CALLERS, id="callers", empty="…")
            yield PagedTable(_CALLS, id="calls", empty="…")
            yield PagedTable(_SHAPES, id="shapes")
        yield Footer()

    def on_mount(self) -> None:
        """Read beside the first drawing."""
        self.query_one("#shapes").add_class("none")
        self.query_one("#callers").focus()
        run_latest(self, "read", self._load)

    async def _load(self) -> None:
        try:
            found = await self._session.ask(lambda run: operator_calls(run, self._operator, self._selection.condition))
        except DeepseekProfError as error:
            self.query_one("#subject", Static).update(Text(clean(str(error), 400)))
            return
        self._found = found
        self._draw(found)

    def _draw(self, found: OperatorCalls) -> None:
        whole_ns = sum(each.self_ns for each in found.callers)
        calls = sum(each.count for each in found.callers)
        subject = Text.assemble((clean(found.name), "bold"), f"  {duration(whole_ns)} in {counted(calls, 'call')}")
        if not found.shapes:
            subject.append("  (no shapes: record with 'deepseek-prof run --record full')", "dim")
        self.query_one("#subject", Static).update(subject)
        callers, slowest, shapes = (self.query_one(name, PagedTable) for name in ("#callers", "#calls", "#shapes"))
        callers.empty = slowest.empty = "Nothing selected."
        callers.show_rows([_caller(each, whole_ns) for each in found.callers])
        slowest.show_rows([_call(each) for each in found.slowest])
        shapes.set_class(not found.shapes, "none")
        shapes.show_rows(
            [
                (clean(each.shapes), duration(each.self_ns), count(each.count), duration(each.self_ns / each.count))
                for each in found.shapes
            ]
        )

    def on_paged_table_chosen(self, event: PagedTable.Chosen) -> None:
        """A layer filters; a call leads to the timeline."""
        event.stop()
        if self._found is None:
            return
        if event.table.id == "callers":
            layer = self._found.callers[event.row].layer
            self.dismiss(ToLayer(layer, self._operator))
        elif event.table.id == "calls":
            self.dismiss(ToCall(self._found.slowest[event.row]))

    def action_timeline(self) -> None:
        """To the call under the cursor, or the slowest one."""
        if self._found is not None and self._found.slowest:
            self.dismiss(ToCall(self._found.slowest[self.query_one("#calls", PagedTable).cursor]))

    def action_back(self) -> None:
        """Back to the table of operators."""
        self.dismiss(None)


def _caller(each: Caller, whole_ns: int) -> tuple[str, ...]:
    return (
        clean(each.layer),
        each.phase,
        duration(each.self_ns),
        percent(each.self_ns / (whole_ns or 1)),
        duration(each.total_ns),
        count(each.count),
    )


def _call(each: Call) -> tuple[str, ...]:
    step = "" if each.step is None else str(each.step)
    return (clean(each.layer or "(outside layers)"), each.phase, step, duration(each.dur_ns), duration(each.self_ns))
