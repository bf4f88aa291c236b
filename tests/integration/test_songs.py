"""Songs through the real graph: every kind of request, end to end over HTTP."""

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from deployments.common.audio_formats import FORMATS
from deployments.common.messages import REPAINT_MODES, STAGES
from tests.audio import chord, write_recording
from tests.live_server import Client

GIVEN = {"bpm": 100, "key_scale": "C Major", "time_signature": "4/4"}
"""Together with a duration this leaves nothing for the language model."""
FIXED = {"use_random_seed": False, "seed": 7, "batch_size": 1, "audio_format": "wav", **GIVEN}


@pytest.fixture
def recording(server: Client, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Write a recording of 8 s into the folder that *_audio_path may refer to."""
    path = write_recording(server.audio_in / f"{request.node.name[:40]}.wav", seconds=8)
    yield path
    path.unlink()


def samples_of(server: Client, result: dict[str, Any], item: int = 0) -> np.ndarray:
    samples, sample_rate = soundfile.read(
        io.BytesIO(server.audio(result["audio_paths"][item])), dtype="int16"
    )
    assert sample_rate == 48_000
    assert samples.shape[1] == 2
    return samples


@pytest.mark.parametrize("seconds", [0.5, 3.3, 10.0])
def test_a_song_has_exactly_the_asked_length(server: Client, seconds: float) -> None:
    result = server.make(audio_duration=seconds, **FIXED)
    assert len(samples_of(server, result)) == round(48_000 * seconds)
    assert result["duration"] == seconds


def test_a_song_takes_hardly_longer_than_the_models_do(server: Client) -> None:
    """The stages' own seconds are of the same moments, so the load of the machine affects both sides."""
    started = time.monotonic()
    result = server.make(caption="upbeat pop song", thinking=True, audio_duration=10)
    assert time.monotonic() - started < 2 * sum(result["timings"].values())


def test_the_peak_is_at_minus_one_decibel(server: Client) -> None:
    samples = samples_of(server, server.make(audio_duration=3, **FIXED))
    assert abs(int(np.abs(samples.astype(int)).max()) - round(0.8913 * 32768)) <= 2


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(server: Client) -> None:
    def make(seed: int) -> bytes:
        result = server.make(caption="a", thinking=True, audio_duration=4, **{**FIXED, "seed": seed})
        assert result["seed_value"] == str(seed)
        return server.audio(result["first_audio_path"])

    assert make(7) == make(7)
    assert make(7) != make(8)


def test_item_i_of_a_batch_uses_seed_plus_i(server: Client) -> None:
    batch = server.make(audio_duration=3, **{**FIXED, "batch_size": 2})
    alone = server.make(audio_duration=3, **{**FIXED, "seed": 8})
    assert batch["seed_value"] == "7, 8"
    difference = samples_of(server, batch, 1).astype(int) - samples_of(server, alone)
    assert np.abs(difference).max() <= 2  # Songs that step together share their rounding.


def test_given_metadata_comes_back_and_missing_metadata_is_filled(server: Client) -> None:
    result = server.make(caption="slow emotional ballad", bpm=72, batch_size=1)
    assert result["bpm"] == result["metas"]["bpm"] == 72
    assert 10 <= result["duration"] <= 30
    assert result["keyscale"]
    assert result["timesignature"] in {"2", "3", "4", "6"}
    assert result["lm_model"] == "acestep-5Hz-lm-0.6B"
    assert result["audio_codes"] == [None]


def test_complete_metadata_comes_back_as_written_without_the_lm(server: Client) -> None:
    result = server.make(audio_duration=2, **{**FIXED, "key_scale": "f♯ minor"})
    assert (result["bpm"], result["keyscale"], result["timesignature"]) == (100, "f♯ minor", "4/4")
    assert result["lm_model"] is None
    assert "planning" in result["timings"]
    assert "composing" not in result["timings"]


@pytest.mark.parametrize("backend", ["vllm", "pt"])
def test_thinking_writes_five_codes_a_second_for_each_item(server: Client, backend: str) -> None:
    result = server.make(thinking=True, audio_duration=4.5, batch_size=2, lm_backend=backend)
    runs = result["audio_codes"]
    assert [run.count("<|audio_code_") for run in runs] == [23, 23]
    assert runs[0] != runs[1]
    assert result["lm_model"] == "acestep-5Hz-lm-0.6B"
    assert "composing" in result["timings"]


def test_thinking_with_codes_uses_them_and_their_length(server: Client) -> None:
    codes = ["1,2,3,4,5,6,7,8,9,10", "63999,5,5,5,5"]
    result = server.make(thinking=True, audio_code_string=codes, **{**FIXED, "batch_size": 2})
    assert result["lm_model"] is None
    assert result["audio_codes"][1] == "<|audio_code_63999|>" + "<|audio_code_5|>" * 4
    assert [len(samples_of(server, result, item)) for item in (0, 1)] == [96_000, 48_000]


def test_codes_without_thinking_are_ignored_and_said_to_be(server: Client) -> None:
    plain = server.make(audio_duration=2, **FIXED)
    ignored = server.make(audio_duration=2, audio_code_string="1,2,3", **FIXED)
    assert server.audio(plain["first_audio_path"]) == server.audio(ignored["first_audio_path"])
    assert "audio_code_string" in ignored["status_message"]


def test_codes_steer_the_music(server: Client) -> None:
    plain = server.make(audio_duration=2, **FIXED)
    steered = server.make(audio_duration=2, thinking=True, audio_code_string="9,8,7", **FIXED)
    assert server.audio(plain["first_audio_path"]) != server.audio(steered["first_audio_path"])


def test_a_cover_lasts_as_long_as_its_source(server: Client, recording: Path) -> None:
    result = server.make(task_type="cover", src_audio_path=str(recording), **FIXED)
    assert len(samples_of(server, result)) == 8 * 48_000
    assert result["duration"] == 8.0


def test_a_repaint_keeps_the_source_outside_its_window(server: Client, recording: Path) -> None:
    result = server.make(
        task_type="repaint", src_audio_path=str(recording), repainting_start=3, repainting_end=5, **FIXED
    )
    source, _ = soundfile.read(recording, dtype="int16")
    samples = samples_of(server, result)
    assert len(samples) == len(source)
    kept = np.r_[0 : round(2.9 * 48_000), round(5.1 * 48_000) : len(source)]
    assert np.array_equal(samples[kept], source[kept])
    window = slice(3 * 48_000, 5 * 48_000)
    assert not np.array_equal(samples[window], source[window])


def test_an_aggressive_repaint_keeps_nothing_of_the_source_and_a_conservative_one_all_around_its_window(
    server: Client, recording: Path
) -> None:
    repaint = {"task_type": "repaint", "src_audio_path": str(recording), "repainting_start": 3} | FIXED
    source, _ = soundfile.read(recording, dtype="int16")
    kept = slice(0, round(2.94 * 48_000))  # The crossfade begins 50 ms before the window.
    songs = {
        mode: samples_of(server, server.make(**repaint, repainting_end=5, repaint_mode=mode))
        for mode in REPAINT_MODES
    }
    assert np.array_equal(songs["conservative"][kept], source[kept])
    assert not np.array_equal(songs["aggressive"][kept], source[kept])
    window = slice(3 * 48_000, 5 * 48_000)
    assert not np.array_equal(songs["conservative"][window], songs["balanced"][window])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"shift": 1}, "Steps: 8, Scale: 7.0, Seeds: 7; Shift: 1.0, Method: ode"),
        (
            {"timesteps": "1,0.8,0.5,0"},
            "Steps: 3, Scale: 7.0, Seeds: 7; Timesteps: 1 0.7692 0.5, Method: ode",
        ),
        ({"infer_method": "sde"}, "Steps: 8, Scale: 7.0, Seeds: 7; Shift: 3.0, Method: sde"),
    ],
)
def test_another_schedule_makes_other_music_and_the_same_again(
    server: Client, fields: dict[str, Any], said: str
) -> None:
    plain = server.make(audio_duration=2, **FIXED)
    songs = [server.make(audio_duration=2, **FIXED, **fields) for _ in range(2)]
    assert songs[0]["generation_info"].startswith(said)
    first, again = (server.audio(song["first_audio_path"]) for song in songs)
    assert first == again != server.audio(plain["first_audio_path"])


def test_an_extension_that_the_model_cannot_follow_is_said_to_have_no_effect(server: Client) -> None:
    plain = server.make(audio_duration=2, **FIXED)
    result = server.make(audio_duration=2, use_adg=True, track_name="drums", **FIXED)
    assert "use_adg was ignored: acestep-v15-turbo takes no guidance." in result["status_message"]
    assert "track_name was ignored: task_type is text2music." in result["status_message"]
    assert server.audio(result["first_audio_path"]) == server.audio(plain["first_audio_path"])


def test_a_cover_may_begin_with_its_source_under_noise(server: Client, recording: Path) -> None:
    cover = {"task_type": "cover", "src_audio_path": str(recording), **FIXED}
    result = server.make(cover_noise_strength=0.5, **cover)
    assert result["generation_info"].startswith("Steps: 2,")
    assert "2 were left" in result["generation_info"]


@pytest.mark.parametrize("backend", ["vllm", "pt"])
def test_metadata_can_be_guided_too(server: Client, backend: str) -> None:
    fields = {"use_random_seed": False, "seed": 3, "batch_size": 1, "lm_backend": backend, "lm_cfg_scale": 5}
    guided = server.make(audio_duration=2, bpm=90, lm_guide_metadata=True, **fields)
    assert guided["bpm"] == 90
    assert guided["keyscale"]
    assert guided["timesignature"] in {"2", "3", "4", "6"}


def test_a_repaint_past_both_ends_makes_the_song_longer(server: Client, recording: Path) -> None:
    result = server.make(
        task_type="repaint", src_audio_path=str(recording), repainting_start=-1, repainting_end=9.5, **FIXED
    )
    assert len(samples_of(server, result)) == round(10.5 * 48_000)


def test_a_reference_changes_the_timbre(server: Client, recording: Path) -> None:
    plain = server.make(audio_duration=2, **FIXED)
    styled = server.make(audio_duration=2, reference_audio_path=str(recording), **FIXED)
    assert server.audio(plain["first_audio_path"]) != server.audio(styled["first_audio_path"])


def test_a_result_of_this_server_can_be_the_next_source(server: Client) -> None:
    first = server.make(audio_duration=6, **FIXED)
    cover = server.make(task_type="cover", src_audio_path=first["first_audio_path"], **FIXED)
    assert cover["duration"] == 6.0


def test_an_upload_beats_the_path_of_the_same_name(server: Client) -> None:
    upload = io.BytesIO()
    soundfile.write(upload, chord(6, 44_100), 44_100, format="FLAC")
    answer = server.http.post(
        "/v1/music/generate",
        data={"task_type": "cover", "src_audio_path": "/nowhere.wav", "batch_size": "1", "bpm": "90"},
        files={"src_audio": ("song.flac", upload.getvalue())},
    )
    assert answer.status_code == 200, answer.text
    job = server.wait(answer.json()["job_id"])
    assert job["result"]["duration"] == 6.0
    assert job["result"]["bpm"] == 90


@pytest.mark.parametrize("audio_format", sorted(FORMATS))
def test_every_format_is_served_with_its_type(server: Client, audio_format: str) -> None:
    result = server.make(audio_duration=2, **{**FIXED, "audio_format": audio_format})
    path = result["first_audio_path"]
    assert path.endswith("." + FORMATS[audio_format].extension)
    answer = server.http.get(path)
    assert answer.headers["content-type"] == FORMATS[audio_format].media_type
    part = server.http.get(path, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, answer.content[10:20])


def test_progress_passes_through_the_stages_in_their_order(server: Client) -> None:
    """A poll may miss a stage that is shorter than a call to the tracker. The result names all stages."""
    job_id = server.submit(thinking=True, audio_duration=20, batch_size=1)
    seen, fractions = [], []
    while (job := server.http.get(f"/v1/jobs/{job_id}", params={"wait": 5}).json())["status"] != "succeeded":
        assert job["status"] in {"queued", "running"}
        assert job["eta_seconds"] is not None
        seen.append(job["stage"])
        fractions.append(job["progress"])
    assert fractions == sorted(fractions)
    running = [stage for stage in seen if stage in STAGES]
    assert running == sorted(running, key=STAGES.index)
    assert len(set(running)) >= 2
    assert job["result"]["timings"].keys() == set(STAGES)
    assert (job["stage"], job["progress"], job["queue_position"], job["eta_seconds"]) == ("done", 1, 0, None)


def test_the_result_tells_when_lyrics_are_sung(server: Client) -> None:
    lyrics = "[verse]\nfirst line\nsecond line"
    asked = {**FIXED, "batch_size": 2, "audio_duration": 3, "lyrics": lyrics, "lyric_timestamps": True}
    job_id = server.submit(**asked)
    songs = server.wait(job_id)["result"]["lyric_timestamps"]
    assert [[line["text"] for line in song["lines"]] for song in songs] == 2 * [lyrics.split("\n")]
    (row,) = server.http.post("/query_result", json={"task_id_list": [job_id]}).json()["data"]
    assert [item["lrc"] for item in json.loads(row["result"])] == [song["lrc"] for song in songs]
    (dit, *_) = server.http.get("/v1/models").json()["models"]
    assert dit["follows_lyrics"]
