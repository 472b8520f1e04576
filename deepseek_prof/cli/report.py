"""``deepseek-prof report``: where the time of a run goes, why, and what to do about it."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from deepseek_prof.cli.arguments import QUERY_HELP, RUN_HELP, RUN_QUERY_HELP, compiled, open_run, split_run_and_query

if TYPE_CHECKING:
    from rich.console import Console

    from deepseek_prof.analysis.findings import Finding
    from deepseek_prof.analysis.summary import Summary
    from deepseek_prof.trace.run import Condition, Run


class ReportFormat(str, Enum):
    """Values of ``--format``."""

    text = "text"
    json = "json"


def report_command(
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[RUN] [QUERY]", help=RUN_QUERY_HELP)] = None,
    output_format: Annotated[ReportFormat, typer.Option("--format", help="How to write it.")] = ReportFormat.text,
    run: Annotated[str | None, typer.Option("--run", metavar="RUN", help=RUN_HELP)] = None,
    query: Annotated[str | None, typer.Option("--query", metavar="QUERY", help=QUERY_HELP)] = None,
) -> None:
    """Say what bounds a run, why, and what to try; then show steps, phases, operators, layers and findings.

    Warm-up steps are left out. With a query, the tables cover exactly what it selects.
    """
    path, query_text = split_run_and_query(arguments or [], run, query)
    condition = compiled(query_text)
    with open_run(path) as opened:
        if output_format is ReportFormat.json:
            _write_json(opened, condition)
            return
        from deepseek_prof.cli.rendering import OutputConsole

        render_report(opened, OutputConsole(), condition, query_text)


def render_report(run: Run, console: Console, condition: Condition | None = None, query: str = "") -> None:
    """Print the report on ``run`` to ``console``; ``query`` is the text of ``condition``.

    Raises:
        RunDamagedError: a file of the run is damaged.
    """
    from deepseek_prof.analysis.summary import summarize
    from deepseek_prof.cli.report_sections import print_report

    summary = summarize(run, condition)
    print_report(console, run, summary, _findings(run, summary, condition), query)


def _findings(run: Run, summary: Summary, condition: Condition | None) -> tuple[Finding, ...]:
    """Findings speak of whole runs: with a query there are none."""
    if condition is not None or not summary.span_count:
        return ()
    from deepseek_prof.analysis.findings import find

    return find(run, summary)


def _write_json(run: Run, condition: Condition | None) -> None:
    import json
    from dataclasses import asdict

    from deepseek_prof.analysis.metrics import metric_stats
    from deepseek_prof.analysis.quality import quality
    from deepseek_prof.analysis.summary import summarize
    from deepseek_prof.analysis.verdict import judge

    summary = summarize(run, condition)
    keys = ("id", "name", "script", "command", "status", "exit_code", "signal", "created_ns", "ended_ns", "warnings")
    content = {
        "run": {"path": str(run.path), **{key: run.info.get(key) for key in keys}},
        "verdict": asdict(judge(summary)) if condition is None else None,
        "summary": asdict(summary),
        "metrics": [asdict(each) for each in metric_stats(run)],
        "quality": [asdict(each) for each in quality(run)],
        "findings": [asdict(finding) for finding in _findings(run, summary, condition)],
    }
    print(json.dumps(content, indent=1))
