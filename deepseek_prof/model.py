"""The vocabulary shared by recording and reading: kinds, phases, schema version."""

from __future__ import annotations

from enum import IntEnum

SCHEMA_VERSION = 1
"""Version of the run directory. Raised on every change of layout or meaning; older ones keep opening."""
COMPILED_KERNEL = "compiled_kernel"
"""The event that tells which layers a kernel of ``torch.compile`` stands for."""
LAYER_LABEL = "layer: "
"""Before the layer's name in the metadata of an allocation in PyTorch's snapshots of CUDA memory."""


class Kind(IntEnum):
    """What a span or a context is. The values are stored in ``contexts.log``: append, never renumber."""

    OP = 0
    LAYER = 1
    STEP = 2
    PHASE = 3
    AUTOGRAD = 4
    USER = 5
    KERNEL = 6
    MEMCPY = 7
    MEMSET = 8
    SYNC = 9
    RUNTIME = 10
    COLLECTIVE = 11
    DATA = 12
    PYTHON = 13

    @property
    def label(self) -> str:
        """The lower-case text used in Parquet and in queries."""
        return self.name.lower()


class Phase(IntEnum):
    """The part of a training step that a span belongs to. Stored in ``contexts.log``: never renumber."""

    DATA = 0
    FORWARD = 1
    BACKWARD = 2
    OPTIMIZER = 3
    OTHER = 4

    @property
    def label(self) -> str:
        """The lower-case text used in Parquet and in queries."""
        return self.name.lower()
