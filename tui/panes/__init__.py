"""The panes, one a file, in the order of their number keys.

To add a pane, write one file here:

1. Subclass :class:`deepseek_prof.tui.pane.Pane`; set ``name_of`` (``"flame"``) and ``title`` (``"Flame"``).
2. ``compose`` yields its widgets, as in any Textual widget.
3. ``read(run, selection)`` runs in a thread and returns the figures: it calls functions of ``analysis`` with
   ``selection.condition`` (for spans; None is everything) or ``selection.events`` (for log records), and touches no
   widget. It is interrupted when the selection changes, so it needs no care for stale answers.
4. ``draw(found, selection)`` runs in the app's thread and puts the figures into the widgets.
5. ``command(selection)`` gives the command line that says the same; ``y`` copies it.
6. Name the class in ``PANES`` below: its place there is its number key.

A pane asks for more with ``await self.session.ask(question)`` in a worker; with ``later=True`` where nobody waits. It
changes the filter with ``self.post_message(self.Filter(query))``, and leads to another pane with
``self.app.open_pane("timeline")``. Bindings of the pane appear in the footer, briefly (it has 80 columns), in
the help (``?``), where the ``tooltip`` of a binding may say more, and must stand in the table of docs/tui.md. Styles go
to ``tui/styles/<pane>.tcss`` or the class's ``DEFAULT_CSS``. Names from programs are data:
``deepseek_prof.text.clean`` and ``rich.text.Text``, never markup. ``type_colour`` of ``tui/palette.py`` has the colour
of an operator type. A pane that another one leads to with more than a query has a method of its own, as
``show_call`` of the timeline; :meth:`ProfilerApp.open_pane` returns the pane for that.
"""

from __future__ import annotations

from typing import Any

from deepseek_prof.tui.pane import Pane
from deepseek_prof.tui.panes.compare import Compare
from deepseek_prof.tui.panes.flame import Flame
from deepseek_prof.tui.panes.layers import Layers
from deepseek_prof.tui.panes.logs import Logs
from deepseek_prof.tui.panes.operators import Operators
from deepseek_prof.tui.panes.output import Output
from deepseek_prof.tui.panes.overview import Overview
from deepseek_prof.tui.panes.python import Python
from deepseek_prof.tui.panes.timeline import Timeline

PANES: tuple[type[Pane[Any]], ...] = (Overview, Operators, Layers, Flame, Timeline, Logs, Compare, Python, Output)
