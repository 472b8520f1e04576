"""HTML: a report in one self-contained page, to read in a browser and to attach to a pull request."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from deepseek_prof.exporters.registry import Selection
    from deepseek_prof.trace.run import Run


class HtmlExporter:
    """What ``deepseek-prof report`` says, with charts, whole tables and flame graphs, in at most some 1.5 MB."""

    summary = "one self-contained page: report, charts, tables, flame graphs"
    suffix = ".html"

    def write(self, run: Run, selection: Selection, file: BinaryIO) -> None:
        """Write the page. A run without operators has one too; a query that selects nothing has none.

        Raises:
            UsageError: the query selects nothing.
            RunDamagedError: a file of the run is damaged.
        """
        from deepseek_prof.analysis.summary import summarize
        from deepseek_prof.exporters.html_report.page import render

        summary = summarize(run, selection.condition)
        if selection.condition is not None and not summary.span_count:
            raise selection.empty(run)
        file.write(render(run, summary, selection).encode())
