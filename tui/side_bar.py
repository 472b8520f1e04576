"""What stands beside the panes: facets above, the layer tree below; and the count of what is selected."""

from __future__ import annotations

from dataclasses import dataclass

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message

from deepseek_prof.analysis.facets import Facets, count_events, facets
from deepseek_prof.analysis.layer_tree import LayerNode, layer_tree
from deepseek_prof.errors import DeepseekProfError
from deepseek_prof.trace.run import Run
from deepseek_prof.tui.data import RunSession, Selection
from deepseek_prof.tui.facet_panel import FacetPanel
from deepseek_prof.tui.layer_browser import LayerBrowser
from deepseek_prof.tui.query_edit import toggled, with_globs
from deepseek_prof.tui.worker import run_latest

WIDE = 120
"""Columns of a window that has room for both."""


class SideBar(Vertical):
    """Facets and layers of the selection. It reads also while it is hidden: what is selected is counted here."""

    DEFAULT_CSS = """
    SideBar { width: 34; border-right: vkey $panel; }
    SideBar FacetPanel { height: 60%; }
    SideBar LayerBrowser { height: 40%; }
    """

    @dataclass
    class Filter(Message):
        """A facet or a layer was chosen: this is to become the query of all panes."""

        query: str

    @dataclass
    class Counted(Message):
        """How much is selected."""

        spans: int
        events: int

    @dataclass
    class Failed(Message):
        """The run cannot be read any more."""

        error: DeepseekProfError

    def __init__(self) -> None:
        super().__init__(id="side")
        self._selection: Selection | None = None
        self._wanted: bool | None = None
        self.display = False

    @property
    def _query(self) -> str:
        return "" if self._selection is None else self._selection.query

    def compose(self) -> ComposeResult:
        """Facets over layers."""
        yield FacetPanel()
        yield LayerBrowser()

    def fit(self, columns: int) -> None:
        """Be seen where the window is wide enough, unless the user has decided."""
        self.display = columns >= WIDE if self._wanted is None else self._wanted

    def toggle(self) -> bool:
        """Come or go, as the user has decided; whether it is seen now."""
        self._wanted = not self.display
        self.display = self._wanted
        return self._wanted

    def show(self, session: RunSession, selection: Selection) -> None:
        """Count and show ``selection``, unless that is done."""
        if selection is self._selection:
            return
        self._selection = selection
        run_latest(self, "read", self._load, session, selection)

    async def _load(self, session: RunSession, selection: Selection) -> None:
        def read(run: Run) -> tuple[Facets, tuple[LayerNode, ...]]:
            # Bytes are not shown here, and the layers' condition is the facets': the second answer costs little.
            return facets(run, selection.condition), layer_tree(run, selection.condition, with_bytes=False)

        try:
            found, layers = await session.ask(read)
            self.query_one(FacetPanel).show(found, selection.query)
            self.query_one(LayerBrowser).show(layers)
            self.post_message(self.Counted(found.spans, 0))
            events = await session.ask(lambda run: count_events(run, selection.events), later=True)
            self.post_message(self.Counted(found.spans, events))
        except DeepseekProfError as error:
            self.post_message(self.Failed(error))

    @on(FacetPanel.Toggled)
    def _toggled(self, event: FacetPanel.Toggled) -> None:
        event.stop()
        self.post_message(self.Filter(toggled(self._query, event.field, event.value)))

    @on(LayerBrowser.Picked)
    def _picked(self, event: LayerBrowser.Picked) -> None:
        event.stop()
        self.post_message(self.Filter(with_globs(self._query, "layer", event.globs)))
