"""Songs with different adapters in one forward, and the store of adapters, on the real engine."""

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from deployments.checkpoints.adapters.folders import adapter_files
from deployments.checkpoints.adapters.reading import read_adapter
from deployments.checkpoints.adapters.shelf import AdapterShelf
from deployments.common.errors import JobError
from deployments.common.messages import AdapterUse, DenoiseRequest
from deployments.generator.adapters import store as store_module
from deployments.generator.adapters.mounting import Mount
from deployments.generator.adapters.store import AdapterStore
from deployments.generator.batcher import StepBatcher
from tests.adapters import ATTENTION, GOLDEN_ADAPTERS, MLP, pair, write_lora, write_tensors
from tests.watched_engine import ROUNDING, SONG, WatchedEngine, changed, latents_alone, loaded, run

SHORT = changed(SONG, inference_steps=3)
GOLDEN = ("style", "voice", "patterns", "dora", "texture", "dora_lokr")


def mount_of(*uses: tuple[str, float], folder: Path = GOLDEN_ADAPTERS) -> Mount | None:
    mounter, files = loaded("turbo").mounter, adapter_files([str(folder)])
    read = [(read_adapter(files[name].content(), files[name].outline), scale) for name, scale in uses]
    return mounter.mount([(mounter.on_device(adapter), scale) for adapter, scale in read])


def assert_alone(request: DenoiseRequest, mount: Mount | None, latents: np.ndarray | torch.Tensor) -> None:
    """Check that the song is the same as without any other beside it."""
    alone = latents_alone("turbo", request, mount=mount)
    np.testing.assert_allclose(np.asarray(latents), alone, atol=ROUNDING, rtol=0)


def songs(count: int, seed: int) -> list[DenoiseRequest]:
    rng = random.Random(seed)
    return [
        replace(
            SHORT,
            seed=rng.randrange(1000),
            frames=rng.choice([40, 77, 150, 150, 150, 250]),
            lyrics="la " * rng.randint(1, 60),
        )
        for _ in range(count)
    ]


def stepped(requests: list[DenoiseRequest], mounts: list[Mount | None]) -> list[torch.Tensor]:
    """The latents of songs that make each step together, in one forward."""
    engine = loaded("turbo")
    together = [engine.start(request, mount=mount) for request, mount in zip(requests, mounts, strict=True)]
    while running := [song for song in together if not song.trajectory.done]:
        engine.step(running)
    return [song.trajectory.latents for song in together]


def test_of_24_mixed_songs_each_equals_itself_alone_and_plain_ones_keep_their_bits() -> None:
    requests = songs(24, seed=1)
    mounts = [mount_of((name, 0.8)) for name in GOLDEN]
    given = [mounts[index // 2 % len(mounts)] if index % 2 else None for index in range(24)]
    mixed = stepped(requests, given)
    plain = stepped(requests, [None] * 24)
    for request, mount, beside, without in zip(requests, given, mixed, plain, strict=True):
        assert_alone(request, mount, beside)
        if mount is None:
            assert torch.equal(beside, without)
        else:
            assert (beside - without).abs().max() > 100 * ROUNDING


async def test_mixed_songs_keep_to_their_adapters_in_the_batcher() -> None:
    requests = songs(12, seed=2)
    mounts = [mount_of((name, 1.0)) for name in GOLDEN[:3]]
    given = [mounts[index % 4] if index % 4 < 3 else None for index in range(12)]
    batcher = StepBatcher(WatchedEngine("turbo"), tokens_per_forward=400)
    found = await asyncio.gather(
        *(run(batcher, request, mount=mount) for request, mount in zip(requests, given, strict=True))
    )
    for request, mount, (latents,) in zip(requests, given, found, strict=True):
        assert_alone(request, mount, latents)


def test_rows_of_one_adapter_are_neighbours_and_plain_rows_keep_their_places() -> None:
    requests = [replace(SHORT, seed=seed) for seed in range(6)]
    first, second = mount_of(("style", 1.0)), mount_of(("voice", 1.0))
    given = [first, second, None, first, second, None]
    plain = stepped(requests, [None] * 6)
    mixed = stepped(requests, given)
    for index in (2, 5):
        assert torch.equal(mixed[index], plain[index])
    for index, mount in enumerate(given):
        assert_alone(requests[index], mount, mixed[index])


def test_strength_0_is_no_adapter() -> None:
    assert mount_of(("style", 0.0)) is None
    assert mount_of(("dora", 0.0), ("texture", 0.0)) is None


def test_the_sum_of_adapters_does_not_depend_on_their_order() -> None:
    one, other = (stepped([SHORT], [mount_of(*uses)])[0] for uses in (_SUM, _SUM[::-1]))
    assert (one - other).abs().max() <= ROUNDING
    assert (one - stepped([SHORT], [mount_of(*_SUM[:1])])[0]).abs().max() > 100 * ROUNDING


_SUM = (("dora", 0.5), ("texture", 1.0), ("style", -0.5))


def test_two_doras_of_one_song_are_refused() -> None:
    with pytest.raises(JobError, match="Only one of the adapters of a song may be a DoRA"):
        mount_of(("dora", 1.0), ("dora_lokr", 1.0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "adapters"


def store_over(
    folder: Path,
    room: int = 1 << 30,
    clock: "Clock | None" = None,
    count_load: Callable[[], None] = lambda: None,
) -> AdapterStore:
    shelf = AdapterShelf([str(folder)])
    return AdapterStore(shelf, loaded("turbo").mounter, room, count_load, clock or Clock())


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def bytes_of_one(folder: Path) -> int:
    return next(iter(adapter_files([str(folder)]).values())).outline.loaded_bytes(4)


@pytest.mark.parametrize("count", [40])
async def test_jobs_over_more_adapters_than_there_is_room_for_get_their_own(folder: Path, count: int) -> None:
    await _check_many_jobs(folder, count, adapters=10)


@pytest.mark.slow
async def test_200_jobs_over_50_adapters_with_room_for_eight(folder: Path) -> None:
    await _check_many_jobs(folder, 200, adapters=50)


async def _check_many_jobs(folder: Path, count: int, adapters: int) -> None:
    for index in range(adapters):
        write_lora(folder, f"lora{index}", seed=index)
    room = 8 * bytes_of_one(folder)
    store, batcher = store_over(folder, room), StepBatcher(WatchedEngine("turbo"), tokens_per_forward=600)
    rng = random.Random(3)
    uses = [AdapterUse(f"lora{rng.randrange(adapters)}", rng.choice([0.5, 1.0])) for _ in range(count)]
    requests = [replace(SHORT, frames=40, seed=index, adapters=(use,)) for index, use in enumerate(uses)]
    most = 0

    async def job(request: DenoiseRequest) -> np.ndarray:
        nonlocal most
        async with store.mounted(request.adapters) as mounted:
            most = max(most, store.byte_count)
            (used,) = mounted.used
            assert (used.name, used.scale) == (request.adapters[0].name, request.adapters[0].scale)
            return (await run(batcher, request, mount=mounted.mount))[0]

    found = await asyncio.gather(*map(job, requests))
    assert most <= room
    for request, latents in zip(requests, found, strict=True):
        use = request.adapters[0]
        mount = mount_of((use.name, use.scale), folder=folder)
        assert_alone(request, mount, latents)


async def test_an_adapter_is_loaded_once_and_the_least_recently_used_goes_first(folder: Path) -> None:
    for seed, name in enumerate("abc"):
        write_lora(folder, name, seed)
    store = store_over(folder, 2 * bytes_of_one(folder))
    mounts = {}
    for name in ("a", "b", "a", "c"):
        async with store.mounted([AdapterUse(name)]) as mounted:
            mounts.setdefault(name, mounted.mount)
            assert mounts[name] is mounted.mount
    async with store.mounted([AdapterUse("a")]) as mounted:
        assert mounted.mount is mounts["a"]
    async with store.mounted([AdapterUse("b")]) as mounted:
        assert mounted.mount is not mounts["b"]


async def test_each_load_is_counted(folder: Path) -> None:
    for seed, name in enumerate("abc"):
        write_lora(folder, name, seed)
    loads: list[str] = []
    store = store_over(folder, 2 * bytes_of_one(folder), count_load=lambda: loads.append("load"))
    for name in ("a", "a", "b", "c", "a"):
        async with store.mounted([AdapterUse(name)]):
            pass
    assert len(loads) == 4  # `a` a second time, because `c` took its room


async def test_songs_with_equal_strengths_share_a_mount_and_others_do_not(folder: Path) -> None:
    write_lora(folder, "a", 1)
    store = store_over(folder)
    async with AsyncExitStack() as stack:
        uses = [[AdapterUse("a", 0.5)], [AdapterUse("a", 0.5)], [AdapterUse("a", 0.6)]]
        first, same, other = [await stack.enter_async_context(store.mounted(use)) for use in uses]
        assert first.mount is same.mount is not other.mount


async def test_an_adapter_in_use_is_not_evicted_and_a_job_without_room_waits(folder: Path) -> None:
    for seed, name in enumerate("abc"):
        write_lora(folder, name, seed)
    store = store_over(folder, 2 * bytes_of_one(folder))
    entered: list[str] = []

    async def job(name: str) -> None:
        async with store.mounted([AdapterUse(name)]):
            entered.append(name)

    async with store.mounted([AdapterUse("a")]) as first:
        async with store.mounted([AdapterUse("b")]):
            waiting = asyncio.create_task(job("c"))
            await job("a")  # one that is loaded passes the one that waits
            assert entered == ["a"]
        await waiting
        assert entered == ["a", "c"]
        async with store.mounted([AdapterUse("a")]) as again:
            assert again.mount is first.mount


async def test_the_least_recently_used_stays_while_it_is_in_use(folder: Path) -> None:
    for seed, name in enumerate("abc"):
        write_lora(folder, name, seed)
    store = store_over(folder, 2 * bytes_of_one(folder))
    async with store.mounted([AdapterUse("a")]) as first:
        for name in "bc":
            async with store.mounted([AdapterUse(name)]):
                assert store.byte_count == 2 * bytes_of_one(folder)
        async with store.mounted([AdapterUse("a")]) as again:
            assert again.mount is first.mount


async def test_a_job_that_has_waited_long_is_passed_by_nobody(folder: Path) -> None:
    for seed, name in enumerate("ab"):
        write_lora(folder, name, seed)
    clock = Clock()
    store = store_over(folder, bytes_of_one(folder), clock)
    order: list[str] = []

    async def job(name: str, label: str) -> None:
        async with store.mounted([AdapterUse(name)]):
            order.append(label)

    async with store.mounted([AdapterUse("a")]):
        waiting = asyncio.create_task(job("b", "waits for room"))
        await _until_waiting(store, 1)
        clock.now = store_module.PATIENCE_SECONDS + 1
        late = asyncio.create_task(job("a", "came later"))
        await _until_waiting(store, 2)
    await asyncio.gather(waiting, late)
    assert order == ["waits for room", "came later"]


async def _until_waiting(store: AdapterStore, count: int) -> None:
    while len(store._waiting) < count:  # noqa: ASYNC110 (the store has no event for this)
        await asyncio.sleep(0.001)


async def test_a_cancelled_job_holds_nothing(folder: Path) -> None:
    for seed, name in enumerate("ab"):
        write_lora(folder, name, seed)
    store = store_over(folder, bytes_of_one(folder))

    async def job(name: str) -> None:
        async with store.mounted([AdapterUse(name)]):
            await asyncio.sleep(3600)

    for name in ("a", "a", "b"):
        cancelled = asyncio.create_task(job(name))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
    async with store.mounted([AdapterUse("b")]) as mounted:
        assert mounted.mount is not None
    async with store.mounted([AdapterUse("a")]) as mounted:
        assert mounted.mount is not None


async def test_a_replaced_file_is_another_adapter(folder: Path) -> None:
    own = write_lora(folder, "folk", 1)
    store = store_over(folder)
    async with store.mounted([AdapterUse("folk")]) as mounted:
        before = mounted.used[0].identity
    (own / "adapter_model.safetensors").unlink()
    write_lora(folder / "new", "folk", 2)
    (folder / "new" / "folk" / "adapter_model.safetensors").rename(own / "adapter_model.safetensors")
    store._shelf._listed_at = None
    async with store.mounted([AdapterUse("folk")]) as mounted:
        assert mounted.used[0].identity != before


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (pair(rows=33), "does not fit the model: .*lora_A.weight is for a matrix"),
        ({**pair(), "layers.0.mlp.up_proj.lora_A.weight": torch.ones(4, 32)}, "no partner lora_B"),
        ({key: tensor * torch.nan for key, tensor in pair().items()}, "numbers that are not finite"),
    ],
)
async def test_a_damaged_adapter_fails_its_own_job(
    folder: Path, tensors: dict[str, torch.Tensor], message: str
) -> None:
    write_tensors(folder / "bad.safetensors", tensors)
    write_lora(folder, "good", 1)
    store = store_over(folder)
    for _ in range(2):
        with pytest.raises(JobError, match=message):
            async with store.mounted([AdapterUse("good"), AdapterUse("bad")]):
                pass
    async with store.mounted([AdapterUse("good")]) as mounted:
        assert mounted.mount is not None


async def test_what_never_fits_into_the_budget_is_refused(folder: Path) -> None:
    write_lora(folder, "a", 1, targets=(*ATTENTION, *MLP))
    store = store_over(folder, room=100)
    with pytest.raises(JobError, match="more than this server has for adapters"):
        async with store.mounted([AdapterUse("a")]):
            pass


async def test_an_unknown_adapter_is_refused(folder: Path) -> None:
    with pytest.raises(JobError, match="no adapter 'x'"):
        async with store_over(folder).mounted([AdapterUse("x")]):
            pass


def test_bytes_are_known_before_an_adapter_is_loaded() -> None:
    mounter = loaded("turbo").mounter
    for file in adapter_files([str(GOLDEN_ADAPTERS)]).values():
        if file.name == "xl_style":
            continue
        adapter = mounter.on_device(read_adapter(file.content(), file.outline))
        assert 0 < adapter.byte_count <= file.outline.loaded_bytes(4)
