"""Of work that is started again and again only the latest is done, and none is left unawaited."""

from __future__ import annotations

import gc
import warnings

from textual.app import App

from deepseek_prof.tui.worker import run_latest
from tests.support.pilot import play


def test_work_that_is_replaced_before_it_began_leaves_nothing_behind() -> None:
    done: list[str] = []

    async def work(text: str) -> None:
        done.append(text)

    async def test() -> None:
        app: App[None] = App()
        async with app.run_test():
            run_latest(app, "read", work, "earlier")
            run_latest(app, "read", work, "latest")
            await app.workers.wait_for_complete([each for each in app.workers if not each.is_cancelled])

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        play(test())
        gc.collect()
    assert done == ["latest"]
    assert not [str(each.message) for each in caught if "never awaited" in str(each.message)]
