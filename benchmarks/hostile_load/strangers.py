"""Runs hostile clients: large bodies, idle event streams, slow readers and long uploads, all at once.

Their process has the highest niceness, because what it takes of this machine is no cost of the server. Where
the kernel groups processes by their session, a niceness counts within the session alone, so the session gets
one too. They write HTTP by hand on plain sockets, so that a thousand of them cost little, and they come from
many addresses of the loopback network, as strangers come from many addresses of the internet.
"""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

BODIES, STREAMS, READERS, UPLOADS = 6, 1_000, 50, 16
ADDRESSES = 200
"""Number of addresses of 127.0.0.0/8 that the strangers use."""
BODY_BYTES = 8 << 20
SLOW_BYTES_PER_SECOND = 2_048
UPLOAD_BYTES = 100 << 20
UPLOAD_PIECE = b"\0" * (64 << 10)
UPLOAD_PAUSE_SECONDS = 0.25
RETRY_PAUSE_SECONDS = 1.0
BOUNDARY = "stranger"
EVENTS = "event stream"
NICENESS = 19
SESSION_NICENESS = Path("/proc/self/autogroup")


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
    _addresses: Iterator[int] = field(default_factory=count)

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

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        address = f"127.0.1.{next(self._addresses) % ADDRESSES + 1}"
        return await asyncio.open_connection("127.0.0.1", self.port, local_addr=(address, 0), limit=1 << 12)

    async def _send_body(self) -> None:
        nested = b"[" * 500 + b"]" * 500
        entries = b",".join([nested] * (BODY_BYTES // (len(nested) + 1)))
        body = b'{"audio_code_string":[' + entries + b"]}"
        await self._exchange(
            "large body", _head("POST", "/v1/music/generate", len(body), "application/json") + body
        )

    async def _follow_events(self) -> None:
        await self._exchange(EVENTS, _head("GET", f"/v1/jobs/{self.followed_job}/events"))

    async def _exchange(self, kind: str, request: bytes) -> None:
        """Send a request and read its answer to the end, however long that takes."""
        reader, writer = await self._connect()
        try:
            writer.write(request)
            self._note(kind, await reader.readline())
            if kind == EVENTS:
                self.streams.release()
            while await reader.read(1 << 12):
                pass
        finally:
            writer.close()

    async def _read_slowly(self) -> None:
        reader, writer = await self._connect()
        try:
            writer.write(_head("GET", self.song_path))
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
                _head("POST", "/v1/music/generate", UPLOAD_BYTES, f"multipart/form-data; boundary={BOUNDARY}")
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
        self.answers[f"{kind}: {status_line[9:12].decode() or 'closed'}"] += 1


def _head(method: str, path: str, length: int | None = None, content_type: str = "") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close"]
    if length is not None:
        lines += [f"Content-Length: {length}", f"Content-Type: {content_type}"]
    return "\r\n".join([*lines, "", ""]).encode()


def main() -> None:
    """Besiege a server until standard input ends.

    Prints a line when all event streams are open, and in the end one with the answers as JSON.
    """
    os.nice(NICENESS)
    with suppress(OSError):  # the kernel groups nothing
        SESSION_NICENESS.write_text(str(NICENESS))
    _, port, followed_job, song_path = sys.argv

    async def run() -> None:
        strangers, over = Strangers(int(port), followed_job, song_path), asyncio.Event()

        async def wait_for_the_end() -> None:
            await asyncio.to_thread(sys.stdin.read)
            over.set()

        async def tell_when_connected() -> None:
            for _ in range(STREAMS):
                await strangers.streams.acquire()
            print("connected", flush=True)

        connecting = asyncio.create_task(tell_when_connected())
        await asyncio.gather(strangers.besiege(over), wait_for_the_end())
        connecting.cancel()
        print(json.dumps(strangers.answers))

    asyncio.run(run())


if __name__ == "__main__":
    main()
