"""The end of a batcher: by close, by an exception, a callback, the end of the program, or a fork."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from concurrent.futures import Future
from typing import Any

import pytest
from torch import nn

from deepseek_prof.errors import BatcherClosedError, ServingError
from deepseek_prof.serving import DynamicBatcher
from tests.support.serving import GOOD, WAIT_S, Held, busy, result


@pytest.mark.parametrize("drain", [True, False])
def test_close_while_requests_wait(drain: bool) -> None:
    model = Held()
    with busy(model, max_batch=2) as (batcher, first):
        waiting = [batcher.submit(GOOD) for _ in range(5)]
        closing = threading.Thread(target=batcher.close, kwargs={"drain": drain})
        closing.start()
        if not drain:
            for each in waiting:
                with pytest.raises(BatcherClosedError, match="before the request was run"):
                    result(each)
        while True:  # until the other thread has closed it
            try:
                waiting.append(batcher.submit(GOOD))
            except BatcherClosedError:
                break
        model.open.set()
        closing.join(WAIT_S)
        assert not closing.is_alive()
        assert result(first).shape == (1, 3)
        assert all(each.done() for each in waiting)
        found = batcher.statistics()
        assert (found.finished, found.closed) == ((1 + len(waiting), 0) if drain else (1, len(waiting)))
        batcher.close()


def test_an_asynchronous_block_drains_and_leaves_the_loop_free() -> None:
    model = Held()

    async def main() -> Any:
        async with DynamicBatcher(model, max_wait_s=0.0) as batcher:
            asked = asyncio.ensure_future(batcher(GOOD))
            await asyncio.to_thread(model.wait_until_entered)
            asyncio.get_running_loop().call_later(0.01, model.open.set)
        return await asked

    assert asyncio.run(asyncio.wait_for(main(), WAIT_S)).shape == (1, 3)


def test_close_does_not_wait_for_more_requests() -> None:
    model = Held()
    model.open.set()
    with DynamicBatcher(model, max_wait_s=10 * WAIT_S) as batcher:
        waiting = batcher.submit(GOOD)
    assert waiting.done()


def test_an_exception_in_the_block_rejects_what_waits() -> None:
    model = Held()
    waiting: list[Future[Any]] = []

    def block() -> None:
        with DynamicBatcher(model, max_wait_s=10 * WAIT_S) as batcher:
            waiting.append(batcher.submit(GOOD))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        block()
    assert isinstance(waiting[0].exception(WAIT_S), BatcherClosedError)
    assert not model.rows


def test_a_callback_may_close_and_may_raise() -> None:
    batcher = DynamicBatcher(nn.Identity(), max_wait_s=0.0)
    closed = threading.Event()

    def close(_: Future[Any]) -> None:
        batcher.close()
        closed.set()
        raise ZeroDivisionError

    future = batcher.submit(GOOD)
    future.add_done_callback(close)
    assert closed.wait(WAIT_S)
    batcher.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_callback_that_exits_loses_no_request() -> None:
    model = Held()
    with busy(model, max_batch=2) as (batcher, first):
        first.add_done_callback(lambda _: sys.exit(1))
        waiting = [batcher.submit(GOOD) for _ in range(3)]
        model.open.set()
        for each in waiting:
            with pytest.raises(BatcherClosedError, match="exception of a callback"):
                result(each)
        with pytest.raises(BatcherClosedError):
            batcher.submit(GOOD)


def test_a_program_that_forgets_to_close_ends(tmp_path: Any) -> None:
    program = (
        "import torch\n"
        "from deepseek_prof.serving import DynamicBatcher\n"
        "batcher = DynamicBatcher(torch.nn.Identity(), max_wait_s=1000.0, deadline_s=1000.0)\n"
        "batcher.submit(torch.ones(1, 4)).add_done_callback(lambda future: print(type(future.exception()).__name__))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "BatcherClosedError\n", "")


def test_a_fork_is_told_to_make_its_own() -> None:
    with DynamicBatcher(nn.Identity(), max_wait_s=0.0) as batcher:
        result(batcher.submit(GOOD))
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                batcher.submit(GOOD)
            except ServingError as error:
                os.write(write, str(error).encode())
            batcher.close()
            os._exit(0)
        os.close(write)
        assert os.waitpid(child, 0)[1] == 0
        assert b"forked" in os.read(read, 1000)
        os.close(read)
        assert result(batcher.submit(GOOD)) is not None
