"""The thread inside the profiled process: what it samples, that it leaves nothing behind, and that forks go well."""

from __future__ import annotations

import gc
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, cast

import pytest

from deepseek_prof.collectors import stack_sampler
from deepseek_prof.collectors.child import Attachment
from deepseek_prof.collectors.stack_sampler import OwnSampler, StackThread, thread_ids
from deepseek_prof.recording.stack_frames import FrameTexts
from deepseek_prof.recording.stack_names import MARKS_NAME, OWN_SAMPLES_NAME, REFUSED_NAME
from deepseek_prof.recording.stack_runs import read_own_samples
from tests.stacks.conftest import PROGRAMS


class Place:
    """What the thread needs of an attachment."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.warnings: list[str] = []

    def make_directory(self) -> None:
        self.directory.mkdir(exist_ok=True)

    def warn(self, message: str) -> None:
        self.warnings.append(message)


class Waiting(threading.Thread):
    """A thread that does nothing until it may end."""

    def __init__(self) -> None:
        super().__init__()
        self.may_end = threading.Event()
        self.start()

    def run(self) -> None:
        self.may_end.wait()


@contextmanager
def waiting_threads(count: int) -> Iterator[list[Waiting]]:
    threads = [Waiting() for _ in range(count)]
    try:
        yield threads
    finally:
        for thread in threads:
            thread.may_end.set()
            thread.join()


def test_the_kernels_numbers_of_threads() -> None:
    with waiting_threads(3) as threads:
        found = thread_ids()
        expected = {thread.ident: thread.native_id for thread in (*threads, threading.current_thread())}
        assert found.items() >= expected.items()


@pytest.mark.parametrize("collects", [True, False])
def test_nothing_is_collected_while_frames_are_taken(collects: bool) -> None:
    began = 0

    def collected(phase: str, _: dict[str, int]) -> None:
        nonlocal began
        began += phase == "start"

    before, threshold = gc.isenabled(), gc.get_threshold()
    with waiting_threads(100):
        gc.callbacks.append(collected)
        gc.set_threshold(1, 1, 1)
        try:
            gc.enable() if collects else gc.disable()
            thread_ids()
            assert gc.isenabled() is collects
        finally:
            gc.set_threshold(*threshold)
            gc.callbacks.remove(collected)
            gc.enable() if before else gc.disable()
    assert began < 50, "a collection for every frame that was made"


def test_threads_that_end_at_any_moment_of_a_sample_do_no_harm(tmp_path: Path) -> None:
    sampler = OwnSampler(tmp_path, 100)
    with waiting_threads(300) as threads:
        ending = iter(threads)

        def end_one(frame: FrameType, event: str, _: object) -> Callable[..., Any]:
            frame.f_trace_opcodes = True
            if event == "opcode" and (thread := next(ending, None)):
                thread.may_end.set()
                thread.join()
            return end_one

        before = sys.gettrace()
        sys.settrace(end_one)
        try:
            sampler._sample(1)
        finally:
            sys.settrace(before)
        assert next(ending, None) is not threads[1], "none has ended"


def test_it_marks_until_refused_and_then_samples(tmp_path: Path) -> None:
    place = Place(tmp_path / "process")
    thread = StackThread(cast(Attachment, place), 1000)
    threads_before = threading.active_count()
    thread.start()
    thread.start()  # already there
    assert threading.active_count() == threads_before
    _until(lambda: (place.directory / MARKS_NAME).exists() and (place.directory / MARKS_NAME).stat().st_size > 0)
    (place.directory / REFUSED_NAME).write_text("no")
    _until((place.directory / OWN_SAMPLES_NAME).exists)
    # Two samples at least: what stands between them is a stretch.
    _until(lambda: (place.directory / OWN_SAMPLES_NAME).read_text().count('["t"') > 2)
    thread.stop()
    thread.stop()
    size = (place.directory / OWN_SAMPLES_NAME).stat().st_size
    found = read_own_samples(place.directory / OWN_SAMPLES_NAME, FrameTexts(str(PROGRAMS)))
    assert found.damage is None
    assert set(found.tid) >= {threading.get_native_id()}
    assert any("test_it_marks_until_refused_and_then_samples" in stack for stack in found.stacks)
    assert (place.directory / OWN_SAMPLES_NAME).stat().st_size == size
    assert place.warnings == []


def test_a_sample_keeps_no_frame_alive(tmp_path: Path) -> None:
    class Big:
        pass

    sampler = OwnSampler(tmp_path, 100)

    def work() -> weakref.ref[Big]:
        held = Big()
        sampler._sample(1)
        return weakref.ref(held)

    gone = work()
    gc.collect()
    assert gone() is None


def test_a_fork_finds_no_thread_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(tmp_path / "process")
    thread = StackThread(cast(Attachment, place), 100)
    monkeypatch.setattr(stack_sampler, "_thread", thread)
    before = _tasks()
    thread.start()
    _until(lambda: len(_tasks()) == len(before) + 1)
    stack_sampler._before_fork()
    _until(lambda: _tasks() == before)
    stack_sampler._after_fork()
    _until(lambda: len(_tasks()) == len(before) + 1)
    thread.stop()


def test_a_thread_that_cannot_be_had_costs_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    place = Place(tmp_path / "process")
    monkeypatch.setattr(stack_sampler, "_thread", StackThread(cast(Attachment, place), 100))
    monkeypatch.setattr(stack_sampler, "start_new_thread", refuse)
    stack_sampler._after_fork()
    assert len(place.warnings) == 1
    stack_sampler._before_fork()


def _tasks() -> set[str]:
    return set(os.listdir("/proc/self/task"))  # noqa: PTH208  # names are all that counts


def _until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; the test's own time limit ends it."""
    pause = threading.Event()
    while not condition():
        pause.wait(0.005)
