"""Songs that the language model writes, and analyses, through the real graph over HTTP.

The tiny language model is random, so its words mean nothing; they have the form of a song's.
"""

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from configs.domain import LANGUAGES
from tests.audio import write_recording
from tests.live_server import Client

GIVEN = {"bpm": 100, "key_scale": "C Major", "time_signature": "4/4"}
SHORT = {"audio_duration": 2, "batch_size": 1, "use_random_seed": False, "seed": 7, "audio_format": "wav"}


def metadata_is_whole(found: dict[str, Any]) -> bool:
    return bool(
        30 <= found["bpm"] <= 300
        and found["key_scale"].split()[1] in {"major", "minor"}
        and found["time_signature"] in {"2", "3", "4", "6"}
        and 10 <= found["audio_duration"] <= 30
        and found["vocal_language"] in LANGUAGES
    )


@pytest.fixture(scope="module")
def written(server: Client) -> dict[str, Any]:
    """The result of a song from one sentence, with metadata that the user gives."""
    return server.make(sample_query="a Japanese waltz", caption="mine", lyrics="mine", **GIVEN, **SHORT)


def test_a_song_is_written_from_a_sentence_around_what_is_given(written: dict[str, Any]) -> None:
    metas = written["metas"]
    assert metas["caption"] not in {"", "mine", "a Japanese waltz"}
    assert metas["lyrics"] not in {"", "mine"}
    assert (metas["language"], written["lm_model"]) == ("ja", "acestep-5Hz-lm-0.6B")
    assert (written["bpm"], written["keyscale"], written["timesignature"]) == (100, "C Major", "4/4")
    assert (metas["requested_caption"], metas["requested_lyrics"]) == ("mine", "mine")


def test_the_same_seed_writes_the_same_song(server: Client, written: dict[str, Any]) -> None:
    again = server.make(sample_query="a Japanese waltz", **GIVEN, **SHORT)
    for key in ("caption", "lyrics"):
        assert again["metas"][key] == written["metas"][key]
    assert server.audio(again["first_audio_path"]) == server.audio(written["first_audio_path"])


def test_words_are_rewritten_and_the_caption_worded_before_a_song_is_made(server: Client) -> None:
    result = server.make(
        caption="pop", lyrics="[inst]", use_format=True, use_cot_caption=True, vocal_language="fr", **SHORT
    )
    metas = result["metas"]
    assert metas["caption"] not in {"", "pop"}
    assert (metas["lyrics"], metas["language"]) == ("[Instrumental]", "fr")
    worded = server.make(caption="pop", use_cot_caption=True, use_cot_language=True, **SHORT)
    assert worded["metas"]["caption"] not in {"", "pop"}
    assert worded["metas"]["language"] in LANGUAGES


def test_a_sentence_is_answered_at_once(server: Client) -> None:
    answer = server.http.post("/v1/music/sample", json={"query": "a waltz", "instrumental": True})
    assert answer.status_code == 200
    found = answer.json()
    assert (found["lyrics"], found["notes"]) == ("[Instrumental]", [])
    assert found["lm_model"] == "acestep-5Hz-lm-0.6B"
    assert metadata_is_whole(found)


def test_given_values_come_back_unchanged_beside_better_words(server: Client) -> None:
    given = {**GIVEN, "audio_duration": 12.5, "vocal_language": "ja", "lyrics": "[inst]"}
    answer = server.http.post("/v1/music/format", json={"caption": "pop", **given})
    assert answer.status_code == 200
    found = answer.json()
    assert {**found, **given, "lyrics": "[Instrumental]"} == found
    assert found["caption"] not in {"", "pop"}


def test_a_recording_is_described(server: Client, tmp_path: Path) -> None:
    path = write_recording(tmp_path / "a.wav", seconds=4)
    with path.open("rb") as file:
        answer = server.http.post("/v1/music/understand", files={"src_audio": file})
    assert answer.status_code == 200
    job = server.wait(answer.json()["job_id"])
    assert job["status"] == "succeeded", job["error"]
    result = job["result"]
    metas = result["metas"]
    assert (result["audio_paths"], result["duration"], metas["output"]) == ([], 4.0, "description")
    assert result["audio_codes"][0].count("<|audio_code_") == 20
    assert metas["caption"]
    assert metas["language"] in LANGUAGES
    assert 30 <= result["bpm"] <= 300
    assert "planning" in result["timings"]
    assert server.http.get(f"/v1/audio/{job['job_id']}/0.mp3").status_code == httpx.codes.NOT_FOUND


def test_a_song_of_this_server_has_the_codes_that_it_was_made_from(server: Client) -> None:
    song = server.make(thinking=True, **SHORT)
    codes = server.make(output="codes", src_audio_path=song["first_audio_path"])
    assert codes["audio_codes"] == song["audio_codes"]


def test_metadata_alone_is_asked_for_without_a_song(server: Client) -> None:
    result = server.make(output="metadata", caption="slow ballad", bpm=72)
    assert (result["bpm"], result["audio_paths"]) == (72, [])
    assert result["keyscale"]


@pytest.mark.parametrize("task_type", ["cover", "repaint"])
def test_a_tenth_of_a_second_of_silence_is_a_source_where_it_is_allowed(
    server: Client, tmp_path: Path, task_type: str
) -> None:
    """The window of a repaint may lie beyond its end."""
    path = tmp_path / "silence.wav"
    soundfile.write(path, np.zeros(1_600), 16_000)
    fields = {"task_type": task_type, "allow_silent_source": "true", "repainting_end": "3", "batch_size": "1"}
    with path.open("rb") as file:
        answer = server.http.post(
            "/v1/music/generate", data=fields | {"bpm": "90"}, files={"src_audio": file}
        )
    assert answer.status_code == 200, answer.text
    job = server.wait(answer.json()["job_id"])
    assert job["status"] == "succeeded", job["error"]
    assert job["result"]["duration"] == pytest.approx(3.0 if task_type == "repaint" else 0.1)


def test_a_repaint_hears_the_metadata_that_is_missing_in_its_source(server: Client) -> None:
    path = write_recording(server.audio_in / "heard.wav", seconds=4)
    try:
        repaint = {"task_type": "repaint", "src_audio_path": str(path), "repainting_end": 2}
        result = server.make(**repaint, bpm=90, batch_size=1)
    finally:
        path.unlink()
    assert (result["bpm"], result["duration"]) == (90, 4.0)
    assert result["keyscale"]
    assert "were heard in the source audio" in result["status_message"]
