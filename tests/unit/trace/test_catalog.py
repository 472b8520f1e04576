"""Runs are found by directory, name and ``latest``; what is not found is said together with what there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deepseek_prof.errors import RunNotFoundError, UsageError
from deepseek_prof.trace.catalog import RUNS_FOLDER, list_runs, looks_like_run, read_entry, resolve_run
from tests.support.drawn import EPOCH_NS, write_drawn_run


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, without runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _write(folder: Path, folder_name: str, created_s: int = 0, **info: Any) -> Path:
    changes = {"created_ns": EPOCH_NS + created_s * 10**9, **info}
    return write_drawn_run(folder / RUNS_FOLDER / folder_name, info=changes)


def test_latest_is_the_newest_by_its_own_clock_not_by_the_folders_name(here: Path) -> None:
    _write(here, "z-first", 1)
    newest = _write(here, "a-last", 2)
    assert resolve_run() == resolve_run("latest") == newest
    assert [entry.name for entry in list_runs()] == ["a-last", "z-first"]


def test_a_run_is_found_by_directory_folder_name_and_given_name(here: Path) -> None:
    path = _write(here, "20261124-train", name="baseline")
    _write(here, "other", 1)
    assert resolve_run(str(path)) == path
    assert resolve_run("20261124-train") == path
    assert resolve_run("baseline") == path
    elsewhere = write_drawn_run(here / "elsewhere" / "run")
    assert resolve_run("elsewhere/run") == Path("elsewhere/run")
    assert resolve_run(str(elsewhere)) == elsewhere


def test_of_two_runs_of_one_name_the_newer_one_is_meant(here: Path) -> None:
    _write(here, "one", 1, name="same")
    newer = _write(here, "two", 2, name="same")
    assert resolve_run("same") == newer


def test_no_run_at_all_says_where_and_how_to_make_one(here: Path) -> None:
    with pytest.raises(RunNotFoundError, match="Record one first: deepseek-prof run") as caught:
        resolve_run()
    assert str(here / RUNS_FOLDER) in str(caught.value)
    assert isinstance(caught.value, UsageError)
    assert caught.value.exit_status == 2


def test_an_unknown_name_suggests_the_nearest(here: Path) -> None:
    _write(here, "baseline")
    with pytest.raises(RunNotFoundError, match=r"'baselnie'.*Did you mean baseline\?"):
        resolve_run("baselnie")


def test_an_unknown_name_names_what_there_is(here: Path) -> None:
    for index in range(7):
        _write(here, f"run{index}", index)
    with pytest.raises(RunNotFoundError, match="There are: run6, run5, run4, run3, run2 and 2 more"):
        resolve_run("quite different")


def test_a_folder_without_run_json_is_no_run(here: Path) -> None:
    (here / "src").mkdir()
    assert not looks_like_run("src")
    with pytest.raises(RunNotFoundError, match=r"src is not a run: it holds no run\.json"):
        resolve_run("src")


@pytest.mark.parametrize("text", ["", "type:matmul", "a" * 5000, "op\0x", "layer:encoder.layer.[0-3].*", "a/b/c"])
def test_a_query_does_not_look_like_a_run(here: Path, text: str) -> None:
    _write(here, "run")
    assert not looks_like_run(text)


def test_latest_looks_like_a_run_even_where_there_is_none() -> None:
    assert looks_like_run("latest")


def test_a_link_is_not_a_second_run(here: Path) -> None:
    path = _write(here, "run")
    (here / RUNS_FOLDER / "link").symlink_to(path)
    assert [entry.path for entry in list_runs()] == [path]


def test_a_folder_of_runs_that_cannot_be_read_is_an_error_of_ours(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / RUNS_FOLDER).mkdir()

    def denied(self: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", denied)
    with pytest.raises(UsageError, match=r"\.deepseek-prof cannot be read: Permission denied"):
        list_runs()


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "\udcff", "[" * 100_000])
def test_a_damaged_run_is_listed_as_damaged(here: Path, content: str) -> None:
    path = _write(here, "run")
    (path / "run.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    (entry,) = list_runs()
    assert (entry.status, entry.name, entry.path) == ("damaged", "run", path)


def test_an_entry_shows_what_run_json_says(here: Path) -> None:
    path = _write(
        here, "run", name="n", script="s", status="running", ended_ns=None, spans={"count": 5, "size_bytes": 60}
    )
    entry = read_entry(path)
    assert (entry.name, entry.script, entry.status, entry.ended_ns) == ("n", "s", "running", 0)
    assert (entry.spans, entry.size_bytes, entry.ranks, entry.exit_code) == (5, 60, 1, 0)


@pytest.mark.parametrize("odd", [None, 5, "x", [], [1], {}, {"a": 1}, True, 1e999])
@pytest.mark.parametrize(
    "key", ["name", "script", "status", "created_ns", "ended_ns", "spans", "processes", "exit_code"]
)
def test_odd_values_do_not_hide_a_run(here: Path, key: str, odd: Any) -> None:
    _write(here, "run", **{key: odd})
    assert len(list_runs()) == 1
