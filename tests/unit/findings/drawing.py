"""Pieces of steps for the tests of rules. Times are microseconds."""

from __future__ import annotations

from collections.abc import Callable

from deepseek_prof.model import Kind, Phase
from tests.support.synthetic_step import US, StepTemplate

Draw = Callable[[StepTemplate, int], None]


def operator(
    step: StepTemplate,
    name: str,
    us: float,
    *,
    times: int = 1,
    phase: Phase = Phase.FORWARD,
    layer: str | None = None,
    inside: tuple[tuple[str, float], ...] = (),
) -> None:
    """``times`` calls of an operator with ``us`` of self time, and of the operators ``inside`` each of them."""
    for _ in range(times):
        with step.span(name, Kind.OP, phase, layer):
            step.idle(int(us * US) - 400)
            for child, child_us in inside:
                operator(step, child, child_us, phase=phase)


def product(step: StepTemplate, us: float, *, times: int = 1) -> None:
    """Matrix products: what every program does, and no rule but those on threads minds."""
    operator(step, "aten::mm", us, times=times)


def scope(step: StepTemplate, name: str, operators: tuple[tuple[str, float, int], ...]) -> None:
    """A user scope of the optimizer phase with operators (name, us, times) inside."""
    with step.span(name, Kind.USER, Phase.OPTIMIZER):
        for operator_name, us, times in operators:
            operator(step, operator_name, us, times=times, phase=Phase.OPTIMIZER)


def loader(step: StepTemplate, us: float, kind: str = "_SingleProcessDataLoaderIter") -> None:
    """A wait for the data loader."""
    step.leaf(f"enumerate(DataLoader)#{kind}.__next__", Phase.DATA, int(us * US), Kind.DATA)


def module(step: StepTemplate, name: str, draw: Callable[[], None], python_us: float = 0) -> None:
    """A forward call of a module around ``draw``, with ``python_us`` of its own Python."""
    with step.span(name, Kind.LAYER, Phase.FORWARD, name):
        step.idle(int(python_us * US))
        draw()


def autograd(step: StepTemplate, node: str, operators: tuple[tuple[str, float], ...]) -> None:
    """An autograd node with operators inside, outside any layer."""
    with step.span(f"autograd::engine::evaluate_function: {node}", Kind.AUTOGRAD, Phase.BACKWARD):
        for name, us in operators:
            operator(step, name, us, phase=Phase.BACKWARD)
