"""Names by which a program could try to be more than data where they are shown."""

from __future__ import annotations

from pathlib import Path

from tests.support.drawn import Node, module, op, write_drawn_run

HOSTILE_NAMES = [
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</script><script>alert(1)</script>",
    "</style><!-- {{ 7 * 7 }} {% raw %} &amp; ${1}",
    "two\nlines\r\t\x1b[31mred\x1b[0m \x9b0m",
    "right\u202eleft \u2028 \u2029 🔥 é",
    "x" * 10_000,
]
_NO_UTF8 = "\udc80"
"""What a command line may hold, and a Parquet file cannot."""


def write_hostile_run(run_dir: Path) -> Path:
    """A run whose every layer and operator has one of :data:`HOSTILE_NAMES`, as have its name and command."""

    def draw(rank: int, step: int) -> list[Node]:
        return [module(name, 3_000, op(name, 2_000)) for name in HOSTILE_NAMES]

    first, second, third, *_ = HOSTILE_NAMES
    info = {
        "name": first,
        "script": third,
        "command": ["python", _NO_UTF8, *HOSTILE_NAMES[:5]],
        "warnings": [first, second, third],
    }
    return write_drawn_run(run_dir, draw, steps=3, info=info)
