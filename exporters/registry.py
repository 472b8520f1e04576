"""What an exporter is, and finding the installed ones: entry points of the group ``deepseek_prof.exporters``."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, BinaryIO, Protocol

from deepseek_prof.errors import UsageError

if TYPE_CHECKING:
    from deepseek_prof.trace.run import Condition, Run

GROUP = "deepseek_prof.exporters"


@dataclass(frozen=True)
class Selection:
    """What of a run is exported: ``query`` is the text that ``condition`` was compiled from; None and "": all."""

    condition: Condition | None = None
    query: str = ""

    def empty(self, run: Run) -> UsageError:
        """The error of an exporter that finds nothing selected."""
        found = f"no span matches {self.query!r}" if self.query else "it holds no spans"
        return UsageError(f"There is nothing to export of {run.name}: {found}.")


class Exporter(Protocol):
    """A format. Registered as an entry point, whose name is what ``deepseek-prof export`` takes."""

    summary: str
    """One line for the help: what reads the format."""
    suffix: str
    """Of files of this format, such as ``.json.gz``; a run's name goes before it where no file is named."""

    def write(self, run: Run, selection: Selection, file: BinaryIO) -> None:
        """Write what is selected of ``run``; memory stays bounded, whatever the run's size.

        Uncompressed: ``deepseek-prof export`` compresses what goes to a file whose name ends in ``.gz``. ``file`` may
        be a pipe, which can neither seek nor tell.

        Raises:
            UsageError: the run, or what is selected of it, has nothing that this format can hold.
            RunDamagedError: a file of the run is damaged.
        """


def available() -> dict[str, EntryPoint]:
    """The installed exporters by name, in the order of their names; nothing is imported."""
    return {found.name: found for found in sorted(entry_points(group=GROUP), key=lambda each: each.name)}


def load(name: str) -> Exporter:
    """The exporter of that name.

    Raises:
        UsageError: there is none.
    """
    found = available()
    if name not in found:
        raise UsageError(f"No format {name!r}. There are: {', '.join(found)}.")
    exporter: Exporter = found[name].load()()
    return exporter
