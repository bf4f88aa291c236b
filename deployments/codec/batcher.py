"""Runs the tiles of concurrent requests through one engine, on one thread of its own."""

import asyncio
import logging
import time
from bisect import insort
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from deployments.codec.engine import TiledPass, VaeEngine
from deployments.codec.tiles import Tile
from deployments.common.bisection import run_bisected
from deployments.common.engine_loop import EngineLoop
from deployments.common.errors import EngineError
from deployments.common.processor import engine_thread
from deployments.common.processor_share import FixedShare, Share
from deployments.common.stall_watch import STALLED_SECONDS

logger = logging.getLogger("ray.serve")

_FIXED = FixedShare()

_Batch = Sequence[tuple["_Request", Tile]]


@dataclass(frozen=True)
class TileForward:
    """The figures of one forward."""

    seconds: float
    tiles: int
    tile_slots: int
    """Tiles that the forward had room for."""
    frames: int
    """Latent frames of all tiles."""
    margin_frames: int
    """Latent frames of the margins, which are thrown away."""


@dataclass(eq=False)
class _Request:
    tiled: TiledPass
    due: int
    """The value of the batcher's clock at which the pass is due."""
    news: asyncio.Queue[Exception | None] = field(default_factory=asyncio.Queue)
    """One entry for each finished tile: None, or the exception with which it failed."""


class TileBatcher:
    """Runs passes side by side. The pass that is due first goes first; tiles of one shape share forwards.

    A pass is due when, since its arrival, as many tiles have been done as it has itself. A short pass
    therefore overtakes long ones, but no pass that arrives after a long one is due overtakes that one. A
    cancelled request leaves after the forward that is running, and none of its tiles is computed afterwards.
    """

    def __init__(
        self,
        engine: VaeEngine,
        tile_batch: int,
        thread: ThreadPoolExecutor | None = None,
        on_forward: Callable[[TileForward], object] = lambda _: None,
        share: Share = _FIXED,
    ) -> None:
        """Take the engine and its thread. `on_forward` is called after each forward."""
        self._engine = engine
        self._share = share
        self._on_forward = on_forward
        self._tile_batch = tile_batch
        self._requests: list[_Request] = []
        """Requests in the order in which they are due."""
        self._clock = 0
        """Number of tiles that have been done."""
        self._thread = thread or engine_thread("vae")
        self._loop = EngineLoop("VAE", "a forward", self._run_requests)

    async def run(self, tiled: TiledPass) -> AsyncGenerator[int, None]:
        """Yield how many tiles of `tiled` are done, after each one; then its result is complete.

        Raises EngineError where a tile does not fit into memory or the device is lost.
        """
        request = _Request(tiled, self._clock + len(tiled.tiles))
        insort(self._requests, request, key=lambda other: other.due)
        self._loop.wake()
        try:
            for done in range(1, len(tiled.tiles) + 1):
                problem = await request.news.get()
                if problem is not None:
                    raise problem
                yield done
        finally:
            if request in self._requests:
                self._requests.remove(request)

    def check(self, stalled_seconds: float = STALLED_SECONDS) -> None:
        """Raise RuntimeError if a forward hangs for more than `stalled_seconds` or the device is lost.

        Raises the exception of the batcher's task if it failed.
        """
        self._loop.check(stalled_seconds)

    async def _run_requests(self) -> None:
        try:
            while self._requests:
                batch = self._next_batch()
                started = time.monotonic()
                problems = await self._loop.run_on(self._thread, partial(self._forward, batch))
                self._tell(time.monotonic() - started, [tile for _, tile in batch])
                for (request, _), problem in zip(batch, problems, strict=True):
                    request.news.put_nowait(None if problem is None else self._loop.noted(problem))
        finally:
            self._share.release()

    def _tell(self, seconds: float, tiles: list[Tile]) -> None:
        frames = sum(tile.stop - tile.start for tile in tiles)
        kept = sum(tile.core_stop - tile.core_start for tile in tiles)
        self._on_forward(TileForward(seconds, len(tiles), self._tile_batch, frames, frames - kept))

    def _next_batch(self) -> _Batch:
        """Return tiles of the request that is due first, and of others with the same shape."""
        shape = self._requests[0].tiled.shape
        batch: list[tuple[_Request, Tile]] = []
        for request in [request for request in self._requests if request.tiled.shape == shape]:
            waiting = request.tiled.waiting
            take = waiting[: self._tile_batch - len(batch)]
            if not take:
                break
            batch += [(request, tile) for tile in take]
            del waiting[: len(take)]
            if not waiting:
                self._requests.remove(request)
        self._clock += len(batch)
        return batch

    def _forward(self, batch: _Batch) -> list[Exception | None]:
        """The exception with which each tile failed, or None."""
        self._share.set_threads()
        return run_bisected(batch, self._run, self._out_of_memory)

    def _run(self, batch: _Batch) -> list[None]:
        self._engine.run([(request.tiled, tile) for request, tile in batch])
        return [None] * len(batch)

    def _out_of_memory(self, batch: _Batch) -> EngineError:
        if len(batch) > 1:
            self._lower_limit(len(batch))
        frames = batch[0][1].stop - batch[0][1].start
        return EngineError(f"a tile of {frames} frames does not fit into memory: lower codec.tile_frames")

    def _lower_limit(self, failed_tiles: int) -> None:
        self._tile_batch = min(self._tile_batch, failed_tiles // 2)
        logger.warning(
            "a forward of %d tiles did not fit into memory; from now on they have %d (codec.tile_batch)",
            failed_tiles,
            self._tile_batch,
        )
