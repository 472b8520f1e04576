"""The program's own ``logging``, ``structlog`` and ``warnings`` records, noted beside what they print.

Nothing is added to the program's handlers, levels or filters: a record is noted where the program has decided to emit
it. Standard library only: it runs in the user's environment.
"""

from __future__ import annotations

import functools
import logging
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from deepseek_prof.collectors.dynamo import passes_through, stays_outside
from deepseek_prof.collectors.tracebacks import leave_out_wrapper

Emit = Callable[[str, str, Mapping[str, Any]], None]

LEVELS = ((50, "critical"), (40, "error"), (30, "warning"), (20, "info"))
_METHOD_LEVELS = {"warn": "warning", "exception": "error", "fatal": "critical", "msg": "info", "notset": "debug"}
_LEFT_OUT = ("py.warnings", "torch.__trace")
"""Loggers of what is noted as a warning already, and of torch's own machine-readable trace."""
_STANDARD = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName"}


def level_name(number: int) -> str:
    """The level of a ``logging`` record by its number; own levels take the next lower name."""
    return next((name for least, name in LEVELS if number >= least), "debug")


def capture_logging(emit: Emit, also: Callable[[logging.LogRecord], None]) -> Callable[[], None]:
    """Note each record that passes its logger's level and filters, and tell it ``also``; returns what undoes it."""
    home: Any = logging.Logger
    original: Callable[..., Any] = home.filter
    own = "filter" in vars(logging.Logger)

    @stays_outside
    def note(record: logging.LogRecord) -> None:
        emit(level_name(record.levelno), "log", log_fields(record))
        also(record)

    # The logger's own filter, not its handlers: our frame is gone when a handler looks at the stack or fails.
    @passes_through
    @functools.wraps(original)
    def filter(self: logging.Logger, record: logging.LogRecord) -> Any:  # noqa: A001  # it stands in for it
        try:
            kept = original(self, record)
        except BaseException as error:
            leave_out_wrapper(error)
            raise
        if kept and self.name not in _LEFT_OUT and not _goes_nowhere(self):
            note(kept if isinstance(kept, logging.LogRecord) else record)
        return kept

    home.filter = filter

    def undo() -> None:
        if vars(logging.Logger).get("filter") is not filter:
            return
        if own:
            home.filter = original
        else:
            del home.filter

    return undo


def _goes_nowhere(logger: logging.Logger) -> bool:
    """Whether the program throws away what this logger is told, as torchrun does with events of its own."""
    return (
        not logger.propagate
        and bool(logger.handlers)
        and all(isinstance(each, logging.NullHandler) for each in logger.handlers)
    )


def log_fields(record: logging.LogRecord) -> dict[str, Any]:
    """What a ``logging`` record says: message, logger, source, exception, and what ``extra`` added."""
    fields: dict[str, Any] = {"message": _message(record), "logger": record.name}
    told: Any = record.msg
    if isinstance(told, Mapping):  # as structlog hands its events to logging
        fields |= {str(key): value for key, value in told.items()}
        fields["message"] = str(told.get("event", fields["message"]))
    fields |= {key: value for key, value in vars(record).items() if key not in _STANDARD and not key.startswith("_")}
    fields["source"] = f"{record.pathname}:{record.lineno}"
    if record.exc_info and record.exc_info[0] is not None:
        fields["exception"] = f"{record.exc_info[0].__name__}: {record.exc_info[1]}"
    return fields


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001  # arguments that do not fit: logging itself tells the program
        return str(record.msg)


def capture_warnings(emit: Emit) -> Callable[[], None]:
    """Note each warning that is shown, not those that a filter or ``catch_warnings`` keeps; returns what undoes it."""
    module: Any = warnings
    original: Callable[..., None] | None = getattr(module, "_showwarnmsg", None)
    implementation = getattr(module, "_showwarnmsg_impl", None)
    if original is None or implementation is None:  # private, and gone in some later Python
        return lambda: None
    show: Callable[..., None] = original

    @stays_outside
    def note(message: Any) -> None:
        fields = {
            "message": str(message.message),
            "category": getattr(message.category, "__name__", str(message.category)),
            "source": f"{message.filename}:{message.lineno}",
        }
        emit("warning", "warning", fields)

    @functools.wraps(show)
    def ours(message: Any) -> None:
        if module._showwarnmsg_impl is implementation:  # not caught by catch_warnings(record=True)
            try:
                note(message)
            except Exception as error:  # noqa: BLE001  # a message whose text cannot be made: shown or failed as without us
                emit("warning", "warning", {"message": f"{type(error).__name__} in the warning's text"})
        show(message)

    module._showwarnmsg = ours

    def undo() -> None:
        if module._showwarnmsg is ours:
            module._showwarnmsg = show

    return undo


def capture_structlog(emit: Emit) -> Callable[[], None]:
    """Note each event of structlog, which must be imported, that its processors let pass; returns what undoes it.

    Events that go on to ``logging`` are noted there.
    """
    base = getattr(sys.modules.get("structlog._base"), "BoundLoggerBase", None)
    original: Callable[..., Any] | None = getattr(base, "_process_event", None)
    if base is None or original is None:
        return lambda: None
    process: Callable[..., Any] = original

    @stays_outside
    def note(logger: Any, method: str, event: Any, fields: Mapping[str, Any]) -> None:
        if isinstance(getattr(logger, "_logger", None), logging.Logger):
            return
        context = getattr(logger, "_context", {})
        level = _METHOD_LEVELS.get(method, method)
        known = {name for _, name in LEVELS}
        emit(level if level in known else "debug", str(event), {**context, **fields})

    @passes_through
    @functools.wraps(process)
    def ours(self: Any, method_name: str, event: Any, event_kw: dict[str, Any]) -> Any:
        fields = dict(event_kw)  # processors may change it
        try:
            result = process(self, method_name, event, event_kw)
        except BaseException as error:
            leave_out_wrapper(error)
            raise
        note(self, method_name, event, fields)
        return result

    base._process_event = ours

    def undo() -> None:
        if base._process_event is ours:
            base._process_event = process

    return undo
