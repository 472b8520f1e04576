"""Command classes whose arguments may begin with ``-``: a program with its options, and a query with negations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from typer.core import TyperCommand

_NEGATED_CLAUSE = re.compile(r"-(\(|[a-z]+[:<>])")


def takes_value(command: TyperCommand) -> dict[str, bool]:
    """For every option of ``command``, by each of its names, whether the next word is its value."""
    return {
        name: not getattr(option, "is_flag", True)
        for option in command.params
        if option.param_type_name == "option"
        for name in (*option.opts, *option.secondary_opts)
    }


def options_behind(command: Any, program: Sequence[str]) -> list[str]:
    """Options of ``command`` that stand behind the program, and so are taken for arguments of the program."""
    options = takes_value(command)
    return [word for word in program[1:] if word.startswith("--") and word.partition("=")[0] in options]


class ProgramCommand(TyperCommand):
    """Leaves everything from the program on to the program, also where it begins with an option of Python's."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put ``--`` before the first word that is not an option of ours."""
        options = takes_value(self) | dict.fromkeys(ctx.help_option_names, False)
        index = 0
        while index < len(args) and args[index] != "--":
            word = args[index]
            # Python's own options have one dash: -m, -c, -u, -X. A long option that is not ours is a slip.
            if not word.startswith("-") or (word not in options and not word.startswith("--")):
                args = [*args[:index], "--", *args[index:]]
                break
            index += 2 if options.get(word, False) else 1
        return super().parse_args(ctx, args)


class QueryCommand(TyperCommand):
    """Takes a clause such as ``-op:*copy*`` for a part of the query, not for an option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the arguments, in their order, behind the options and a ``--``."""
        values = takes_value(self)
        options: list[str] = []
        arguments: list[str] = []
        index = 0
        while index < len(args):
            word = args[index]
            if word == "--":
                arguments += args[index + 1 :]
                break
            if not word.startswith("-") or word == "-" or _NEGATED_CLAUSE.match(word):
                arguments.append(word)
            else:
                length = 2 if values.get(word, False) else 1
                options += args[index : index + length]
                index += length - 1
            index += 1
        return super().parse_args(ctx, [*options, "--", *arguments] if arguments else options)
