"""Work on the threads of a separate pool."""

import asyncio
from collections.abc import Callable

from serve_app.api.threads import WorkerPool


async def test_who_is_cancelled_waits_for_the_thread_that_uses_its_file() -> None:
    pool = WorkerPool("test", 1)
    loop = asyncio.get_running_loop()
    began, ended = asyncio.Event(), asyncio.Event()
    go_on = asyncio.Event()
    finished: list[int] = []

    def work() -> None:
        loop.call_soon_threadsafe(began.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()
        finished.append(1)

    def never() -> None:
        finished.append(2)

    async def run(task: Callable[[], None]) -> None:
        try:
            await pool.run(task)
        finally:
            ended.set()

    working = asyncio.create_task(run(work))
    await began.wait()
    behind = asyncio.create_task(pool.run(never))
    await asyncio.sleep(0)
    working.cancel()
    behind.cancel()
    await asyncio.sleep(0.02)
    assert not ended.is_set()
    go_on.set()
    results = await asyncio.gather(working, behind, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError] * 2
    assert finished == [1]
