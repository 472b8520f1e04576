"""``[RUN] [QUERY]``: what names a run is the run, anything else the query."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepseek_prof.cli.arguments import compiled, open_run, split_run_and_query
from deepseek_prof.errors import QueryError, RunNotFoundError, UsageError
from deepseek_prof.recording.converter import LOCK_NAME
from tests.support.drawn import EPOCH_NS, write_drawn_run


@pytest.fixture(autouse=True)
def runs(here: Path) -> dict[str, Path]:
    """Runs ``matmul`` (older) and ``base`` (newest)."""
    return {
        name: write_drawn_run(here / ".deepseek-prof" / name, info={"created_ns": EPOCH_NS + index})
        for index, name in enumerate(("matmul", "base"))
    }


@pytest.mark.parametrize(
    ("words", "run", "query"),
    [
        ([], "base", ""),
        (["latest"], "base", ""),
        (["base"], "base", ""),
        (["matmul"], "matmul", ""),
        (["matmul", "type:conv"], "matmul", "type:conv"),
        (["type:conv"], "base", "type:conv"),
        (["type:conv", "matmul"], "base", "type:conv matmul"),
        (["matmul", "matmul"], "matmul", "matmul"),
        (["phase:forward", "or", "phase:backward"], "base", "phase:forward or phase:backward"),
        (["( op:a or op:b )"], "base", "( op:a or op:b )"),
        ([".deepseek-prof/matmul", "dur>1ms"], "matmul", "dur>1ms"),
        (["addmm"], "base", "addmm"),
        ([""], "base", ""),
    ],
)
def test_split(runs: dict[str, Path], words: list[str], run: str, query: str) -> None:
    found, text = split_run_and_query(words)
    assert (found.resolve(), text) == (runs[run], query)


def test_options_settle_it(runs: dict[str, Path]) -> None:
    assert split_run_and_query(["matmul"], run="base") == (runs["base"], "matmul")
    assert split_run_and_query([], query="matmul") == (runs["base"], "matmul")
    assert split_run_and_query(["matmul"], query="-op:x") == (runs["matmul"], "-op:x")
    assert split_run_and_query([], "matmul", "base") == (runs["matmul"], "base")


def test_a_query_given_twice_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"Give the query once.*'type:conv'"):
        split_run_and_query(["type:conv"], query="type:matmul")


@pytest.mark.parametrize("text", ["./none", "../none", "/nowhere/none", "none/", "~/none"])
def test_what_can_only_be_a_folder_is_not_taken_for_a_query(text: str) -> None:
    with pytest.raises(RunNotFoundError, match="none"):
        split_run_and_query([text])


def test_run_option_must_name_a_run() -> None:
    with pytest.raises(RunNotFoundError, match="No run called 'type:conv'"):
        split_run_and_query([], run="type:conv")


def test_a_query_is_compiled_and_an_empty_one_is_none() -> None:
    assert compiled("") is None
    assert compiled("  ") is None
    condition = compiled("op:'; DROP'")
    assert condition is not None
    assert "DROP" not in condition.sql
    with pytest.raises(QueryError):
        compiled("op:")


def test_a_run_left_by_a_killed_recording_is_recovered_first(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (runs["base"] / "live").mkdir()
    with open_run(runs["base"]) as run:
        assert run.info["status"] == "recovered"
    assert not (runs["base"] / "live").exists()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "deepseek-prof: base was not finished; converting what is there.\n"


def test_a_run_that_is_being_recorded_is_read_as_far_as_it_is(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    import fcntl

    (runs["base"] / "live").mkdir()
    with (runs["base"] / "live" / LOCK_NAME).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with open_run(runs["base"]) as run:
            assert run.rows("SELECT count(*) FROM spans") == [(1,)]
    assert (runs["base"] / "live").is_dir()
    assert capsys.readouterr().err == (
        "deepseek-prof: base is still being recorded; showing what is converted so far.\n"
    )


def test_a_run_that_cannot_be_converted_is_still_read(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from deepseek_prof.errors import OutputError
    from deepseek_prof.recording import recover

    def read_only(path: Path) -> None:
        raise OutputError(f"{path} cannot be written.")

    monkeypatch.setattr(recover, "recover", read_only)
    (runs["base"] / "live").mkdir()
    with open_run(runs["base"]) as run:
        assert run.rows("SELECT count(*) FROM spans") == [(1,)]
    assert "cannot be written. Showing what is converted so far." in capsys.readouterr().err
