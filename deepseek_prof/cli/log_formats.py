"""Log records as lines: for people, JSON Lines, CSV, logfmt. Every name in them is data and is shown escaped."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Any

from deepseek_prof.analysis.logs import LogRecord
from deepseek_prof.text import clean, csv_cell, duration, shortened

NAMES = (
    "ts_ns",
    "rank",
    "pid",
    "tid",
    "step",
    "phase",
    "layer",
    "op",
    "type",
    "kind",
    "dur_ns",
    "self_ns",
    "level",
    "event",
    "fields",
)
"""Keys of a record in every format but ``console``, in this order. Empty ones are left out where a format can."""

_ALIASES = {"dur": "dur_ns", "self": "self_ns", "thread": "tid", "name": "op", "ts": "ts_ns", "start": "ts_ns"}

Line = Callable[[LogRecord], str]

_LAYER_WIDTH = 30
_TEXT_LIMIT = 400
_STYLES = {
    "debug": "2",
    "info": "32",
    "warning": "33",
    "error": "31",
    "critical": "1;31",
    "time": "2",
    "type": "36",
    "layer": "35",
}


def as_object(record: LogRecord, wanted: Sequence[str] = ()) -> dict[str, Any]:
    """A record as a mapping: all it has, or the ``wanted`` keys, those it lacks as None.

    A wanted name that is no key of records is looked for in ``fields``.
    """
    whole = {name: getattr(record, name) for name in NAMES}
    if not wanted:
        return {name: value for name, value in whole.items() if value not in (None, {})}
    found: dict[str, Any] = {}
    for name in wanted:
        key = _ALIASES.get(name, name)
        if key == "time":
            found[name] = moment(record.ts_ns)
        elif key == "msg":
            found[name] = record.fields.get("message") or record.event
        elif key == "python":
            found[name] = record.python
        else:
            found[name] = whole[key] if key in whole else record.fields.get(name)
    return found


def moment(ts_ns: int) -> str:
    """ISO 8601 in UTC with nanoseconds."""
    seconds, rest_ns = divmod(ts_ns, 1_000_000_000)
    try:
        text = datetime.fromtimestamp(seconds, tz=timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return f"{ts_ns}ns"
    return f"{text}.{rest_ns:09d}Z"


def json_line(wanted: Sequence[str]) -> Line:
    """One JSON object a line, in ASCII: no control character reaches a terminal."""
    return lambda record: json.dumps(as_object(record, wanted), default=repr)


def csv_header(wanted: Sequence[str]) -> str:
    """The first line of CSV."""
    return _csv_row(list(wanted) or list(NAMES))


def csv_line(wanted: Sequence[str]) -> Line:
    """One CSV row; ``fields`` as JSON."""
    names = list(wanted) or list(NAMES)
    return lambda record: _csv_row([_csv_value(value) for value in as_object(record, names).values()])


def logfmt_line(wanted: Sequence[str]) -> Line:
    """``key=value`` pairs; values with blanks, quotes or ``=`` are quoted as JSON strings."""

    def line(record: LogRecord) -> str:
        pairs = as_object(record, wanted or ("time", *NAMES[1:-1]))
        if not wanted:
            pairs |= {key: value for key, value in record.fields.items() if key not in pairs}
        return " ".join(f"{_logfmt_key(key)}={_logfmt(value)}" for key, value in pairs.items() if value is not None)

    return line


def console_line(wanted: Sequence[str], *, colour: bool, ranked: Callable[[LogRecord], bool]) -> Line:
    """Aligned columns for people: local time, rank where ``ranked`` says so, type or level, place, what happened."""

    def paint(text: str, style: str | None) -> str:
        code = _STYLES.get(style or "") if colour else None
        return f"\x1b[{code}m{text}\x1b[0m" if code else text

    def chosen(record: LogRecord) -> str:
        return "  ".join(_shown(value) for value in as_object(record, wanted).values())

    def line(record: LogRecord) -> str:
        label, style = (record.level or "", record.level) if record.is_event else (record.type or "", "type")
        step = "" if record.step is None else f"step {record.step}"
        parts = [
            paint(_clock(record.ts_ns), "time"),
            *([f"r{record.rank:<3}"] if ranked(record) else []),
            paint(f"{clean(label, 11):<11}", style),
            f"{step:<9}",
            f"{clean(record.phase or '', 9):<9}",
            paint(f"{shortened(record.layer or '', _LAYER_WIDTH):<{_LAYER_WIDTH}}", "layer"),
            _told(record),
        ]
        return " ".join(parts).rstrip()

    return chosen if wanted else line


def _told(record: LogRecord) -> str:
    if not record.is_event:
        name = clean(record.op or "")
        return f"{name}  {duration(record.dur_ns or 0)}, self {duration(record.self_ns or 0)}"
    message = record.fields.get("message")
    rest = {key: value for key, value in record.fields.items() if key != "message"}
    texts = [clean(record.event or "", _TEXT_LIMIT)]
    if isinstance(message, str) and message != record.event:
        texts.append(clean(message, _TEXT_LIMIT))
    texts.extend(f"{clean(key)}={_field(key, value)}" for key, value in rest.items())
    return "  ".join(text for text in texts if text)


def _field(key: str, value: Any) -> str:
    if key.endswith("_ns") and isinstance(value, int) and value >= 0:
        return duration(value)
    return _shown(value)


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr), _TEXT_LIMIT)


def _clock(ts_ns: int) -> str:
    seconds, rest_ns = divmod(ts_ns, 1_000_000_000)
    try:
        return f"{datetime.fromtimestamp(seconds).astimezone():%H:%M:%S}.{rest_ns // 1000:06d}"
    except (OverflowError, ValueError, OSError):
        return f"{ts_ns}"


def _csv_row(cells: list[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(cells)
    return buffer.getvalue()


def _csv_value(value: Any) -> Any:
    if isinstance(value, dict | list):
        return csv_cell(json.dumps(value, default=repr)) if value else ""
    return csv_cell(value) if isinstance(value, str) else value


def _logfmt_key(key: str) -> str:
    return "".join(char if char.isalnum() or char in "_.-" else "_" for char in key) or "_"


def _logfmt(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=repr)
    plain = text and not any(char in ' ="\\' or not char.isprintable() for char in text)
    return text if plain else json.dumps(text)
