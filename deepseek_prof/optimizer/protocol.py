"""What a pass is: a config class and a handler, and what both sides of the optimizer hand to it.

``Profile`` is made by the parent from a recorded run; ``Captured`` by a candidate's process at the captured call of the
root module. The candidate's half uses the standard library and torch only, for it runs in the user's environment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, runtime_checkable

if TYPE_CHECKING:
    import torch

Callee: TypeAlias = Callable[..., Any]
"""A module, or what a pass made of it: called with the arguments of the captured calls."""


@dataclass(frozen=True)
class Call:
    """The arguments of one call of the root module; tensors are copies that nobody else writes to."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    @property
    def given(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Both as one value: the arguments and a dict of those with keywords."""
        return self.args, dict(self.kwargs)


@dataclass(frozen=True)
class Captured:
    """The root module as the program has it at the captured call, and what it was called with.

    A handler runs inside that call, on the program's own thread: no_grad, inference mode, autocast and the default
    device are those of the program.
    """

    module: torch.nn.Module
    calls: tuple[Call, ...]
    """One a distinct signature of shapes, types and devices, in the order in which the program met them."""
    training: bool
    device: str
    """Type of the device of the module's first parameter: ``cpu``, ``cuda``, …"""
    more: tuple[Call, ...] = ()
    """Further calls of these signatures, with other values: for calibration and numerics, not for timing."""

    optimizers: tuple[torch.optim.Optimizer, ...] = ()
    """In training: those that the program made before this call."""

    @property
    def all_calls(self) -> tuple[Call, ...]:
        """Every captured call."""
        return (*self.calls, *self.more)


@dataclass(frozen=True)
class Profile:
    """What the recorded run says about where the time goes; shares are fractions of all self time of operators."""

    type_shares: Mapping[str, float] = field(default_factory=dict)
    """By operator type (docs/query.md): ``matmul``, ``conv``, ``norm``, …"""
    op_shares: Mapping[str, float] = field(default_factory=dict)
    """By operator name, such as ``aten::addmm``."""
    phase_shares: Mapping[str, float] = field(default_factory=dict)
    """By phase (``model.Phase``): ``forward``, ``backward``, ``optimizer``, ``data``, …"""
    findings: tuple[str, ...] = ()
    """Rules of ``analysis.findings`` that fired."""


@dataclass(frozen=True)
class Applied:
    """A pass applied to a module."""

    call: Callee
    fired: Callable[[], str | None]
    """After the first calls: the evidence that the pass took effect, in a few words, or None where it did not."""
    notes: tuple[str, ...] = ()
    """What the user should know."""
    lossy: bool = False
    """Whether results may differ here although those of this pass do not elsewhere."""
    kept_in_float: tuple[str, ...] = ()
    """Layers that a pass with fewer bits left as they were."""
    compiles: tuple[torch.nn.Module, ...] = ()
    """Of a pass that compiles: the modules that it compiles, as ``torch.export`` takes them, one for each of
    ``Captured.calls`` or one for all."""
    config: Any = None
    """The config with what was found on this module written down, for the hand-over; None: as it was given."""


ConfigT_contra = TypeVar("ConfigT_contra", contravariant=True)


class Handler(Protocol[ConfigT_contra]):
    """How a pass works; one instance for all its configs, which are frozen dataclasses of plain JSON values."""

    name: str
    """As in ``--passes``."""
    order: int
    """Place among combined passes: of lower order first. fold 10, layout 20, attention 30, quantize 40, amp 50,
    checkpoint 55, accumulate 56, fuse 60, threads and what is injected 70 and more."""
    lossy: bool
    """Whether the results may differ by more than the order of float32 sums."""
    modes: Sequence[str]
    """``inference``, ``training`` or both."""

    def configs(self) -> Sequence[Any]:
        """The configs that the search may try, of the most promising kind first."""

    def predicted_gain(self, config: ConfigT_contra, profile: Profile) -> float:
        """Expected speed-up from the profile alone; 1.0 where it should not help."""

    def refusal(self, config: ConfigT_contra, captured: Captured) -> str | None:
        """Why this pass cannot be applied to that module here, or None."""

    def apply(self, config: ConfigT_contra, callee: Callee, captured: Captured) -> Applied:
        """Apply to ``callee``: the captured module, which may be changed in place, or what an earlier pass made of it.

        Raises anything: the candidate is then shown as failed, with that reason.
        """

    def code(self, config: ConfigT_contra) -> str:
        """Plain torch statements that do the same to the variable ``model``, for the hand-over file.

        Of passes of training also to ``optimizers``, a tuple that was made for the model, or, of ``dataloader``, to
        ``loader`` alone.
        """


@runtime_checkable
class Injector(Handler[ConfigT_contra], Protocol[ConfigT_contra]):
    """A pass of training that changes what the program makes besides its module: optimizers, data loaders.

    ``apply`` comes at the first call of the module and ``refusal`` after the first steps, and only where the pass has
    not fired: to say why.
    """

    def inject(self, config: ConfigT_contra) -> None:
        """Change how such objects are made, before the program's own code runs. Once a process."""
