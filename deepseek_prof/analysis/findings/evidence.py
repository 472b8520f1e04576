"""What the rules look at: the steady steps, summed by calling context, on the threads that drive the steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from deepseek_prof.analysis.aggregate import ContextTree, context_sums, has_evicted
from deepseek_prof.analysis.results import Summary
from deepseek_prof.analysis.steps import Step, read_steps
from deepseek_prof.analysis.window import select
from deepseek_prof.trace.run import Run

_COMPILED = ("CompiledFunction", "CompiledFxGraph", "Torch-Compiled Region", "TorchDynamo", "triton_", "cpp_fused")
_CUDA_NAMES = ("aten::cudnn", "aten::_cudnn", "aten::miopen", "cuda", "nccl:")
_SIZE_LIMIT = ("size limit", "max-size")
_CUDA_KINDS = frozenset({"kernel", "memcpy", "memset", "runtime"})


@dataclass(frozen=True)
class Calls:
    """All calls of one context in the steady steps, summed over the driving threads of all ranks."""

    context_id: int
    parent_id: int | None
    kind: str
    name: str
    type: str
    layer: str | None
    phase: str
    count: int
    dur_ns: int
    self_ns: int

    @property
    def mean_self_ns(self) -> float:
        """Mean self time of a call."""
        return self.self_ns / self.count


@dataclass(frozen=True)
class Context:
    """A node of the calling context tree."""

    parent_id: int | None
    kind: str
    name: str
    type: str
    phase: str


@dataclass(frozen=True)
class Evidence:
    """Everything that the rules share. Rules are pure functions of it.

    ``step_times`` holds every finished step, warm-up included. ``wall_ns`` and ``steps`` are those of the summary's
    window: sums over ranks. ``processes`` are the entries of ``run.json`` whose threads drive steps; ``workers`` counts
    the other processes that ran nothing but data loading (which are no ``processes`` in a run without steps either).
    """

    run: Run
    summary: Summary
    step_times: tuple[Step, ...]
    calls: tuple[Calls, ...]
    contexts: dict[int, Context] = field(repr=False)
    processes: tuple[dict[str, Any], ...]
    workers: int
    uses_cuda: bool

    @property
    def reads_in_steps(self) -> bool:
        """Whether the recorder stopped the program between operators to read what it had recorded (Kineto does).

        Then the length of single steps and the time outside operators are the recorder's, not the program's.
        """
        return any(each.get("recorder") == "kineto" for each in self.processes)

    @property
    def incomplete(self) -> bool:
        """Whether spans of the window are missing, so that time without a span need not be time without an operator.

        Steps whose spans ``--max-size`` removed are not in the window.
        """
        settings = self.run.info.get("settings")
        layers_only = isinstance(settings, dict) and settings.get("record") == "layers"
        return layers_only or any(
            each.spans and not each.reason.startswith(_SIZE_LIMIT) for each in self.summary.dropped
        )

    @property
    def wall_ns(self) -> int:
        """Time of the window, added over ranks; at least 1."""
        return max(1, self.summary.wall_ns)

    @property
    def steps(self) -> int:
        """Steps in the window, of all ranks; 0 for a program without steps."""
        return self.summary.window.step_count

    def share(self, ns: float) -> float:
        """``ns`` as a fraction of the window's time, at most 1."""
        return min(1.0, ns / self.wall_ns)

    def per_step(self, count: float) -> float:
        """A sum over the window as a figure for one step."""
        return count / self.summary.per_step

    @cached_property
    def compiled(self) -> bool:
        """Whether the program ran anything that ``torch.compile`` made."""
        return any(mark in each.name for each in self.contexts.values() for mark in _COMPILED)

    @cached_property
    def children(self) -> dict[int | None, tuple[Calls, ...]]:
        """Calls by the context that they were made from."""
        found: dict[int | None, list[Calls]] = {}
        for each in self.calls:
            found.setdefault(each.parent_id, []).append(each)
        return {key: tuple(value) for key, value in found.items()}

    def above(self, calls: Calls) -> Iterator[Context]:
        """The contexts around a call, nearest first."""
        parent, seen = calls.parent_id, set[int]()
        while parent is not None and parent in self.contexts and parent not in seen:
            seen.add(parent)
            yield self.contexts[parent]
            parent = self.contexts[parent].parent_id

    def parent_name(self, calls: Calls) -> str:
        """The name of the context that a call was made from; empty at the top."""
        return next((each.name for each in self.above(calls)), "")

    def below(self, roots: Iterable[Calls]) -> Iterator[Calls]:
        """All calls made, directly or not, from ``roots``, without the roots."""
        pending, seen = [each.context_id for each in roots], set[int]()
        while pending:
            here = pending.pop()
            if here not in seen:
                seen.add(here)
                for child in self.children.get(here, ()):
                    yield child
                    pending.append(child.context_id)

    def outermost(self, chosen: Callable[[str], bool]) -> tuple[Calls, ...]:
        """Calls whose name is chosen and that stand in no other such call."""
        return tuple(
            each
            for each in self.calls
            if chosen(each.name) and not any(chosen(around.name) for around in self.above(each))
        )


def gather(run: Run, summary: Summary) -> Evidence:
    """Sum the steady steps of ``run`` once, for all rules.

    Raises:
        RunDamagedError: a file of the run turned out to be damaged.
    """
    nodes = {
        row[0]: row[1:]
        for row in run.rows("SELECT context_id, parent_id, kind, name, type, layer, phase FROM contexts")
    }
    steps = read_steps(run)
    warmup = summary.steps.warmup if summary.steps else 0
    window = select(run, steps, warmup, evicted=has_evicted(run))
    driving = {(each.rank, each.pid, each.tid) for each in summary.threads if each.drives_steps}
    driving_pids = {(rank, pid) for rank, pid, _ in driving}
    sums: dict[int, list[int]] = {}
    phases: dict[tuple[int, int], set[str]] = {}
    # The very sums that the summary was made of: the spans are not read again.
    for each in context_sums(run, ContextTree.of(run), window.where, window.params):
        context_id = each.node.context_id
        if each.device is not None or context_id not in nodes or each.node.kind == "step":
            continue
        phases.setdefault((each.rank, each.pid), set()).add(each.node.phase)
        if (each.rank, each.pid, each.tid) in driving:
            total = sums.setdefault(context_id, [0, 0, 0])
            for index, figure in enumerate((each.count, each.dur_ns, each.self_ns)):
                total[index] += figure
    loading = {process for process, seen in phases.items() if seen == {"data"}}
    return Evidence(
        run=run,
        summary=summary,
        step_times=tuple(steps),
        calls=tuple(Calls(context_id, *nodes[context_id], *figures) for context_id, figures in sums.items()),
        contexts={key: Context(node[0], node[1], node[2], node[3], node[5]) for key, node in nodes.items()},
        processes=tuple(
            each for each in run.processes if (each.get("rank") or 0, each.get("pid")) in driving_pids - loading
        ),
        workers=len(loading),
        uses_cuda=any(node[1] in _CUDA_KINDS or node[2].startswith(_CUDA_NAMES) for node in nodes.values()),
    )
