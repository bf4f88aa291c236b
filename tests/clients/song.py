"""A client of ACE-Step's API with httpx. usage: python song.py BASE_URL FOLDER"""

import base64
import json
import sys
import time
from pathlib import Path
from typing import Any

import httpx

http = httpx.Client(base_url=sys.argv[1], timeout=60)
folder = Path(sys.argv[2])


def data(answer: httpx.Response) -> Any:
    """The data of an answer in the envelope."""
    answer.raise_for_status()
    body = answer.json()
    if body["code"] != 200 or body["error"] is not None:
        raise SystemExit(str(body))
    return body["data"]


def finish(task_id: str, name: str) -> dict[str, Any]:
    """Wait for a task and fetch its first song; return what is said about the song."""
    for _ in range(600):
        (row,) = data(http.post("/query_result", json={"task_id_list": [task_id]}))
        items = json.loads(row["result"])
        if row["status"] != 0:
            break
        time.sleep(0.2)
    if row["status"] != 1:
        raise SystemExit(row["progress_text"])
    item: dict[str, Any] = items[0]
    # Some clients cut the path out of the address and send it as a parameter of their own.
    path = item["file"].split("?path=")[1]
    song = http.get("/v1/audio", params={"path": path})
    song.raise_for_status()
    (folder / name).write_bytes(song.content)
    return item


def saved(url: str, name: str) -> None:
    (folder / name).write_bytes(base64.b64decode(url.split(",", 1)[1]))


health = data(http.get("/health"))
if not health["models_initialized"]:
    raise SystemExit("not ready")
model = http.get("/v1/models").json()["data"][0]["id"]

fields = {"prompt": "a calm song", "audioDuration": "1", "batchSize": 1, "audio_format": "wav"}
task = data(http.post("/release_task", json={**fields, "metas": json.dumps({"bpm": 90}), "model": model}))
item = finish(task["task_id"], "json.wav")
int(item["seed_value"])
if item["metas"]["bpm"] != 90:
    raise SystemExit(str(item["metas"]))

form = {"caption": "a song", "duration": "1", "batch_size": "1", "audio_format": "flac"}
finish(data(http.post("/release_task", data=form))["task_id"], "form.flac")

with (folder / "json.wav").open("rb") as recording:
    answer = http.post(
        "/release_task",
        data={"task_type": "cover", "prompt": "louder", "batch_size": "1", "audio_format": "wav"},
        files={"src_audio": ("blob", recording, "audio/webm")},
    )
finish(data(answer)["task_id"], "cover.wav")

chat = {
    "model": model,
    "messages": [{"role": "user", "content": [{"type": "text", "text": "<prompt>a song</prompt>"}]}],
    "audio_config": {"duration": 1, "format": "wav"},
}
plain = http.post("/v1/chat/completions", json=chat).raise_for_status().json()
saved(plain["choices"][0]["message"]["audio"][0]["audio_url"]["url"], "chat.wav")

content, reason = "", None
with http.stream("POST", "/v1/chat/completions", json={**chat, "stream": True}) as stream:
    for line in stream.iter_lines():
        if not line.startswith("data: ") or line == "data: [DONE]":
            continue
        choice = json.loads(line[6:])["choices"][0]
        content += choice["delta"].get("content", "")
        for part in choice["delta"].get("audio", []):
            saved(part["audio_url"]["url"], "stream.wav")
        reason = choice["finish_reason"]
if reason != "stop" or "## Metadata" not in content:
    raise SystemExit(f"{reason}: {content}")

(row,) = data(http.post("/query_result", json={"task_id_list": "nothing"}))
if row["status"] != 2 or http.get("/v1/audio", params={"path": "/etc/passwd"}).status_code != 404:
    raise SystemExit("unknown things are known")
