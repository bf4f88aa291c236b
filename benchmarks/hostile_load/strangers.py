"""Runs hostile clients: large bodies, idle event streams, slow readers and long uploads, all at once.

Their process gives way to all others, because what it takes of this machine is no cost of the server. They
write HTTP by hand, and come from many addresses of the loopback network.
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count

from benchmarks.helper_process import give_way, when_told_to_end
from benchmarks.plain_http import Connection, connect, head, status

BODIES, STREAMS, READERS, UPLOADS = 6, 1_000, 50, 16
BODY_BYTES = 8 << 20
SLOW_BYTES_PER_SECOND = 2_048
UPLOAD_BYTES = 100 << 20
UPLOAD_PIECE = b"\0" * (64 << 10)
UPLOAD_PAUSE_SECONDS = 0.25
RETRY_PAUSE_SECONDS = 1.0
BOUNDARY = "stranger"
EVENTS = "event stream"
BUFFER_BYTES = 1 << 12


@dataclass
class Strangers:
    """The strangers of one siege, and the answers that the server gave them."""

    port: int
    followed_job: str
    """The id of the job whose events they follow."""
    song_path: str
    """The path of the song that they download slowly."""
    answers: Counter[str] = field(default_factory=Counter)
    """How often each kind of request received each status."""
    streams: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    """It is released once for each event stream that was opened."""
    _numbers: Iterator[int] = field(default_factory=count)

    async def besiege(self, over: asyncio.Event) -> None:
        """Keep all of them busy until `over` is set."""
        everybody: list[Callable[[], Awaitable[None]]] = [
            *[self._send_body] * BODIES,
            *[self._follow_events] * STREAMS,
            *[self._read_slowly] * READERS,
            *[self._upload_slowly] * UPLOADS,
        ]
        tasks = [asyncio.create_task(self._repeat(one)) for one in everybody]
        await over.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _repeat(self, request: Callable[[], Awaitable[None]]) -> None:
        while True:
            with suppress(OSError, asyncio.IncompleteReadError):
                await request()
            await asyncio.sleep(RETRY_PAUSE_SECONDS)

    async def _connect(self) -> Connection:
        return await connect(self.port, next(self._numbers), BUFFER_BYTES)

    async def _send_body(self) -> None:
        nested = b"[" * 500 + b"]" * 500
        entries = b",".join([nested] * (BODY_BYTES // (len(nested) + 1)))
        body = b'{"audio_code_string":[' + entries + b"]}"
        await self._exchange(
            "large body", head("POST", "/v1/music/generate", len(body), "application/json") + body
        )

    async def _follow_events(self) -> None:
        await self._exchange(EVENTS, head("GET", f"/v1/jobs/{self.followed_job}/events"))

    async def _exchange(self, kind: str, request: bytes) -> None:
        """Send a request and read its answer to the end, however long that takes."""
        reader, writer = await self._connect()
        try:
            writer.write(request)
            self._note(kind, await reader.readline())
            if kind == EVENTS:
                self.streams.release()
            while await reader.read(BUFFER_BYTES):
                pass
        finally:
            writer.close()

    async def _read_slowly(self) -> None:
        reader, writer = await self._connect()
        try:
            writer.write(head("GET", self.song_path))
            self._note("slow reader", await reader.readline())
            while await reader.read(SLOW_BYTES_PER_SECOND):  # noqa: ASYNC110
                await asyncio.sleep(1.0)
        finally:
            writer.close()

    async def _upload_slowly(self) -> None:
        reader, writer = await self._connect()
        part = (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="src_audio"; filename="a.wav"\r\n\r\n'
        ).encode()
        try:
            writer.write(
                head("POST", "/v1/music/generate", UPLOAD_BYTES, f"multipart/form-data; boundary={BOUNDARY}")
            )
            writer.write(part)
            answer = asyncio.create_task(reader.readline())
            while not answer.done():
                writer.write(UPLOAD_PIECE)
                await writer.drain()
                await asyncio.wait({answer}, timeout=UPLOAD_PAUSE_SECONDS)
            self._note("long upload", answer.result())
        finally:
            writer.close()

    def _note(self, kind: str, status_line: bytes) -> None:
        self.answers[f"{kind}: {status(status_line) or 'closed'}"] += 1


def main() -> None:
    """Besiege a server until standard input ends.

    Prints a line when all event streams are open, and in the end one with the answers as JSON.
    """
    give_way()
    _, port, followed_job, song_path = sys.argv

    async def run() -> None:
        strangers, over = Strangers(int(port), followed_job, song_path), asyncio.Event()
        loop = asyncio.get_running_loop()
        when_told_to_end(lambda: loop.call_soon_threadsafe(over.set))

        async def tell_when_connected() -> None:
            for _ in range(STREAMS):
                await strangers.streams.acquire()
            print("connected", flush=True)

        connecting = asyncio.create_task(tell_when_connected())
        await strangers.besiege(over)
        connecting.cancel()
        print(json.dumps(strangers.answers))

    asyncio.run(run())


if __name__ == "__main__":
    main()
