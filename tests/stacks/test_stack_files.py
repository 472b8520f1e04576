"""Reading what py-spy and the program's own sampler leave behind, whole and cut off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import deepseek_prof
from deepseek_prof.errors import RunDamagedError
from deepseek_prof.recording.stack_frames import FrameTexts
from deepseek_prof.recording.stack_runs import Stretches, read_own_samples, read_py_spy
from deepseek_prof.trace.stack_text import join_stack, split_stack

OURS = str(Path(deepseek_prof.__file__).parent / "collectors" / "stack_sampler.py")
TEXTS = FrameTexts("/home/me/project")


def event(phase: str, name: str, ts: int, *, file: str = "/home/me/project/a.py", line: int = 3, tid: int = 1) -> Any:
    return {
        "args": {"filename": file, "line": line}, "cat": "py-spy", "name": name, "ph": phase, "pid": 9, "tid": tid,
        "ts": ts,
    }  # fmt: skip


def thread_frame(phase: str, ts: int, tid: int = 1, os_tid: int = 41) -> Any:
    return event(phase, f"thread ({os_tid}): MainThread", ts, file="", line=0, tid=tid)


EVENTS = [
    thread_frame("B", 10),
    event("B", "main", 10),
    event("B", "slow", 10, line=7),
    event("E", "slow", 30, line=7),
    event("B", "fast", 30, line=8),
    event("E", "fast", 60, line=8),
    event("E", "main", 60),
    thread_frame("E", 60),
]


def written(folder: Path, events: list[Any], cut: int | None = None) -> Path:
    path = folder / "stacks-00000.json"
    path.write_text(json.dumps(events, separators=(",", ":"))[:cut])
    return path


def rows(found: Stretches) -> list[tuple[int, int, int, str]]:
    stacks = [list(found.stacks)[number] for number in found.stack]
    return list(zip(found.tid, found.start_ns, found.end_ns, stacks, strict=True))


def test_stretches_of_unchanged_stacks(tmp_path: Path) -> None:
    found = read_py_spy(written(tmp_path, EVENTS), TEXTS, {})
    assert rows(found) == [
        (41, 10_000, 30_000, "main (a.py:3);slow (a.py:7)"),
        (41, 30_000, 60_000, "main (a.py:3);fast (a.py:8)"),
    ]
    assert found.damage is None


def test_a_file_that_is_cut_off_is_read_up_to_there(tmp_path: Path) -> None:
    text = json.dumps(EVENTS, separators=(",", ":"))
    found = read_py_spy(written(tmp_path, EVENTS, text.index('"fast"') + 40), TEXTS, {})
    assert rows(found) == [(41, 10_000, 30_000, "main (a.py:3);slow (a.py:7)")]
    assert found.damage is not None


@pytest.mark.parametrize("content", ["", "[", "{}", '[{"name": 1}]', "[1]", "\0\0"])
def test_what_is_no_output_of_py_spy_is_damaged(tmp_path: Path, content: str) -> None:
    path = tmp_path / "stacks-00000.json"
    path.write_text(content)
    with pytest.raises(RunDamagedError, match=r"stacks-00000\.json"):
        read_py_spy(path, TEXTS, {})


def test_a_thread_without_its_number_is_told_by_its_ident(tmp_path: Path) -> None:
    events = [
        event("B", "thread (0x7F00AA): t", 1, file="", tid=77),
        event("B", "f", 1, tid=77),
        event("E", "f", 9, tid=77),
    ]
    assert rows(read_py_spy(written(tmp_path, events), TEXTS, {77: 5})) == [(5, 1_000, 9_000, "f (a.py:3)")]


def test_our_thread_gives_marks_and_no_stack(tmp_path: Path) -> None:
    deep = [event("B", "_stack_mark", 20, file=OURS, tid=2) for _ in range(2)]
    events = [
        thread_frame("B", 5, tid=2),
        event("B", "StackThread._stack_work", 5, file=OURS, tid=2),
        *deep,
        *({**each, "ph": "E", "ts": 30} for each in deep),
        event("E", "StackThread._stack_work", 50, file=OURS, tid=2),
    ]
    found = read_py_spy(written(tmp_path, events), TEXTS, {})
    assert rows(found) == []
    assert found.marks == [(20_000, 2), (30_000, 0)]


def test_our_frames_are_left_out_of_the_programs_stacks(tmp_path: Path) -> None:
    events = [
        thread_frame("B", 1),
        event("B", "main", 1),
        event("B", "call", 1, file=OURS),
        event("B", "forward", 1, file="/home/me/project/deepseek_prof/collectors/mine.py"),
        event("E", "forward", 2),
    ]
    ((_, _, _, stack),) = rows(read_py_spy(written(tmp_path, events), TEXTS, {}))
    # A folder of the user's may be called as ours.
    assert split_stack(stack) == ("main (a.py:3)", "forward (deepseek_prof/collectors/mine.py:3)")


def test_paths_are_as_short_as_they_say_something() -> None:
    frames = [
        ("f", "/home/me/project/pkg/a.py", 1),
        ("g", "/usr/lib/python3.11/threading.py", 2),
        ("h", "/x/lib/python3.11/site-packages/torch/nn/modules/module.py", 3),
        ("i", "/elsewhere/b.py", 4),
        ("n", "libtorch_cpu.so", 0),
    ]
    assert split_stack(TEXTS.stack(frames)) == (
        "f (pkg/a.py:1)",
        "g (threading.py:2)",
        "h (torch/nn/modules/module.py:3)",
        "i (/elsewhere/b.py:4)",
        "n (libtorch_cpu.so)",
    )


@pytest.mark.parametrize("frames", [(), ("a",), ("a;b", "c\\d"), ("\\x3b", ";", "\\"), ("a\\", "x5c;")])
def test_any_frames_survive_as_text(frames: tuple[str, ...]) -> None:
    text = join_stack(frames)
    assert split_stack(text) == frames
    assert text.count(";") == max(len(frames) - 1, 0)


def test_own_samples_stand_until_the_next_one(tmp_path: Path) -> None:
    lines = [
        ["f", 0, "main", "/home/me/project/a.py", 3],
        ["f", 1, "work", "/home/me/project/a.py", 9],
        ["s", 0, [0]],
        ["s", 1, [0, 1]],
        ["t", 100, [[41, 0], [42, 1]]],
        ["t", 120, [[41, 0]]],
        ["t", 150, []],
    ]
    path = tmp_path / "own"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '["t", 170, [[41')
    found = read_own_samples(path, TEXTS)
    assert sorted(rows(found)) == [
        (41, 100, 120, "main (a.py:3)"),
        (41, 120, 150, "main (a.py:3)"),
        (42, 100, 120, "main (a.py:3);work (a.py:9)"),
    ]
    assert found.damage is None


@pytest.mark.parametrize("line", ["[]", '["s", 0, [7]]', '["t", 1, [[1, 5]]]\n["t", 2, []]', '["t", "x", []]', "}"])
def test_damage_to_own_samples_is_told(tmp_path: Path, line: str) -> None:
    path = tmp_path / "own"
    path.write_text(line + "\n")
    found = read_own_samples(path, TEXTS)
    assert rows(found) == []
    assert found.damage is not None
