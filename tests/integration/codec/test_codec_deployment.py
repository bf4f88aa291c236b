import asyncio
import hashlib
from contextlib import aclosing
from pathlib import Path
from typing import Any

import c2pa
import numpy as np
import pytest
import soundfile

from configs.settings import ProvenanceSettings, Settings
from deployments.codec.deployment import Codec
from deployments.codec.files.loudness import peak
from deployments.codec.files.signing import SigningError
from deployments.common.audio_formats import FORMATS
from deployments.common.errors import JobError
from deployments.common.marks import Marks
from deployments.common.messages import AudioFile, DecodeRequest, EncodeRequest, Progress, Splice
from serve_app.admin.certificates import development_certificate
from tests.decoded_audio import decoded_file, stored_recording
from tests.encoded_audio import music
from tests.latents import LATENT_CHANNELS, HeldLatents, HeldLatentsStore, random_latents


@pytest.fixture(scope="module")
def codec(codec_settings: Settings) -> Any:
    return replica(codec_settings)


def replica(settings: Settings) -> Any:
    """Return an instance of the class that Serve runs in a replica."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deployments.codec.deployment.LatentsStore", HeldLatentsStore)
        return Codec.func_or_class(settings)


def certified(folder: Path) -> ProvenanceSettings:
    """Write a development certificate, and return the settings that name it."""
    paths = (folder / "certificate.pem", folder / "private_key.pem")
    for path, content in zip(paths, development_certificate("Test"), strict=True):
        path.write_bytes(content)
    return ProvenanceSettings(certificate=paths[0], private_key=paths[1])


@pytest.fixture(scope="module")
def latents() -> HeldLatents:
    return HeldLatents(random_latents(128))


@pytest.fixture
def recording(tmp_path: Path) -> str:
    path = tmp_path / "source"
    # The samples fit into 16 bits without rounding.
    path.write_bytes(stored_recording(np.round(music(4.0) * 32_768) / 32_768))
    return str(path)


def size(path: str) -> int:
    return Path(path).stat().st_size


def listing(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def decode(codec: Any, request: DecodeRequest) -> list[Progress | AudioFile]:
    return [answer async for answer in codec.decode(request)]


async def test_latents_become_a_file_with_progress_on_the_way(
    codec: Any, latents: HeldLatents, tmp_path: Path
):
    uri = str(tmp_path / "job" / "1" / "0.wav")
    *progress, file = await decode(codec, DecodeRequest(latents, 5.1, "wav", uri))
    assert progress == [
        Progress("decoding", 1, 3),
        Progress("decoding", 2, 3),
        Progress("decoding", 3, 3),
        Progress("encoding", 0, 1),
    ]
    assert (file.uri, file.byte_count) == (uri, size(uri))
    assert set(file.timings) == {"decoding", "encoding"}
    info = soundfile.info(uri)
    assert (info.frames, info.samplerate, info.channels, info.subtype) == (244_800, 48_000, 2, "PCM_16")
    assert peak(decoded_file(uri)) == pytest.approx(10 ** (-1 / 20), abs=1e-4)


@pytest.mark.parametrize("audio_format", FORMATS)
async def test_every_format_is_written(codec: Any, latents: HeldLatents, tmp_path: Path, audio_format: str):
    uri = str(tmp_path / f"song.{FORMATS[audio_format].extension}")
    await decode(codec, DecodeRequest(latents, 2.0, audio_format, uri))
    assert abs(decoded_file(uri).shape[1] - 96_000) < 1_024


async def test_the_same_latents_give_the_same_bytes(codec: Any, latents: HeldLatents, tmp_path: Path):
    paths = [tmp_path / name for name in ("first.wav", "second.wav")]
    for path in paths:
        await decode(codec, DecodeRequest(latents, 5.0, "wav", str(path)))
    assert paths[0].read_bytes() == paths[1].read_bytes()


async def test_a_file_tells_its_hash_and_its_marks_and_is_signed_where_there_is_a_certificate(
    codec: Any, latents: HeldLatents, codec_settings: Settings, tmp_path: Path
):
    path = tmp_path / "song.mp3"
    request = DecodeRequest(latents, 2.0, "mp3", str(path), marks=Marks("acestep-v15-turbo", None, 7))
    *_, file = await decode(codec, request)
    assert file.kinds == ("ID3", "XMP")
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    plain = decoded_file(path)
    signing = replica(codec_settings.model_copy(update={"provenance": certified(tmp_path)}))
    *_, file = await decode(signing, request)
    assert file.kinds == ("ID3", "XMP", "C2PA")
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert np.array_equal(decoded_file(path), plain)
    with c2pa.Reader(path) as reader:
        assert reader.get_validation_state() == "Valid"


def test_a_replica_with_a_certificate_that_cannot_sign_does_not_start(
    codec_settings: Settings, tmp_path: Path
):
    provenance = certified(tmp_path)
    provenance.private_key.write_text("no key")
    with pytest.raises(SigningError, match="is no private key"):
        replica(codec_settings.model_copy(update={"provenance": provenance}))


@pytest.mark.parametrize("audio_format", ["wav", "flac"])
async def test_a_repaint_keeps_the_source_outside_its_window(
    codec: Any, latents: HeldLatents, recording: str, tmp_path: Path, audio_format: str
):
    uri = str(tmp_path / f"song.{audio_format}")
    await decode(codec, DecodeRequest(latents, 4.0, audio_format, uri, Splice(recording, 1.0, 2.0)))
    song, source = decoded_file(uri), decoded_file(recording)
    assert np.array_equal(song[:, :46_800], source[:, :46_800])
    assert np.array_equal(song[:, 97_200:], source[:, 97_200:])
    assert not np.allclose(song[:, 48_000:96_000], source[:, 48_000:96_000], atol=0.01)


async def test_a_source_is_padded_and_encoded_whole(codec: Any, recording: str):
    plain = await codec.encode(EncodeRequest(recording, "source"))
    latents = await plain.latents.read()
    assert (latents.shape, latents.dtype) == ((100, LATENT_CHANNELS), np.float32)
    padded = await codec.encode(EncodeRequest(recording, "source", pad_left=1.0, pad_right=0.5))
    longer = await padded.latents.read()
    assert longer.shape == (138, LATENT_CHANNELS)
    assert np.allclose(longer[35:115], latents[10:90], atol=1e-4)


async def test_sources_of_which_a_part_is_renewed_are_heard_alike_however_quiet_they_are(
    codec: Any, tmp_path: Path
):
    encoded = {}
    for level in (0.1, 0.001):
        path = tmp_path / f"source-{level}"
        path.write_bytes(stored_recording(music(4.0) * level))
        encoded[level] = await codec.encode(EncodeRequest(str(path), "source", renewed=(1.0, 2.0)))
    assert encoded[0.1].gain > 1
    assert encoded[0.001].gain == pytest.approx(100 * encoded[0.1].gain)
    quiet, loud = [await encoded[level].latents.read() for level in (0.001, 0.1)]
    assert np.allclose(quiet, loud, atol=1e-3)


async def test_a_reference_has_750_frames_of_the_seeds_choice(codec: Any, recording: str):
    encoded = [await codec.encode(EncodeRequest(recording, "reference", seed)) for seed in (1, 2)]
    first, other = [await each.latents.read() for each in encoded]
    assert first.shape == other.shape == (750, LATENT_CHANNELS)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("purpose", ["source", "reference"])
async def test_a_silent_recording_has_no_latents(codec: Any, tmp_path: Path, purpose: Any):
    path = tmp_path / "silence"
    path.write_bytes(stored_recording(music(1.0) * 0))
    assert (await codec.encode(EncodeRequest(str(path), purpose))).latents is None


async def test_a_file_that_is_no_recording_fails_the_job_in_plain_words(codec: Any, tmp_path: Path):
    path = tmp_path / "text"
    path.write_text("no music")
    with pytest.raises(JobError, match=r"^The reference audio is not a recording .* submit the job again\.$"):
        await codec.encode(EncodeRequest(str(path), "reference"))


async def test_latents_that_are_not_finite_fail_the_job_and_leave_no_file(codec: Any, tmp_path: Path):
    broken = HeldLatents(random_latents(128) * np.float32(np.nan))
    with pytest.raises(JobError, match="not finite"):
        await decode(codec, DecodeRequest(broken, 5.0, "wav", str(tmp_path / "song.wav")))
    assert listing(tmp_path) == []


async def test_a_cancelled_song_leaves_no_file(codec: Any, latents: HeldLatents, tmp_path: Path):
    long = HeldLatents(np.concatenate([latents.latents] * 3))
    request = DecodeRequest(long, 15.0, "mp3", str(tmp_path / "song.mp3"))
    for last_stage in ("decoding", "encoding"):
        async with asyncio.timeout(60):
            task = asyncio.create_task(_decode_until(codec, request, last_stage))
            await asyncio.wait([task])
        assert task.cancelled()
        assert listing(tmp_path) == []


async def _decode_until(codec: Any, request: DecodeRequest, stage: str) -> None:
    async with aclosing(codec.decode(request)) as answers:
        async for answer in answers:
            if answer.stage == stage:
                # The cancellation takes effect at the next await, inside the deployment.
                asyncio.current_task().cancel()


def test_a_healthy_replica_says_what_it_serves(codec: Any):
    codec.check_health()
    assert codec.ready() == "vae"
