"""Words that begin with ``-``: ours, Python's, and negated clauses."""

from __future__ import annotations

from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from deepseek_prof.cli.parsing import ProgramCommand, QueryCommand


def _invoke(cls: type[ProgramCommand] | type[QueryCommand], words: list[str]) -> str:
    app = typer.Typer(rich_markup_mode=None)

    @app.command(cls=cls, context_settings={"allow_interspersed_args": cls is QueryCommand})
    def command(
        rest: Annotated[list[str] | None, typer.Argument()] = None,
        name: Annotated[str, typer.Option("--name", "-n")] = "",
        quiet: Annotated[bool, typer.Option("--quiet", "-q")] = False,
    ) -> None:
        print(rest or [], repr(name), quiet)

    result = CliRunner().invoke(app, words)
    return result.output.strip() if result.exit_code == 0 else f"status {result.exit_code}"


@pytest.mark.parametrize(
    ("words", "parsed"),
    [
        (["train.py", "--name", "x", "-q"], "['train.py', '--name', 'x', '-q'] '' False"),
        (["--name", "x", "-q", "train.py", "--", "-z"], "['train.py', '--', '-z'] 'x' True"),
        (["--name=x", "-m", "package", "--name", "y"], "['-m', 'package', '--name', 'y'] 'x' False"),
        (["-q", "-u", "-X", "dev", "train.py"], "['-u', '-X', 'dev', 'train.py'] '' True"),
        (["-n", "-x", "--", "ls", "-l"], "['ls', '-l'] '-x' False"),
        (["--nmae", "x", "train.py"], "status 2"),
        ([], "[] '' False"),
    ],
)
def test_the_program_keeps_everything_from_itself_on(words: list[str], parsed: str) -> None:
    assert _invoke(ProgramCommand, words) == parsed


@pytest.mark.parametrize(
    ("words", "parsed"),
    [
        (["-op:*mm*", "--name", "x"], "['-op:*mm*'] 'x' False"),
        (["run", "type:conv", "-dur>1ms", "-q"], "['run', 'type:conv', '-dur>1ms'] '' True"),
        (["-(step:1 or step:2)"], "['-(step:1 or step:2)'] '' False"),
        (["--name", "-op:x", "a"], "['a'] '-op:x' False"),
        (["a", "--", "-q"], "['a', '-q'] '' False"),
        (["-z"], "status 2"),
        ([], "[] '' False"),
    ],
)
def test_a_negated_clause_is_no_option(words: list[str], parsed: str) -> None:
    assert _invoke(QueryCommand, words) == parsed
