"""``run.json``: replaced as a whole, refused when damaged or newer."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deepseek_prof.errors import RunDamagedError, RunNotFoundError
from deepseek_prof.model import SCHEMA_VERSION
from deepseek_prof.trace.run_file import RUN_FILE_NAME, read_run_file, update_run_file, write_run_file


def test_what_was_written_is_read(tmp_path: Path) -> None:
    data = {"schema_version": SCHEMA_VERSION, "name": "übung\x1b[31m", "spans": {"count": 3}, "of_later": [1, None]}
    write_run_file(tmp_path, data)
    assert read_run_file(tmp_path) == data
    assert [path.name for path in tmp_path.iterdir()] == [RUN_FILE_NAME]


def test_text_that_is_not_unicode_is_written_as_a_mark(tmp_path: Path) -> None:
    write_run_file(tmp_path, {"argv": "a\udcff"})
    assert read_run_file(tmp_path)["argv"] == "a?"


def test_an_update_keeps_the_rest(tmp_path: Path) -> None:
    write_run_file(tmp_path, {"a": 1, "b": 2})
    assert update_run_file(tmp_path, b=3) == {"a": 1, "b": 3}
    assert read_run_file(tmp_path) == {"a": 1, "b": 3}


def test_updates_of_several_threads_are_all_kept(tmp_path: Path) -> None:
    write_run_file(tmp_path, {})
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: update_run_file(tmp_path, **{f"key{number}": number}), range(40)))
    assert read_run_file(tmp_path) == {f"key{number}": number for number in range(40)}


def test_a_failed_write_leaves_the_old_file_alone(tmp_path: Path) -> None:
    write_run_file(tmp_path, {"a": 1})
    with pytest.raises(TypeError):
        write_run_file(tmp_path, {"a": object()})
    assert read_run_file(tmp_path) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == [RUN_FILE_NAME]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not valid JSON"),
        (b'{"a": ', "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[]", "does not hold a JSON object"),
        (b"\xff\xfe", "cannot be read"),
        (json.dumps({"schema_version": SCHEMA_VERSION + 1}).encode(), "Upgrade deepseek-prof"),
        (b'{"schema_version": "1"}', "unknown schema version"),
        (b'{"schema_version": 0}', "unknown schema version"),
        (b'{"schema_version": true}', "unknown schema version"),
    ],
)
def test_damage_names_the_file(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / RUN_FILE_NAME).write_bytes(content)
    with pytest.raises(RunDamagedError, match=message) as raised:
        read_run_file(tmp_path)
    assert str(tmp_path / RUN_FILE_NAME) in str(raised.value)


def test_a_folder_without_the_file_is_no_run(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RunNotFoundError, match="it has no"):
            read_run_file(path)


def test_a_folder_in_its_place_is_damage(tmp_path: Path) -> None:
    (tmp_path / RUN_FILE_NAME).mkdir()
    with pytest.raises(RunDamagedError, match="cannot be read"):
        read_run_file(tmp_path)
