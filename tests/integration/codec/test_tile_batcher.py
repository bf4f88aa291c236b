import asyncio
from collections.abc import Sequence
from contextlib import aclosing

import numpy as np
import pytest
import torch

from deployments.codec.batcher import TileBatcher, TileForward
from deployments.codec.engine import TiledPass, VaeEngine
from deployments.codec.tiles import Tile
from deployments.common.errors import EngineError
from tests.latents import random_latents
from tests.recording_share import RecordingShare


class RecordingEngine(VaeEngine):
    """The real engine, which also records its batches and refuses one pass if told to."""

    def __init__(self, engine: VaeEngine) -> None:
        self.__dict__.update(engine.__dict__)
        self.batches: list[list[TiledPass]] = []
        self.refused: TiledPass | None = None
        self.memory = 1_000
        """Number of tiles that fit into a forward."""

    def run(self, batch: Sequence[tuple[TiledPass, Tile]]) -> None:
        self.batches.append([tiled for tiled, _ in batch])
        if len(batch) > self.memory or any(tiled is self.refused for tiled, _ in batch):
            raise MemoryError("too large")
        super().run(batch)


@pytest.fixture
def recording_engine(engine: VaeEngine) -> RecordingEngine:
    return RecordingEngine(engine)


async def run(batcher: TileBatcher, tiled: TiledPass) -> list[int]:
    return [done async for done in batcher.run(tiled)]


async def test_every_tile_is_reported_and_the_result_is_that_of_the_engine(engine: VaeEngine):
    tiled = engine.decoding(random_latents(200))
    assert await run(TileBatcher(engine, tile_batch=1), tiled) == list(range(1, len(tiled.tiles) + 1))
    assert np.allclose(tiled.result, engine.decode(random_latents(200)), atol=1e-4)


async def test_short_passes_overtake_long_ones_until_these_are_due(recording_engine: RecordingEngine):
    long = recording_engine.decoding(random_latents(300))
    first, second = ([recording_engine.decoding(random_latents(100)) for _ in range(3)] for _ in range(2))
    batcher = TileBatcher(recording_engine, tile_batch=1)
    assert (len(long.tiles), len(first[0].tiles)) == (7, 2)

    async def one_after_the_other(passes: list[TiledPass]) -> None:
        for tiled in passes:
            await run(batcher, tiled)

    await asyncio.gather(run(batcher, long), one_after_the_other(first), one_after_the_other(second))
    order = [batch[0] for batch in recording_engine.batches]
    # The long pass is due at 7. The short ones arrive at 0, 0 and 3 and are due at 2, 2 and 5. The next one
    # is due later than the long pass.
    assert order[:6] == [first[0]] * 2 + [second[0]] * 2 + [first[1]] * 2
    assert order[6:13] == [long] * 7


async def test_passes_of_one_length_are_done_as_they_came(recording_engine: RecordingEngine):
    passes = [recording_engine.decoding(random_latents(100)) for _ in range(3)]
    batcher = TileBatcher(recording_engine, tile_batch=1)
    await asyncio.gather(*(run(batcher, tiled) for tiled in passes))
    assert [batch[0] for batch in recording_engine.batches] == [
        tiled for tiled in passes for _ in tiled.tiles
    ]


async def test_tiles_of_one_shape_share_forwards_and_others_do_not(recording_engine: RecordingEngine):
    passes = [
        recording_engine.decoding(random_latents(100)),
        recording_engine.decoding(random_latents(100)),
        recording_engine.decoding(random_latents(20)),
        recording_engine.encoding(np.ones((2, 192_000), np.float32)),
    ]
    batcher = TileBatcher(recording_engine, tile_batch=4)
    await asyncio.gather(*(run(batcher, tiled) for tiled in passes))
    assert [len(batch) for batch in recording_engine.batches] == [1, 4, 2]
    for batch in recording_engine.batches:
        assert len({tiled.shape for tiled in batch}) == 1


async def test_each_forward_is_told_with_what_it_held_and_what_of_it_is_thrown_away(engine: VaeEngine):
    told: list[TileForward] = []
    long, short = engine.decoding(random_latents(100)), engine.decoding(random_latents(20))
    batcher = TileBatcher(engine, tile_batch=4, on_forward=told.append)
    await asyncio.gather(run(batcher, long), run(batcher, short))
    width = long.tiles[0].stop
    sizes = [(forward.tiles, forward.tile_slots, forward.frames, forward.margin_frames) for forward in told]
    assert sizes == [(1, 4, 20, 0), (2, 4, 2 * width, 2 * width - 100)]
    assert all(forward.seconds > 0 for forward in told)


async def test_a_failing_pass_does_not_take_its_neighbours_along(recording_engine: RecordingEngine):
    good, bad = recording_engine.decoding(random_latents(150)), recording_engine.decoding(random_latents(150))
    recording_engine.refused = bad
    batcher = TileBatcher(recording_engine, tile_batch=8)
    done, failed = await asyncio.gather(run(batcher, good), run(batcher, bad), return_exceptions=True)
    assert done == list(range(1, len(good.tiles) + 1))
    assert isinstance(failed, EngineError)
    batcher.check(stalled_seconds=60)
    assert await run(batcher, recording_engine.decoding(random_latents(10))) == [1]


async def test_a_cancelled_request_leaves_after_the_running_forward(recording_engine: RecordingEngine):
    batcher = TileBatcher(recording_engine, tile_batch=1)
    tiled = recording_engine.decoding(random_latents(500))
    async with aclosing(batcher.run(tiled)) as steps:
        async for done in steps:
            if done == 2:
                break
    await run(batcher, recording_engine.decoding(random_latents(10)))
    assert tiled.done <= 3
    assert len(recording_engine.batches) == tiled.done + 1


async def test_a_hanging_forward_is_noticed(engine: VaeEngine):
    batcher = TileBatcher(engine, tile_batch=1)
    async with aclosing(batcher.run(engine.decoding(random_latents(400)))) as steps:
        await anext(steps)
        await asyncio.sleep(0.005)
        batcher.check(stalled_seconds=60)
        with pytest.raises(RuntimeError, match="has been running"):
            batcher.check(stalled_seconds=0.0)


async def test_each_forward_takes_its_share_of_the_cores_and_none_is_kept(recording_engine: RecordingEngine):
    share = RecordingShare()
    batcher = TileBatcher(recording_engine, tile_batch=1, share=share)
    tiled = recording_engine.decoding(random_latents(200))
    await run(batcher, tiled)
    assert share.said == ["threads"] * len(tiled.tiles) + ["release"]
    recording_engine.refused = failing = recording_engine.decoding(random_latents(10))
    with pytest.raises(EngineError, match="tile_frames"):
        await run(batcher, failing)
    assert share.said[-1] == "release"


async def test_a_lost_device_is_noticed(recording_engine: RecordingEngine, monkeypatch: pytest.MonkeyPatch):
    batcher = TileBatcher(recording_engine, tile_batch=1)

    def fail(_batch: object) -> None:
        raise torch.AcceleratorError("the device is gone")

    monkeypatch.setattr(recording_engine, "run", fail)
    with pytest.raises(EngineError, match="device of the VAE is lost"):
        await run(batcher, recording_engine.decoding(random_latents(10)))
    with pytest.raises(RuntimeError, match="device of the VAE is lost"):
        batcher.check(stalled_seconds=60)


async def test_a_forward_that_does_not_fit_into_memory_is_halved_and_the_next_ones_are_smaller(
    recording_engine: RecordingEngine,
) -> None:
    recording_engine.memory = 2
    batcher = TileBatcher(recording_engine, tile_batch=8)
    tiled = recording_engine.decoding(random_latents(600))
    assert len(tiled.tiles) > 8
    await run(batcher, tiled)
    sizes = [len(batch) for batch in recording_engine.batches]
    assert sizes[:4] == [8, 4, 2, 2]
    assert set(sizes[6:]) <= {1, 2}
    assert np.allclose(tiled.result, recording_engine.decode(random_latents(600)), atol=1e-4)
