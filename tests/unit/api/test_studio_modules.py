"""The modules of the studio that need no page: requests from earlier songs, records, keys and forms."""

import json
import subprocess
from typing import Any

import pytest
from playwright._impl._driver import compute_driver_executable

from serve_app.studio.files import STATIC

BROWSER = """
class Kept {
  getItem(name) { return this[name] ?? null; }
  setItem(name, text) { this[name] = String(text); }
  removeItem(name) { delete this[name]; }
}
const browser = {
  document: { baseURI: "http://server/", addEventListener() {} },
  navigator: { languages: ["en"] },
  addEventListener() {},
  localStorage: new Kept(),
  sessionStorage: new Kept(),
};
for (const [name, value] of Object.entries(browser))
  Object.defineProperty(globalThis, name, { value, configurable: true });
const load = (name) => import(`${process.argv[1]}/js/${name}.js`);
const given = JSON.parse(process.argv[2]);
"""
"""As much of a browser as these modules use."""
MODELS = {
    "models": [{"name": "turbo", "default_steps": 8}, {"name": "base", "default_steps": 50}],
    "default_model": "turbo",
    "adapters": [{"name": "jazz", "problem": None}, {"name": "broken", "problem": "no numbers"}],
}
ID = "33333333-3333-3333-3333-333333333333"
RESULT: dict[str, Any] = {
    "metas": {"caption": "a song", "duration": 5, "bpm": 90},
    "seed_value": "41, 42",
    "audio_codes": ["1,2", "3,4"],
    "generation_info": "Steps: 8; Sampling: 2026-01, DCW: off",
    "count": 2,
}


def run(script: str, given: Any) -> Any:
    """Run a script in Playwright's node in place of a browser. Return what it puts into `answer`."""
    node, _ = compute_driver_executable()
    code = f"{BROWSER}\nlet answer;\n{script}\nconsole.log(JSON.stringify(answer ?? null));"
    command = [node, "--input-type=module", "--eval", code, STATIC.as_uri(), json.dumps(given)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def exactly(record: dict[str, Any], item: int | None = None) -> dict[str, Any]:
    """Return the request that makes a song again exactly."""
    request: dict[str, Any] = run(
        """
        const { server } = await load("server");
        server.models = given.models;
        server.fields.set("sampling", { options: ["2026-01", "2026-04"] });
        answer = (await load("requests")).exactly(given.record, given.item);
        """,
        {"models": MODELS, "record": record, "item": item},
    )
    return request


def test_a_song_is_made_again_by_what_made_it() -> None:
    used = {
        "dit_model": "base",
        "sampling": "2026-01",
        "adapters": [{"name": name, "scale": 0.5, "sha256": "0"} for name in ("jazz", "broken", "gone")],
    }
    again = exactly({"request": {"caption": "a wish"}, "result": RESULT | used})
    assert (again["caption"], again["seed"], again["batch_size"]) == ("a song", "41,42", 2)
    assert (again["model"], again["sampling"]) == ("base", "2026-01")
    assert again["adapters"] == [{"name": "jazz", "scale": 0.5}]
    named = {"model": "turbo", "sampling": "2026-04", "adapters": [{"name": "jazz", "scale": 1}]}
    assert exactly({"request": named, "result": RESULT | used}).items() >= named.items()
    unknown = exactly({"request": None, "result": RESULT | {"dit_model": "gone", "sampling": "1999-01"}})
    assert not {"model", "sampling", "adapters"} & set(unknown)


@pytest.mark.parametrize(
    ("asked", "told", "item", "expected"),
    [
        ("7", "", 1, {"retake_seed": "8"}),
        ("4294967295", "", 1, {"retake_seed": "0"}),
        ("7,9", "", 1, {"retake_seed": "9"}),
        ("-1", "", 1, {"retake_seed": "-1"}),
        ("7", "", None, {"retake_seed": "7"}),
        ("-1", ", Retake: 0.3 of seeds 5 6; DiT: x", 1, {"retake_seed": "6", "retake_variance": 0.3}),
        ("-1", ", Retake: 0.3 of seeds 5 6", None, {"retake_seed": "5,6"}),
    ],
)
def test_one_take_has_the_retake_seed_that_it_had_in_the_batch(
    asked: str, told: str, item: int | None, expected: dict[str, Any]
) -> None:
    result = RESULT | {"generation_info": RESULT["generation_info"] + told}
    again = exactly({"request": {"retake_seed": asked}, "result": result}, item)
    assert again.items() >= expected.items()
    assert again["seed"] == ("41,42" if item is None else "42")


def test_steps_are_sent_where_those_of_the_model_are_not_the_default_of_the_field() -> None:
    steps = run(
        """
        const { server, suitedSteps } = await load("server");
        server.fields.set("inference_steps", { default: 8 });
        const sent = ["turbo", "base", ""];
        server.models = given;
        answer = sent.map(suitedSteps);
        server.models.default_model = "base";
        answer.push(suitedSteps(""));
        """,
        MODELS,
    )
    assert steps == [{}, {"inference_steps": 50}, {}, {"inference_steps": 50}]


def test_an_analysis_is_repeated_without_a_number_of_songs() -> None:
    result = {"metas": {"caption": "heard"}, "seed_value": "", "audio_codes": [], "count": 0}
    again = exactly({"request": {"output": "description"}, "result": result})
    assert again == {"output": "description", "caption": "heard"}


def test_records_from_files_are_sound_or_are_dropped() -> None:
    odd = {
        "id": ID,
        "parent": {"id": "<b>", "item": "x"},
        "kind": "<b>",
        "uploaded": "src_audio",
        "created": 1.0,
        "request": {
            "caption": {"toString": 1},
            "adapters": [7],
            "seed": 5,
            "track_classes": ["drums"],
            "callback_url": "http://mine/",
            "callback_events": "started",
        },
        "result": {"metas": {"caption": ["x"], "duration": "<b>", "bpm": 90}, "count": 1e9, "dit_model": 5},
    }
    unusable = [{**odd, "created": created} for created in (1e13, -1, "1", None, 4_000_000_000)]
    project = {"format": "acestep-studio", "songs": [odd, *unusable, {"id": "<b>"}, None, 7, []]}
    count, kept, exported, after = run(
        """
        const { songs } = await load("songs");
        const known = songs.import(JSON.stringify(given));
        const [kept] = songs.records.values();
        const exported = JSON.parse(songs.exported()).songs[0];
        const mine = { caption: "mine", callback_url: "http://mine/" };
        songs.remember({ id: kept.id, request: mine, kind: "repaint", uploaded: [] });
        songs.import(JSON.stringify({ ...given, songs: [{ ...given.songs[0], result: null }] }));
        answer = [known, kept, exported, [songs.get(kept.id), JSON.parse(songs.exported()).songs[0]]];
        """,
        project,
    )
    sound = {"seed": 5, "track_classes": ["drums"]}
    assert count == 1
    assert (kept["parent"], kept["kind"], kept["uploaded"], kept["request"]) == (None, "new", [], sound)
    assert kept["result"] == {"metas": {"bpm": 90}}
    assert exported == kept
    # What the browser knew stays, and an address of the user's own leaves it in no file.
    known, shared = after
    assert (known["result"], known["kind"]) == (kept["result"], "repaint")
    assert known["request"] == {"caption": "mine", "callback_url": "http://mine/"}
    assert shared["request"] == {"caption": "mine"}


def test_records_in_the_storage_are_checked_too() -> None:
    kept = run(
        """
        for (const [name, record] of Object.entries(given))
          localStorage.setItem(`studio.song.open.${name}`, JSON.stringify(record));
        answer = [...(await load("songs")).songs.records.keys()];
        """,
        {
            ID: {"id": ID, "created": 1.0, "request": None, "result": None},
            "late": {"id": "late", "created": 1e13},
            "other": {"id": "another", "created": 1.0},
        },
    )
    assert kept == [ID]


def test_a_browser_that_keeps_nothing_remembers_while_the_page_is_open() -> None:
    assert run(
        """
        for (const name of ["localStorage", "sessionStorage"])
          Object.defineProperty(globalThis, name, { get() { throw new Error("SecurityError"); } });
        const { songs } = await load("songs");
        const { apiKey, keepKey } = await load("key");
        keepKey("a key");
        for (const id of ["a", "b"]) songs.remember({ id, created: 1 });
        answer = [apiKey(), songs.records.size];
        """,
        None,
    ) == ["a key", 2]


@pytest.mark.parametrize(
    ("typed", "usable"),
    [
        (" \u200bacestep-\u2060k\ufeff\u00ad\n", "acestep-k"),
        ("é", "é"),
        ("acestep-“k”", None),
        ("ключ", None),
        ("\u200b ", None),
    ],
)
def test_keys_are_sent_without_what_cannot_be_seen(typed: str, usable: str | None) -> None:
    assert run('answer = (await load("key")).usableKey(given);', typed) == usable


def test_an_upload_carries_arrays_as_json() -> None:
    request = {"adapters": [{"name": "jazz", "scale": 1}], "track_classes": ["a,b"], "bpm": 90, "seed": None}
    sent = run(
        """
        globalThis.fetch = async (_, { body }) => {
          answer = Object.fromEntries([...body].filter(([name]) => name !== "src_audio"));
          return new Response('{"job_id": "x"}');
        };
        await (await load("api")).submitJob(given, { src_audio: new File(["x"], "x.wav") });
        """,
        request,
    )
    assert sent.keys() == request.keys() - {"seed"}
    assert (json.loads(sent["adapters"]), json.loads(sent["track_classes"]), sent["bpm"]) == (
        request["adapters"],
        request["track_classes"],
        "90",
    )
