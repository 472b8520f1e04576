"""``deepseek-prof recover``: convert what a killed recording left behind."""

from __future__ import annotations

from typing import Annotated

import typer


def recover_command(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="Directory, name or 'latest'.")] = None,
) -> None:
    """Convert what the recording of a run left behind when deepseek-prof itself was killed.

    Every reading command does so by itself; this one only does that.
    """
    import sys

    from deepseek_prof.recording.recover import needs_recovery, recover
    from deepseek_prof.text import counted
    from deepseek_prof.trace.catalog import resolve_run
    from deepseek_prof.trace.run_file import read_run_file

    path = resolve_run(run)
    if not needs_recovery(path):
        still = (path / "live").is_dir()
        reason = "it is still being recorded" if still else "it is complete"
        print(f"deepseek-prof: nothing to recover in {path.name}: {reason}.", file=sys.stderr)
        return
    recover(path)
    spans = read_run_file(path).get("spans") or {}
    print(
        f"deepseek-prof: recovered {path.name}: {counted(spans.get('count', 0), 'span')}. "
        f"See them: deepseek-prof report {path.name}",
        file=sys.stderr,
    )
