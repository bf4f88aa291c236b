"""Each curl example of the user's API document, exactly as printed there, with real curl."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.audio import write_recording
from tests.live_server import Client

DOCUMENT = Path(__file__).parent.parent / "data" / "seed_api.txt"
EXAMPLES = re.findall(r"""^curl -X POST .*?['"]$""", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
JOB_KEYS = {
    "job_id", "status", "created_at", "started_at", "finished_at", "queue_position", "eta_seconds",
    "avg_job_seconds", "result", "error", "progress", "stage", "expires_at",
}  # fmt: skip
RESULT_KEYS = {
    "first_audio_path", "second_audio_path", "audio_paths", "generation_info", "status_message", "seed_value",
    "bpm", "duration", "genres", "keyscale", "timesignature", "metas", "lm_model", "dit_model", "audio_codes",
    "timings", "sampling", "lyric_timestamps", "adapters",
}  # fmt: skip


def test_the_document_has_its_five_examples() -> None:
    assert len(EXAMPLES) == 5


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: re.sub(r"\W+", "-", text[40:110]))
def test_example_is_accepted_and_its_job_succeeds(example: str, server: Client, tmp_path: Path) -> None:
    song = write_recording(tmp_path / "song.mp3", seconds=8)
    command = example.replace("http://localhost:8001", str(server.http.base_url).rstrip("/"))
    command = command.replace("/path/to/local/song.mp3", str(song))
    shown = subprocess.run(
        ["bash", "-c", f"{command} --silent --show-error"], capture_output=True, check=True
    )
    submitted = json.loads(shown.stdout)
    assert set(submitted) == {"job_id", "status", "queue_position"}
    assert submitted["status"] == "queued"
    assert submitted["queue_position"] >= 1

    job = server.wait(submitted["job_id"])
    assert set(job) == JOB_KEYS
    assert (job["status"], job["error"]) == ("succeeded", None)
    result = job["result"]
    assert set(result) == RESULT_KEYS
    assert result["status_message"].startswith("✅ Generation completed successfully!")
    asked = re.search(r"inference_steps\W+(\d+)", example)
    assert result["generation_info"].startswith(f"Steps: {asked[1] if asked else 8}, Scale: 7.0")
    assert result["audio_paths"] == [result["first_audio_path"], result["second_audio_path"]]
    assert set(result["metas"]) >= {"bpm", "duration", "genres", "keyscale", "timesignature"}
    for path in result["audio_paths"]:
        assert server.audio(path)[:3] == b"ID3" or server.audio(path)[0] == 0xFF
