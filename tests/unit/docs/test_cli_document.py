"""docs/cli.md and ``--help`` name the same commands and options."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from deepseek_prof.cli.app import build_app

DOCUMENT = (Path(__file__).parents[3] / "docs" / "cli.md").read_text(encoding="utf-8")
COMMANDS = typer.main.get_command(build_app()).commands  # type: ignore[attr-defined]  # a group, by what build_app registers


def section(command: str) -> str:
    found = re.search(rf"^## `deepseek-prof {command}\b.*?(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert found is not None, f"docs/cli.md has no section on {command}"
    return found[0]


def options_of(command: str) -> set[str]:
    return {
        name
        for parameter in COMMANDS[command].params
        if parameter.param_type_name == "option"
        for name in (*parameter.opts, *parameter.secondary_opts)
        if name not in ("--help", "-h")
    }


def test_every_command_has_a_section_and_no_section_lacks_a_command() -> None:
    assert set(re.findall(r"^## `deepseek-prof (\w+)", DOCUMENT, re.MULTILINE)) == set(COMMANDS)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_option_is_documented_and_every_documented_option_exists(command: str) -> None:
    rows = re.findall(r"^\| (`-.*?) \| ", section(command), re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", row)}
    assert documented == options_of(command)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_choices_of_an_option_are_documented(command: str) -> None:
    result = CliRunner().invoke(build_app(), [command, "--help"], env={"COLUMNS": "200"})
    for choices in re.findall(r"^ *-.*?<(\w+(?:\|\w+)+)>", result.stdout, re.MULTILINE):
        assert choices.replace("|", r"\|") in section(command)


def test_settings_of_pyproject_are_the_options_of_run() -> None:
    from deepseek_prof.config import _FLAG_KEYS, _LIST_KEYS, _TEXT_KEYS

    assert {f"--{key}" for key in (*_TEXT_KEYS, *_FLAG_KEYS, *_LIST_KEYS)} | {"-q", "--live"} == options_of("run")
