"""Settings: text forms of values, ``pyproject.toml``, and which of them wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepseek_prof.config import LAST_STEP, RunSettings, load_settings, parse_percent, parse_size, parse_steps
from deepseek_prof.errors import UsageError


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("2GiB", 2 << 30), ("500 MB", 500_000_000), ("1.5KiB", 1536), ("4096", 4096), ("7b", 7), ("1TB", 10**12)],
)
def test_sizes(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "GiB", "-1GiB", "0", "2XB", "1e3", "9999999TiB", "1 2"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="size"):
        parse_size(text)


def test_a_percentage_is_a_fraction() -> None:
    assert parse_percent("3%") == pytest.approx(0.03)
    assert parse_percent("0.5 %") == pytest.approx(0.005)


@pytest.mark.parametrize("text", ["3", "0%", "101%", "-1%", "%", "three%"])
def test_what_is_no_percentage_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="%"):
        parse_percent(text)


@pytest.mark.parametrize(
    ("text", "steps"), [("10:20", (10, 19)), (":5", (0, 4)), ("7:", (7, LAST_STEP)), (" 0 : 1 ", (0, 0))]
)
def test_steps_are_a_python_slice(text: str, steps: tuple[int, int]) -> None:
    assert parse_steps(text) == steps


@pytest.mark.parametrize("text", ["10", ":", "20:10", "5:5", "a:b", "1:2:3", "-3:"])
def test_what_is_no_range_of_steps_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_steps(text)


def test_defaults_without_a_pyproject(tmp_path: Path) -> None:
    assert load_settings({}, directory=tmp_path) == RunSettings()


def test_the_nearest_pyproject_counts_and_the_command_line_wins(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.deepseek-prof]\nrecord = "layers"\nmax-size = "1GiB"\noverhead-budget = "5%"\n'
        'quiet = true\noutput = "runs"\n'
    )
    inner = tmp_path / "src" / "deep"
    inner.mkdir(parents=True)
    settings = load_settings({"record": "full", "max-size": None}, directory=inner)
    assert settings.record == "full"
    assert settings.max_size_bytes == 1 << 30
    assert settings.overhead_budget == pytest.approx(0.05)
    assert settings.quiet
    assert settings.output == tmp_path / "runs"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('recrod = "ops"', "Did you mean record"),
        ('record = "everything"', "not one of layers, ops, full"),
        ("max-size = true", "must be text"),
        ('quiet = "yes"', "true or false"),
        ("= broken", "not valid TOML"),
    ],
)
def test_a_wrong_setting_names_the_file_and_what_would_fit(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "pyproject.toml").write_text(f"[tool.deepseek-prof]\n{line}\n")
    with pytest.raises(UsageError, match=message) as caught:
        load_settings({}, directory=tmp_path)
    assert str(tmp_path / "pyproject.toml") in str(caught.value)


def test_a_pyproject_that_does_not_speak_of_us_may_be_broken(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("this is not TOML")
    assert load_settings({}, directory=tmp_path) == RunSettings()


def test_a_wrong_option_is_named() -> None:
    with pytest.raises(UsageError, match="--steps"):
        load_settings({"steps": "5"}, directory=Path("/"))


def test_alerts_come_from_the_file_unless_some_are_given(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.deepseek-prof]\nalert = ["loss is nan", "rss > 1GiB"]\n')
    assert load_settings({}, directory=tmp_path).alerts == ("loss is nan", "rss > 1GiB")
    assert load_settings({}, directory=tmp_path, alerts=["cpu > 1"]).alerts == ("cpu > 1",)
    (tmp_path / "pyproject.toml").write_text('[tool.deepseek-prof]\nalert = "loss is nan"\n')
    with pytest.raises(UsageError, match="alert must be a list of text"):
        load_settings({}, directory=tmp_path)
