"""Keeps our own frames out of the tracebacks of the user's exceptions.

A wrapper that catches an exception is the first entry of its traceback, and a bare ``raise`` adds none (CPython from
3.11 on; in 3.10 the entry stays). Standard library only: it runs in the user's environment.
"""

from __future__ import annotations

from collections.abc import Callable

_watch: Callable[[BaseException], None] | None = None


def watch_errors(watch: Callable[[BaseException], None] | None) -> None:
    """Call ``watch`` with each exception that passes through a wrapper; None: no more. It must not raise."""
    global _watch
    _watch = watch


def leave_out_wrapper(error: BaseException) -> None:
    """Remove the entry of the frame that has caught ``error``; a bare ``raise`` must follow there."""
    if error.__traceback__ is not None:
        error.__traceback__ = error.__traceback__.tb_next
    if _watch is not None:
        _watch(error)
