"""The pane Timeline: threads and streams of the chosen steps, or of a usual one, as time went by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static

from deepseek_prof.analysis.timeline import timelines
from deepseek_prof.errors import UsageError
from deepseek_prof.text import clean, duration
from deepseek_prof.trace.run import Run
from deepseek_prof.tui.data import RunSession, Selection
from deepseek_prof.tui.frames import frame_colour
from deepseek_prof.tui.pane import Pane

if TYPE_CHECKING:  # its module brings numpy, which the first screen need not wait for
    from deepseek_prof.tui.widgets.timeline_chart import TimelineChart
    from deepseek_prof.tui.widgets.timeline_layout import Chart
    from deepseek_prof.tui.widgets.timeline_spots import Spot

_HINT = "a d pan · [ ] steps"
"""Keys that the footer has no room for."""


@dataclass(frozen=True)
class Shown:
    """The chart, and when it begins; where there is none, ``problem`` says why."""

    chart: Chart | None = None
    step: int | None = None
    """The step, where the query asks for none."""
    began_ns: int = 0
    """Since the Unix epoch."""
    problem: str = ""


class Timeline(Pane[Shown]):
    """The chart, and what is pointed at below it."""

    name_of = "timeline"
    title = "Timeline"
    short_title = "Time"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left_square_bracket", "step(-1)", "Step before", show=False),
        Binding("right_square_bracket", "step(1)", "Step after", show=False),
    ]
    DEFAULT_CSS = """
    Timeline #subject { height: 1; color: $text-muted; }
    Timeline #detail { height: 2; background: $panel; }
    """

    def compose(self) -> ComposeResult:
        """What is shown, chart, details."""
        from deepseek_prof.tui.widgets.timeline_chart import TimelineChart

        yield Static(id="subject")
        yield TimelineChart(lambda frame: frame_colour(frame, dark=self.app.current_theme.dark))
        yield Static(id="detail")

    def __init__(self, session: RunSession) -> None:
        super().__init__(session)
        self._wanted: tuple[int, int] | None = None
        self._step: int | None = None
        """What is shown where the query asks for no step: it stays while a run in progress goes on."""
        self._shown = Shown()

    def show_call(self, start_ns: int, dur_ns: int, step: int | None) -> None:
        """Go to a span, once drawn: its start since the Unix epoch, its length, and its step."""
        self._wanted = (start_ns, dur_ns)
        self._step = step
        self.refresh_data()

    def read(self, run: Run, selection: Selection) -> Shown:
        """The chart of the selection."""
        from deepseek_prof.tui.widgets.timeline_layout import chart

        try:
            found = timelines(run, selection.condition, step=self._step)
        except UsageError as error:
            return Shown(problem=str(error))
        return Shown(chart(found), found[0].step, found[0].began_ns)

    def draw(self, found: Shown, selection: Selection) -> None:
        """Another chart; the same time again keeps the place that is looked at."""
        widget = self._chart
        if found.chart is None:
            self.query_one("#subject", Static).update("")
            widget.show_message(found.problem)
        else:
            self.query_one("#subject", Static).update(_subject(found.chart, found.step))
            widget.show(found.chart, keep=found.began_ns == self._shown.began_ns)
        self._shown = found
        if found.step is not None:
            self._step = found.step
        if self._wanted is not None and found.chart is not None:
            start_ns, dur_ns = self._wanted
            self._wanted = None
            widget.look_at(start_ns - found.began_ns, start_ns - found.began_ns + dur_ns)

    @property
    def _chart(self) -> TimelineChart:
        from deepseek_prof.tui.widgets.timeline_chart import TimelineChart

        return self.query_one(TimelineChart)

    def action_step(self, by: int) -> None:
        """The step before or behind, where the query asks for none."""
        if self._step is not None:
            self._step = max(0, self._step + by)
            self.refresh_data()

    def command(self, selection: Selection) -> tuple[str, ...]:
        """``deepseek-prof flame`` opens the same timeline in the browser."""
        return ("flame", "--view", "timeline")

    def on_timeline_chart_pointed(self, event: TimelineChart.Pointed) -> None:
        """Tell what is pointed at."""
        event.stop()
        told = [] if event.spot is None else list(_told(event.spot))
        self.query_one("#detail", Static).update(Text("\n").join(told))


def _subject(shown: Chart, step: int | None) -> Text:
    prefix = "" if step is None else f"step {step}, "
    return _line(f"{prefix}{duration(shown.length_ns)} · threads and streams: {len(shown.tracks)} · {_HINT}")


def _told(spot: Spot) -> Iterator[Text]:
    """Two lines on a span or a gap: what it is, then where."""
    around = spot.track.around(spot.lane, (spot.start_ns + spot.end_ns) // 2)
    length = duration(spot.end_ns - spot.start_ns)
    if spot.frame is None:
        yield _line(f"nothing recorded for {length}", style="bold")
    else:
        kind = spot.frame.type or spot.frame.kind
        yield _line(f"{clean(spot.frame.name)} ({kind}), {length}", style="bold")
    inside = "".join(f" in {clean(frame.name)}" for frame in reversed(around))
    yield _line(f"from {duration(spot.start_ns)}{inside} · {clean(spot.track.name)}")


def _line(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")
