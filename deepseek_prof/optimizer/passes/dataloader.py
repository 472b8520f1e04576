"""Pass ``dataloader``: samples loaded by worker processes, ahead of the step that needs them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepseek_prof.optimizer.passes.threads import cores
from deepseek_prof.optimizer.protocol import Applied, Callee, Captured, Profile


@dataclass(frozen=True)
class DataLoading:
    """Arguments of ``torch.utils.data.DataLoader``; ``pin_memory`` has an effect only where there is a GPU."""

    num_workers: int = 2
    prefetch_factor: int = 2
    persistent_workers: bool = True
    pin_memory: bool = True


class DataLoadingHandler:
    """Changes the arguments with which the program makes its loaders."""

    name = "dataloader"
    order = 90
    lossy = True
    """In workers, random changes of samples draw other numbers. Samples and the order of the first epoch stay the same;
    workers that persist draw a number less an epoch, so that a later order is another one."""
    modes = ("training",)

    def __init__(self) -> None:
        self._changed = 0
        self._left: list[str] = []
        self._started = 0

    def configs(self) -> Sequence[DataLoading]:
        """One worker, two, four and eight, as far as there are cores."""
        return tuple(DataLoading(number) for number in (1, 2, 4, 8) if number <= cores())

    def predicted_gain(self, config: DataLoading, profile: Profile) -> float:
        """The longer of the two that then go on at once: the step without its wait, and the workers' share of it."""
        waits = min(profile.phase_shares.get("data", 0.0), 0.95)
        return 1 / max(1 - waits, waits / config.num_workers)

    def inject(self, config: DataLoading) -> None:
        """Wrap the loader's constructor, and count the iterators that start workers."""
        import torch
        from torch.utils.data import DataLoader

        home: Any = DataLoader
        construct, iterate = home.__init__, home._get_iterator

        parameters = inspect.signature(construct)

        @functools.wraps(construct)
        def constructed(*args: Any, **kwargs: Any) -> None:
            given = parameters.bind(*args, **kwargs)
            reason = _why_not(given.arguments, config)
            if reason is None:
                given.arguments.update(
                    num_workers=config.num_workers,
                    prefetch_factor=config.prefetch_factor,
                    persistent_workers=config.persistent_workers,
                    pin_memory=given.arguments.get("pin_memory") or (config.pin_memory and torch.cuda.is_available()),
                )
                self._changed += 1
            else:
                self._left.append(reason)
            construct(*given.args, **given.kwargs)

        @functools.wraps(iterate)
        def iterated(loader: Any) -> Any:
            self._started += loader.num_workers == config.num_workers
            return iterate(loader)

        home.__init__ = constructed
        home._get_iterator = iterated

    def refusal(self, config: DataLoading, captured: Captured) -> str | None:
        """Where no loader was changed: why; None where it was."""
        if self._changed:
            return None if self._started else "the program made loaders and took nothing from them"
        return "; ".join(dict.fromkeys(self._left)) or "the program makes no DataLoader"

    def apply(self, config: DataLoading, callee: Callee, captured: Captured) -> Applied:
        """Leaves the module as it is."""

        def fired() -> str | None:
            if not self._changed or not self._started:
                return None
            return f"{self._changed} data loaders with {config.num_workers} workers, {self._started} times started"

        return Applied(callee, fired, ("random changes of samples come from the workers' own random numbers",))

    def code(self, config: DataLoading) -> str:
        """A loader of the same batches in the same order in place of ``loader``."""
        pinned = "torch.cuda.is_available()" if config.pin_memory else "False"
        return (
            "from torch.utils.data import DataLoader, IterableDataset\n\n"
            "if isinstance(loader.dataset, IterableDataset):\n"
            '    raise TypeError("every worker would read the whole of an IterableDataset")\n'
            'batches = {"batch_sampler": loader.batch_sampler}\n'
            "if loader.batch_sampler is None:\n"
            '    batches = {"sampler": loader.sampler, "batch_size": None}\n'
            "loader = DataLoader(\n"
            "    loader.dataset,\n"
            "    **batches,\n"
            "    collate_fn=loader.collate_fn,\n"
            "    timeout=loader.timeout,\n"
            "    worker_init_fn=loader.worker_init_fn,\n"
            "    multiprocessing_context=loader.multiprocessing_context,\n"
            "    generator=loader.generator,\n"
            f"    num_workers={config.num_workers},\n"
            f"    prefetch_factor={config.prefetch_factor},\n"
            f"    persistent_workers={config.persistent_workers},\n"
            f"    pin_memory=loader.pin_memory or {pinned},\n"
            ")"
        )


def _why_not(arguments: Mapping[str, Any], config: DataLoading) -> str | None:
    """Why a loader with these arguments is left as the program makes it, or None."""
    from torch.utils.data import IterableDataset

    if isinstance(arguments.get("dataset"), IterableDataset):
        return "every worker would read the whole of an IterableDataset"
    if arguments.get("num_workers", 0) == config.num_workers:
        return f"the program has {config.num_workers} workers itself"
    return None
