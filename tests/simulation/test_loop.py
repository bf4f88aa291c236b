"""The event loop of the simulation: virtual time, processes that die or stop, and blocking calls."""

import asyncio

from tests.simulation.loop import Process, SimulatedLoop


def a_loop() -> SimulatedLoop:
    return SimulatedLoop(lambda _executor: (0.25, 0.5))


def test_waiting_takes_virtual_time_alone() -> None:
    loop = a_loop()

    async def wait() -> float:
        try:
            async with asyncio.timeout(3000):
                await asyncio.sleep(1e6)
        except TimeoutError:
            pass
        return asyncio.get_running_loop().time()

    task = Process("one", loop).start(wait())
    assert loop.run(task.done, 1e9)
    assert task.result() == 3000
    loop.close()


def test_a_process_that_is_killed_runs_nothing_any_more() -> None:
    loop, ran = a_loop(), []
    process = Process("one", loop)

    async def work() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            ran.append("finally")

    task = process.start(work())
    assert not loop.run(task.done, 5)
    process.kill()
    assert not loop.run(task.done, 100)
    assert ran == []
    loop.close()


def test_a_process_that_is_stopped_runs_later_what_came_meanwhile() -> None:
    loop = a_loop()
    process, other = Process("one", loop), Process("other", loop)

    async def ticks() -> float:
        await asyncio.sleep(1)
        return loop.time()

    async def stopping() -> None:
        process.stop()
        await asyncio.sleep(60)
        process.go_on()

    task = process.start(ticks())
    loop.run(lambda: False, 0.5)
    other.start(stopping())
    assert loop.run(task.done, 100)
    assert task.result() == 60.0
    loop.close()


def test_a_blocking_call_has_its_effect_before_its_answer_and_keeps_it_if_its_process_dies() -> None:
    loop, effects = a_loop(), []
    process = Process("one", loop)

    async def call() -> None:
        await asyncio.to_thread(lambda: effects.append(loop.time()))

    task = process.start(call())
    assert not loop.run(task.done, 0.3)
    assert effects == [0.25]
    process.kill()
    assert not loop.run(task.done, 10)
    loop.close()


def test_a_process_dies_at_the_step_that_was_chosen() -> None:
    loop, seen = a_loop(), []
    process = Process("one", loop)
    process.dies_at_step = 3

    async def work() -> None:
        for step in range(5):
            seen.append(step)
            await asyncio.sleep(1)

    loop.run(process.start(work()).done, 100)
    assert not process.alive
    assert seen == [0]
    loop.close()
