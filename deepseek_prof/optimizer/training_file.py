"""The hand-over of a training in a candidate's process: what the file makes of the program, in place of passes.

Standard library and torch only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from torch.utils.data import DataLoader

from deepseek_prof.optimizer.protocol import Applied, Callee, Captured, Profile
from deepseek_prof.optimizer.python_file import imported_file

WITH_WORKERS = "with_workers"
"""The file's function for loaders, where it has one."""


@dataclass(frozen=True)
class AppliedFile:
    """``path`` of the file; ``lossy``: whether its passes may change results."""

    path: str
    lossy: bool


class FileHandler:
    """Calls the functions of the file where a user would: on each loader, and on the model and its optimizers."""

    name = "file"
    order = 0
    lossy = False
    modes: Sequence[str] = ("training",)

    def configs(self) -> Sequence[AppliedFile]:
        """None: a file is made of passes that were measured."""
        return ()

    def predicted_gain(self, config: AppliedFile, profile: Profile) -> float:
        """Not predicted."""
        return 1.0

    def refusal(self, config: AppliedFile, captured: Captured) -> str | None:
        """Refuses nothing: what the file cannot do it raises."""
        return None

    def inject(self, config: AppliedFile) -> None:
        """Let loaders of the program be iterated as those that the file makes of them."""
        replace = getattr(imported_file(config.path), WITH_WORKERS, None)
        if replace is None:
            return
        home: Any = DataLoader
        iterate = home.__iter__
        replaced: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
        ours: list[Any] = []

        def iterated(loader: Any) -> Any:
            if not any(loader is each for each in ours) and loader not in replaced:
                replaced[loader] = replace(loader)
                ours.append(replaced[loader])
            return iterate(replaced.get(loader, loader))

        home.__iter__ = iterated

    def apply(self, config: AppliedFile, callee: Callee, captured: Captured) -> Applied:
        """What the function ``apply`` of the file makes. Raises what it raises."""
        made: Callee = imported_file(config.path).apply(captured.module, *captured.optimizers)
        return Applied(made, lambda: config.path, lossy=config.lossy)

    def code(self, config: AppliedFile) -> str:
        """It is code already."""
        return ""
