"""Makes the page: everything that the template shows, and the template's assets put into it.

Whatever a program named is escaped by the template engine, and made visible by ``clean`` before. Scripts run only where
they are the very ones that we put in: the page names their digest as its policy.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from deepseek_prof.analysis.findings import find
from deepseek_prof.analysis.flame import Profile, all_profiles
from deepseek_prof.analysis.report_text import (
    PHASE_LABELS,
    device_lines,
    gain,
    notes,
    steps_per_second,
    window_notes,
)
from deepseek_prof.analysis.results import Summary
from deepseek_prof.analysis.steps import read_steps
from deepseek_prof.analysis.verdict import judge
from deepseek_prof.analysis.window import select
from deepseek_prof.errors import QueryError
from deepseek_prof.exporters.html_report.charts import memory_chart, step_chart
from deepseek_prof.exporters.html_report.colours import OTHER, PHASE_COLOURS, TYPE_COLOURS, legend
from deepseek_prof.exporters.html_report.facts import run_facts
from deepseek_prof.exporters.html_report.flame_data import flame_data
from deepseek_prof.exporters.html_report.tables import kernel_tables, layer_tables, operator_tables
from deepseek_prof.query import Table, compile_query
from deepseek_prof.text import clean, duration, percent
from deepseek_prof.trace.run import Condition, Run

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup

    from deepseek_prof.exporters.registry import Selection

_SCRIPTS = ("theme.js", "tables.js", "flame_tree.js", "flame.js")
_QUERY_LIMIT = 300


def render(run: Run, summary: Summary, selection: Selection) -> str:
    """The page; ``summary`` is that of what is selected. Verdict and findings speak of whole runs only.

    Raises:
        RunDamagedError: a file of the run is damaged.
    """
    whole = selection.condition is None
    steps = read_steps(run)
    profiles = _profiles(run, summary, selection) if summary.self_ns else ()
    return template("report.html").render(
        name=clean(run.name),
        script_name=clean(str(run.info.get("script") or "")),
        query=clean(selection.query, _QUERY_LIMIT),
        verdict=judge(summary) if whole else None,
        findings=find(run, summary) if whole and summary.span_count else None,
        gain=gain,
        figures=_figures(summary),
        facts=run_facts(run, summary),
        steps=summary.steps,
        ranks=summary.ranks,
        recorded=summary.span_count > 0,
        window_notes=window_notes(summary),
        step_chart=step_chart(steps, summary.steps) if summary.steps else None,
        memory_chart=memory_chart(run),
        phases=_phases(summary),
        phases_note=_phases_note(summary),
        layer_tables=layer_tables(summary),
        operator_tables=operator_tables(summary),
        device_lines=device_lines(summary),
        kernel_tables=kernel_tables(summary),
        notes=notes(run, summary),
        flame=flame_data(profiles, summary.per_step) if profiles else None,
        legend=legend(),
        **assets(*_SCRIPTS),
    )


@dataclass(frozen=True)
class _Phase:
    label: str
    colour: str
    share: float
    percent: str
    time: str


@dataclass(frozen=True)
class _Steady:
    """The spans that a summary is taken over, as a condition."""

    sql: str
    params: tuple[Any, ...]


def _profiles(run: Run, summary: Summary, selection: Selection) -> tuple[Profile, ...]:
    """Flame graphs of the very spans that the tables are taken over."""
    if selection.condition is not None:
        samples = _on_samples(selection.query)
        return all_profiles(run, selection.condition, samples, python=samples is not None)
    if summary.steps is None:
        return all_profiles(run)
    evicted = summary.window.evicted_before > 0
    chosen = select(run, read_steps(run), summary.steps.warmup, evicted=evicted)
    steady = _Steady(chosen.where, chosen.params)
    return all_profiles(run, steady, steady)


def _on_samples(query: str) -> Condition | None:
    """The query as a condition on samples; None where it asks for what they do not have, as ``dur>1ms`` does."""
    try:
        return compile_query(query, Table.SAMPLES)
    except QueryError:
        return None


def _figures(summary: Summary) -> tuple[tuple[str, str], ...]:
    """The few figures to see at a glance."""
    found: list[tuple[str, str]] = []
    steps = summary.steps
    if steps is not None and steps.count == 1:
        found.append(("one step", duration(steps.median_ns)))
    elif steps is not None:
        found += [
            ("median step", duration(steps.median_ns)),
            ("p90", duration(steps.p90_ns)),
            ("p99", duration(steps.p99_ns)),
            ("longest", duration(steps.max_ns)),
            ("steps a second" + (" and rank" if summary.ranks > 1 else ""), steps_per_second(summary)),
        ]
    elif summary.span_count:
        found.append(("recorded", duration(summary.wall_ns)))
    if summary.data_wait is not None and not summary.filtered:
        found.append(("data wait", percent(summary.data_wait.share)))
    if summary.overhead is not None:
        found.append(("profiler's own cost", percent(summary.overhead.share)))
    return tuple(found)


def _phases(summary: Summary) -> tuple[_Phase, ...]:
    return tuple(
        _Phase(
            PHASE_LABELS[each.phase],
            PHASE_COLOURS[each.phase],
            round(100 * each.share, 3),
            percent(each.share),
            duration(each.ns / summary.per_step),
        )
        for each in summary.phases
    )


def _phases_note(summary: Summary) -> str:
    per_step = " per step" if summary.window.step_count else ""
    if summary.filtered:
        return f"of what the query selects{',' if per_step else ''}{per_step}"
    return f"of {duration(summary.wall_ns / summary.per_step)}{per_step}"


def _sentence(text: str, limit: int) -> Markup:
    """A sentence of ours, which may hold names of the program; what stands between backticks is code."""
    from markupsafe import Markup, escape

    parts = clean(text, limit).split("`")
    if len(parts) % 2 == 0:
        return escape(clean(text, limit))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else escape(part) for place, part in enumerate(parts)
    )


@cache
def template(name: str) -> jinja2.Template:
    """A page's template, with the macro for tables at hand."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["sentence"] = _sentence
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return environment.from_string(_asset("figures_table.html") + _asset(name))


def assets(*scripts: str) -> dict[str, Any]:
    """What every page's template puts in: the style, the scripts, their digest, and the colours of types."""
    script = "\n".join(_asset(name) for name in scripts)
    return {
        "style": _asset("report.css"),
        "script": script,
        "script_digest": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "colours": {**TYPE_COLOURS, **{f"phase:{phase}": colour for phase, colour in PHASE_COLOURS.items()}},
        "other_colour": OTHER,
    }


def _asset(name: str) -> str:
    return (files("deepseek_prof.exporters.html_report") / name).read_text(encoding="utf-8")
