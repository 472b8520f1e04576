"""The panes, one a file, in the order of their number keys; tui/app.py says how to add one."""

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
