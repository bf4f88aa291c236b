"""Runs clients that wait for news of jobs, by event streams or by long polls.

Their process gives way to all others, because what it takes of this machine is no cost of the server.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from benchmarks.helper_process import Helper, give_way, helper, when_told_to_end
from benchmarks.plain_http import AnswerError, Connection, connect, get, head, status
from benchmarks.readers.server import LONG_POLL_SECONDS
from serve_app.jobs.model import JobState

BEGIN_SECONDS = 300.0
"""How long it may take until every client has been told something."""


async def streamed(connection: Connection, job_id: str) -> AsyncIterator[JobState]:
    """Yield the state of a job in each event of its stream. Raises AnswerError."""
    reader, writer = connection
    writer.write(head("GET", f"/v1/jobs/{job_id}/events"))
    if status(first_line := await reader.readline()) != "200":
        raise AnswerError(f"events of {job_id}: {first_line.decode(errors='replace')}")
    async for line in reader:
        if line.startswith(b"event:"):
            yield JobState(line.removeprefix(b"event:").strip().decode())


async def polled(connection: Connection, job_id: str) -> AsyncIterator[JobState]:
    """Yield the state of a job in the answer to each long poll, until it has ended. Raises AnswerError."""
    state = JobState.QUEUED
    while not state.is_final:
        job = json.loads(await get(connection, f"/v1/jobs/{job_id}?wait={LONG_POLL_SECONDS}"))
        state = JobState(job["status"])
        yield state


STREAMS, LONG_POLLS = "event streams", "long polls"
News = Callable[[Connection, str], AsyncIterator[JobState]]
NEWS: dict[str, News] = {STREAMS: streamed, LONG_POLLS: polled}


@dataclass
class WaitingClients:
    """Clients that share some jobs evenly; those whose job has ended follow another one."""

    port: int
    kind: str
    count: int
    jobs: list[str]
    """Ids of the jobs that have not ended."""
    news: int = 0
    """Events, or answers to long polls, that all clients have received."""
    all_begun: asyncio.Event = field(default_factory=asyncio.Event)
    """It is set once every client has been told something."""
    _begun: set[int] = field(default_factory=set)

    async def wait(self) -> None:
        """Run all clients until all jobs have ended. Raises an exception group of the clients' errors."""
        async with asyncio.TaskGroup() as group:
            for number in range(self.count):
                group.create_task(self._wait(number))

    async def _wait(self, number: int) -> None:
        while self.jobs:
            job_id = self.jobs[number % len(self.jobs)]
            state = JobState.QUEUED
            connection = await connect(self.port, number)
            try:
                async for told in NEWS[self.kind](connection, job_id):
                    state = told
                    self._count(number)
            finally:
                connection[1].close()
            if not state.is_final:
                raise AnswerError(f"the news of job {job_id} ended while it was {state}")
            if job_id in self.jobs:
                self.jobs.remove(job_id)

    def _count(self, number: int) -> None:
        self.news += 1
        self._begun.add(number)
        if len(self._begun) == self.count:
            self.all_begun.set()


def waiting_clients(port: int, kind: str, count: int, jobs: Sequence[str]) -> AbstractContextManager[Helper]:
    """Let clients wait for news of jobs during the block."""
    return helper("benchmarks.readers.clients", str(port), kind, str(count), *jobs)


def until_begun(clients: Helper) -> None:
    """Wait until each client has been told something. Raises RuntimeError where that takes too long."""
    if not clients.line(BEGIN_SECONDS):
        raise RuntimeError(f"not every client had an answer after {BEGIN_SECONDS:g} s")


def main() -> None:
    """Wait until standard input ends.

    Prints a line when each client has been told something, and in the end how often all were.
    """
    give_way()
    _, port, kind, count, *jobs = sys.argv

    async def run() -> None:
        clients, over = WaitingClients(int(port), kind, int(count), jobs), asyncio.Event()
        loop = asyncio.get_running_loop()
        when_told_to_end(lambda: loop.call_soon_threadsafe(over.set))

        async def tell_when_all_begun() -> None:
            await clients.all_begun.wait()
            print("begun", flush=True)

        telling = asyncio.create_task(tell_when_all_begun())
        waiting = asyncio.create_task(clients.wait())
        ending = asyncio.create_task(over.wait())
        await asyncio.wait({waiting, ending}, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            waiting.result()
            await ending
        for task in (telling, waiting):
            task.cancel()
        await asyncio.gather(telling, waiting, return_exceptions=True)
        print(clients.news)

    asyncio.run(run())


if __name__ == "__main__":
    main()
