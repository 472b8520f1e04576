"""Overview: what bounds the run, its steps, phases, findings with what to do, memory, losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.events import Resize
from textual.widgets import Static

from deepseek_prof.analysis.aggregate import has_devices
from deepseek_prof.analysis.findings import Finding, find
from deepseek_prof.analysis.memory import held_memory
from deepseek_prof.analysis.metrics import is_business
from deepseek_prof.analysis.overview import Overview as Figures
from deepseek_prof.analysis.overview import overview
from deepseek_prof.analysis.series import Series, counters, metrics
from deepseek_prof.analysis.steps import percentile
from deepseek_prof.analysis.summary import Summary
from deepseek_prof.text import clean, count, duration, measured, percent
from deepseek_prof.trace.run import Run
from deepseek_prof.tui.charts import bar, histogram, sparkline
from deepseek_prof.tui.data import RunSession, Selection
from deepseek_prof.tui.palette import phase_colour
from deepseek_prof.tui.pane import Pane

_WIDE = 110
_HISTOGRAM_ROWS = 5
_SEVERITY = {"high": "bold red", "medium": "bold yellow", "low": "bold"}


@dataclass(frozen=True)
class _Slow:
    """What may come a moment after the rest."""

    findings: tuple[Finding, ...]
    counters: tuple[Series, ...]
    metrics: tuple[Series, ...]
    gpu: tuple[str, ...]


class Overview(Pane[Figures]):
    """Sections of text, side by side where there is room."""

    name_of = "overview"
    title = "Overview"
    DEFAULT_CSS = """
    Overview VerticalScroll { padding: 0 1; scrollbar-size-vertical: 1; }
    Overview Horizontal { height: auto; }
    Overview Static { width: 1fr; height: auto; }
    Overview #verdict { width: 100%; margin: 0 0 1 0; }
    Overview #right { display: none; margin: 0 0 0 3; }
    Overview.wide #right { display: block; }
    """

    def __init__(self, session: RunSession) -> None:
        super().__init__(session)
        self._figures: Figures | None = None
        self._slow: _Slow | None = None

    def compose(self) -> ComposeResult:
        """The sections."""
        with VerticalScroll():
            yield Static(id="verdict")
            with Horizontal():
                yield Static(id="left")
                yield Static(id="right")

    def read(self, run: Run, selection: Selection) -> Figures:
        """All but what :func:`_read_slow` reads."""
        return overview(run, selection.condition)

    def draw(self, found: Figures, selection: Selection) -> None:
        """All sections; findings a moment later."""
        self._figures = found
        self._redraw()
        summary = found.summary
        if summary is not None:
            self.read_later(lambda run: _read_slow(run, summary), self._show_slow)

    def _show_slow(self, found: _Slow) -> None:
        self._slow = found
        self._redraw()

    def on_resize(self, event: Resize) -> None:
        """Charts are as wide as there is room."""
        self._redraw()

    def _redraw(self) -> None:
        if self._figures is None:
            return
        wide = self.size.width >= _WIDE
        self.set_class(wide, "wide")
        width = (self.size.width - 5) // 2 if wide else self.size.width - 3
        width = max(20, width)
        self.query_one("#verdict", Static).update(_verdict(self._figures, recording=self.session.in_progress))
        steps, spread = _steps(self._figures, width), _spread(self._figures, width)
        phases, findings = self._phases(self._figures, width), _findings(self._figures, self._slow)
        series = _series(self._slow, width)
        gpu = _accelerators(self._slow)
        left = [steps, spread, gpu, series] if wide else [steps, phases, findings, spread, gpu, series]
        self.query_one("#left", Static).update(_stacked(left))
        self.query_one("#right", Static).update(_stacked([phases, findings] if wide else []))

    def _phases(self, figures: Figures, width: int) -> Text:
        if not figures.phases:
            return Text()
        text = _heading("Phases")
        dark = self.app.current_theme.dark
        for each in figures.phases:
            line = f"\n{each.phase:<10}{duration(each.ns):>10}{percent(each.share):>8}  "
            text.append(line)
            text.append(bar(each.share, max(5, width - len(line))), phase_colour(each.phase, dark=dark))
        return text


def _read_slow(run: Run, summary: Summary) -> _Slow:
    findings = find(run, summary) if summary.span_count else ()
    return _Slow(findings, (*held_memory(run), *counters(run)), metrics(run), _gpu(run))


def _stacked(sections: Sequence[Text]) -> Text:
    return Text("\n\n").join([section for section in sections if section.plain])


def _heading(title: str, note: str = "") -> Text:
    return Text.assemble((title, "bold underline"), (f"  {note}" if note else "", "dim"))


def _verdict(figures: Figures, *, recording: bool) -> Text:
    verdict = figures.verdict
    if recording and not figures.whole_ns:
        return Text.assemble(
            ("Nothing has been recorded yet.", "bold"),
            "\nThe program is being recorded: this fills as soon as its first operators have run.",
        )
    if verdict is None:
        share = figures.self_ns / (figures.whole_ns or 1)
        return Text.assemble(
            ("Selected: ", "bold"), f"{duration(figures.self_ns)} of self time, {percent(share)} of the run's."
        )
    return Text.assemble(
        (clean(verdict.headline, 400), "bold"),
        ("\nWhy   ", "dim"),
        clean(verdict.why, 400),
        ("\nNext  ", "dim"),
        clean(verdict.next, 400),
    )


def _steps(figures: Figures, width: int) -> Text:
    values = figures.steps.values
    if not values:
        nothing = figures.summary is not None and figures.summary.span_count
        return _heading("Steps", "none finished yet, or a program without optimizer steps") if nothing else Text()
    ordered = sorted(round(value) for value in values)
    whole = figures.summary is not None
    text = _heading("Steps" if whole else "Selected self time by step", f"{len(values):,} from first to last")
    text.append(f"\n{sparkline(values, width, floor=0.0)}", "cyan")
    text.append(
        f"\nmedian {duration(percentile(ordered, 0.5))} · p99 {duration(percentile(ordered, 0.99))} · "
        f"longest {duration(ordered[-1])}"
    )
    stats = figures.stats
    if stats is not None:
        text.append(f" (step {stats.slowest}) · {count(stats.per_second)} a second" if stats.per_second else "")
        if stats.warmup:
            text.append(f" · warm-up {stats.warmup}")
    return text


def _spread(figures: Figures, width: int) -> Text:
    """The histogram of the steps."""
    values = figures.steps.values
    if len(values) < _HISTOGRAM_ROWS:
        return Text()
    text = _heading("How long steps take")
    classes = histogram(values, _HISTOGRAM_ROWS)
    most = max((held for _, _, held in classes), default=0) or 1
    for low, high, held in classes:
        line = f"\n{duration(low):>8} –{duration(high):>8} {held:>8,} "
        text.append(line, "dim")
        text.append(bar(held / most, max(4, width - len(line))), "cyan")
    return text


def _findings(figures: Figures, slow: _Slow | None) -> Text:
    if figures.summary is None:
        return Text()
    if slow is None:
        return _heading("Findings", "being looked for …")
    if not slow.findings:
        return _heading("Findings", "none") if figures.summary.span_count else Text()
    text = _heading("Findings", f"{len(slow.findings)}, the largest first")
    for each in slow.findings:
        gain = f" · {each.gain_low * 100:.0f}–{each.gain_high * 100:.0f} % of the step" if each.gain_high else ""
        text.append(f"\n● {each.severity}", _SEVERITY[each.severity])
        text.append(f"{gain}  {clean(each.title, 300)}")
        text.append(f"\n  do: {clean(each.advice, 400)}", "italic")
    return text


def _gpu(run: Run) -> tuple[str, ...]:
    """What the accelerators' time went to; nothing for a run without any."""
    if not has_devices(run):
        return ()
    from deepseek_prof.analysis.gpu.overview import gpu_overview  # with numpy, which the first screen need not wait for
    from deepseek_prof.analysis.gpu.wording import gpu_lines

    found = gpu_overview(run)
    return () if found is None else gpu_lines(found)


def _accelerators(slow: _Slow | None) -> Text:
    if slow is None or not slow.gpu:
        return Text()
    return Text("\n").join([_heading("Accelerators"), *map(Text, slow.gpu)])


def _series(slow: _Slow | None, width: int) -> Text:
    if slow is None or not (slow.counters or slow.metrics):
        return Text()
    text = Text()
    business = tuple(each for each in slow.counters if is_business(each.name))
    machine = tuple(each for each in slow.counters if not is_business(each.name))
    sections = (("Throughput and latency", business), ("Machine", machine), ("Losses and metrics", slow.metrics))
    for title, found in sections:
        if not found:
            continue
        text.append_text(_heading(title) if not text.plain else Text.assemble("\n\n", _heading(title)))
        label_width = min(28, max(len(clean(each.name, 28)) for each in found))
        for each in found:
            figures = f"{measured(each.last, each.unit)}, most {measured(max(each.values), each.unit)}"
            text.append(f"\n{clean(each.name, label_width):<{label_width}} {figures:<26} ")
            text.append(sparkline(each.values, max(4, width - label_width - 28)), "cyan")
    return text
