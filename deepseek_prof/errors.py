"""Every error that a user may see, each with its exit status.

::

    DeepseekProfError            1
    ├── UsageError               2   the command line or a setting does not fit
    │   ├── QueryError           2   a filter expression does not parse
    │   └── RunNotFoundError     2   no such run
    ├── RunDamagedError          3   a run directory holds bytes that are not ours, or an unknown schema
    ├── TraceFileError           3   a file to import is no trace, or none of it can be read
    ├── OutputError              4   the run directory or the output cannot be written, or exists
    ├── RecorderError            5   the recorder cannot be built or loaded
    │   └── UnsupportedTorchError 5  the program's torch is too old
    └── ServingError             1   a dynamic batcher cannot answer a request
        ├── OverloadedError      1   its queue is full
        ├── DeadlineExceededError 1  there is no answer by the request's deadline
        ├── BatcherClosedError   1   it takes no more requests, or ends without having run this one
        └── BatchOutputError     1   the model's result cannot be divided among the requests of a batch

A message says what happened, where, and what to do next.
"""

from __future__ import annotations


class DeepseekProfError(Exception):
    """Base of all our errors; ``exit_status`` is what the command line returns."""

    exit_status = 1


class UsageError(DeepseekProfError):
    """The command line, a setting or an argument does not fit."""

    exit_status = 2


class QueryError(UsageError):
    """A filter expression does not parse; the message points at the column.

    ``problem`` is the message's first line; ``start`` and ``end`` delimit the place in the query, in characters from 0.
    """

    def __init__(self, message: str, *, problem: str | None = None, start: int = 0, end: int = 0) -> None:
        super().__init__(message)
        self.problem = message if problem is None else problem
        self.start = start
        self.end = end


class RunNotFoundError(UsageError):
    """No run of that name, or no run at all."""


class RunDamagedError(DeepseekProfError):
    """A file of the run directory is damaged, foreign, or of an unknown schema version."""

    exit_status = 3


class TraceFileError(DeepseekProfError):
    """A file that is to be imported is no trace, or cannot be read."""

    exit_status = 3


class OutputError(DeepseekProfError):
    """The run directory cannot be created or written."""

    exit_status = 4


class RecorderError(DeepseekProfError):
    """The native recorder cannot be built or loaded."""

    exit_status = 5


class UnsupportedTorchError(RecorderError):
    """The program's torch is older than what we can record."""


class ServingError(DeepseekProfError):
    """A dynamic batcher cannot answer a request; what the model itself raises is passed on as it is."""


class OverloadedError(ServingError):
    """As many requests wait as may; try again later, or let other processes serve too."""


class DeadlineExceededError(ServingError, TimeoutError):
    """The request's deadline passed before its result was there."""


class BatcherClosedError(ServingError):
    """The batcher was closed before it could run the request."""


class BatchOutputError(ServingError):
    """What the model returned cannot be divided by rows, or not be cut to the length before padding."""
