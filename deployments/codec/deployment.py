"""The Codec deployment: it encodes recordings to latents and decodes latents to finished audio files.

Waveforms stay inside the replica; requests and answers carry references to latents and storage URIs.
"""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar

from ray import serve

from configs import metrics
from configs.settings import ProvenanceSettings, Settings
from deployments.common.ending import ending_with_its_engine
from deployments.common.job_calls import JobCalls
from deployments.common.latents_store import LatentsStore
from deployments.common.messages import AudioFile, DecodeRequest, EncodedAudio, EncodeRequest, Progress
from deployments.common.meter import Meter
from deployments.common.processor import (
    engine_thread,
    keep_freed_memory,
    let_gpu_memory_grow,
    loading,
    use_threads,
)
from deployments.common.processor_share import share_of

if TYPE_CHECKING:
    from deployments.codec.batcher import TileForward
    from deployments.codec.files.file_work import Marking

_FILE_THREADS = 4

_Result = TypeVar("_Result")


@serve.deployment(
    name="Codec",
    ray_actor_options={"num_cpus": 0.1},
    max_ongoing_requests=16,  # their tiles share forwards; each holds its waveform, 230 MB for 600 s
    graceful_shutdown_timeout_s=120,
    health_check_period_s=5,
)
class Codec:
    """One replica: a VAE, its tile batcher and a few threads for files."""

    def __init__(self, settings: Settings) -> None:
        codec, self._checkpoint = settings.codec, settings.models.vae
        thread = engine_thread("vae")
        let_gpu_memory_grow(codec.device)
        with loading():
            import torch

            from deployments.checkpoints.location import checkpoint_folder
            from deployments.checkpoints.vae_loading import load_vae
            from deployments.codec.batcher import TileBatcher
            from deployments.codec.engine import VaeEngine
            from deployments.common.precision import engine_dtype

            use_threads(codec.threads)

            def loaded_engine() -> VaeEngine:
                vae = load_vae(checkpoint_folder(settings.models, self._checkpoint), "cpu", torch.float32)
                return VaeEngine(
                    vae,
                    codec.device,
                    engine_dtype(codec.dtype, codec.device),
                    codec.tile_frames,
                    shared_forwards=codec.tile_batch > 1,
                    compiled=codec.compiled,
                )

            self._engine = thread.submit(loaded_engine).result()
            self._marking = _marking(settings.provenance)
        keep_freed_memory()  # after loading, so that only memory freed by tiles is kept
        self._store = LatentsStore()
        self._calls = JobCalls(settings.tracing, "Codec")
        self._meter = Meter(metrics.CODEC_METRICS)
        self._batcher = TileBatcher(
            self._engine, codec.tile_batch, thread, self._count, share_of(codec.device, codec.threads)
        )
        self._file_threads = ThreadPoolExecutor(_FILE_THREADS, thread_name_prefix="audio-files")

    async def encode(self, request: EncodeRequest) -> EncodedAudio:
        """The latents of a stored recording. Raises JobError if it cannot be used."""
        from deployments.codec.files.file_work import recording_to_encode
        from deployments.codec.files.recordings import is_silent

        with self._calls.call("encode", request.origin, "reading") as enter:
            samples, gain = await self._in_file_thread(lambda _: recording_to_encode(request))
            if is_silent(samples):
                return EncodedAudio(None)
            enter("tiles")
            tiled = self._engine.encoding(samples)
            async with (
                ending_with_its_engine(self.check_health),
                aclosing(self._batcher.run(tiled)) as tiles_done,
            ):
                async for _ in tiles_done:
                    pass
            return EncodedAudio(await self._store.put(tiled.result.T), gain)

    async def decode(self, request: DecodeRequest) -> AsyncGenerator[Progress | AudioFile, None]:
        """Yield progress, then the finished file.

        Raises JobError if the song is silent or not finite, ray.exceptions.ObjectLostError if its latents are
        lost.
        """
        from deployments.codec.files.file_work import write_song

        with self._calls.call("decode", request.origin, "tiles") as enter:
            start = time.monotonic()
            tiled = self._engine.decoding(await request.latents.read())
            async with (
                ending_with_its_engine(self.check_health),
                aclosing(self._batcher.run(tiled)) as tiles_done,
            ):
                async for done in tiles_done:
                    yield Progress("decoding", done, len(tiled.tiles))
            decoded = time.monotonic()
            enter("writing")
            yield Progress("encoding", 0, 1)
            written = await self._in_file_thread(
                lambda report: write_song(tiled.result, request, report, self._marking)
            )
        timings = {"decoding": decoded - start, "encoding": time.monotonic() - decoded}
        yield AudioFile(request.uri, written.byte_count, timings, written.sha256, written.kinds)

    def ready(self) -> str:
        """The name of the loaded checkpoint."""
        return self._checkpoint

    async def check_health(self) -> None:
        """Raises RuntimeError if the engine cannot go on."""
        self._batcher.check()

    async def __del__(self) -> None:
        await self._store.linger()

    def _count(self, forward: "TileForward") -> None:
        self._meter.count(metrics.VAE_FORWARDS)
        self._meter.count(metrics.VAE_SECONDS, forward.seconds)
        self._meter.count(metrics.VAE_TILES, forward.tiles)
        self._meter.count(metrics.VAE_TILE_SLOTS, forward.tile_slots)
        self._meter.count(metrics.VAE_FRAMES, forward.frames)
        self._meter.count(metrics.VAE_MARGIN_FRAMES, forward.margin_frames)

    async def _in_file_thread(self, work: Callable[[Callable[[int], None]], _Result]) -> _Result:
        """Run `work(report)` on a thread.

        When this call is cancelled, the next `report` raises InterruptedError in `work`, and this call waits
        for the end of the work.
        """
        cancelled = threading.Event()

        def report(_samples_written: int) -> None:
            if cancelled.is_set():
                raise InterruptedError

        working = asyncio.get_running_loop().run_in_executor(self._file_threads, work, report)
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            cancelled.set()
            await asyncio.gather(working, return_exceptions=True)
            raise


def _marking(settings: ProvenanceSettings) -> "Marking":
    """How songs are marked. Raises SigningError where the certificate cannot be used."""
    from deployments.codec.files.file_work import Marking
    from deployments.codec.files.signing import Signing

    if settings.certificate is None or settings.private_key is None:
        return Marking(settings.tags)
    return Marking(settings.tags, Signing.of(settings.certificate, settings.private_key))
