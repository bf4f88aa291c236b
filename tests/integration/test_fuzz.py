"""Whatever is sent, no answer is a 5xx and none is missing. Afterwards the server makes a song.

`make test-all` sends 3,000 of each kind (FUZZ_CASES), `make test` a part. FUZZ_SEED chooses others.
"""

import json
import math
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from serve_app.api.release_task.fields import KNOWN
from serve_app.execution.failures import INTERNAL, UNAVAILABLE
from tests.encoded_audio import music, sound_file
from tests.live_server import JOB_TIMEOUT_SECONDS, GuardedServer
from tests.server_logs import tracebacks_in, written_since

CASES = int(os.environ.get("FUZZ_CASES", "96"))
SEED = int(os.environ.get("FUZZ_SEED", "5"))
MUTATIONS = CASES * 2 // 3
TIMEOUT_SECONDS = 30
"""Seconds for one request. A poll may ask to wait, but not for so long."""
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
GENERATE = "/v1/music/generate"
CHAT = "/v1/chat/completions"
WRITTEN = ("/v1/music/sample", "/v1/music/format")
"""Routes on which a valid request takes seconds of the language model, so that few are sent."""


@pytest.fixture(scope="module", autouse=True)
def still_works(guarded: GuardedServer) -> Iterator[None]:
    """After all cases, cancel what was accepted and let the server make a song."""
    yield
    guarded.alice.cancel_all()
    stats = guarded.alice.http.get("/v1/stats").raise_for_status().json()
    assert (stats["jobs"]["queued"], stats["jobs"]["running"]) == (0, 0)
    failed = guarded.alice.http.get("/v1/jobs", params={"status": "failed", "limit": 100}).json()["jobs"]
    assert not {job["error"] for job in failed} & {INTERNAL, UNAVAILABLE}
    guarded.alice.make(audio_duration=1, batch_size=1)
    assert tracebacks_in(guarded.log) == ""
    assert tracebacks_in(written_since({}, guarded.alice.logs)) == ""


class Sender:
    """Sends cases one after the other, keeps the queue from staying full, and counts the answers."""

    def __init__(self, server: GuardedServer) -> None:
        self._server = server
        self._random = random.Random(SEED)
        self._jobs: list[str] = []
        self.session = requests.Session()
        self.session.headers["Authorization"] = server.alice.http.headers["Authorization"]
        self.url = str(server.alice.http.base_url).rstrip("/")
        self.statuses: Counter[int] = Counter()

    def send_case(self, case: Case) -> None:
        if "job_id" in case.path_parameters and self._jobs and self._random.random() < 0.5:
            self._name_a_real_job(case)
        response = case.call(base_url=self.url, session=self.session, timeout=TIMEOUT_SECONDS)
        self._came(response.status_code, response.content)
        case.validate_response(response, checks=CHECKS)

    def send_body(self, body: bytes, content_type: str | None) -> None:
        headers = {} if content_type is None else {"Content-Type": content_type}
        response = self.session.post(self.url + GENERATE, data=body, headers=headers, timeout=TIMEOUT_SECONDS)
        self._came(response.status_code, response.content)
        assert response.status_code < 500, (response.status_code, response.text, body)
        assert response.json()

    def send(
        self, method: str, path: str, timeout: float = TIMEOUT_SECONDS, **options: Any
    ) -> requests.Response:
        """The answer to a request as `requests` takes it."""
        response = self.session.request(method, self.url + path, timeout=timeout, **options)
        self._came(response.status_code, response.content)
        return response

    def _name_a_real_job(self, case: Case) -> None:
        case.path_parameters["job_id"] = self._random.choice(self._jobs)
        if case.operation.path.endswith("/events"):  # The event stream ends with its job.
            self._server.alice.http.delete(f"/v1/jobs/{case.path_parameters['job_id']}")
        if "wait" in case.query:
            case.query["wait"] = 0.2

    def _came(self, status: int, content: bytes) -> None:
        self.statuses[status] += 1
        if status == 200 and content.startswith(b'{"job_id"') and len(content) < 200:
            self._jobs.append(json.loads(content)["job_id"])
        if status == 429:
            self._server.alice.cancel_all()


def test_requests_that_the_openapi_document_allows_and_forbids(guarded: GuardedServer) -> None:
    document = guarded.anonymous.get("/openapi.json").raise_for_status().json()
    operations = [found.ok() for found in schemathesis.openapi.from_dict(document).get_all_operations()]
    assert len(operations) == sum(map(len, document["paths"].values()))
    sender = Sender(guarded)
    # Most operations have few different cases. The one that submits jobs has any number, so it comes last.
    operations.sort(key=lambda operation: operation.path == GENERATE)
    for operation in operations:
        can_be_wrong = operation.path_parameters or operation.query or operation.headers or operation.body
        modes = list(GenerationMode) if can_be_wrong else [GenerationMode.POSITIVE]
        wanted = max(1, CASES // (120 if operation.path in WRITTEN else 30))
        if operation.path == GENERATE:
            wanted = CASES - sender.statuses.total()
        for mode in modes:
            send_cases(sender, operation, mode, math.ceil(wanted / len(modes)))
    assert sender.statuses.total() >= CASES
    print(f"\n{sender.statuses.total()} requests from the OpenAPI document: {dict(sender.statuses)}")


def send_cases(sender: Sender, operation: APIOperation, mode: GenerationMode, count: int) -> None:
    """Send `count` different cases, or all that exist."""

    @hypothesis.seed(SEED)
    @hypothesis.settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def run(case: Case) -> None:
        sender.send_case(case)

    run()


FIELDS: dict[str, Any] = {
    "caption": "upbeat pop",
    "lyrics": "[Verse]\nla la",
    "thinking": "true",
    "bpm": "120",
    "audio_duration": "1",
    "seed": "1,2",
    "timesteps": "[1, 0.5]",
    "metas": '{"bpm": 90}',
    "audio_code_string": "<|audio_code_5|>",
    "callback_url": "https://example.com/",
}


def bodies() -> list[tuple[bytes, str | None]]:
    """Return one valid body of each kind."""
    form = requests.Request("POST", "http://server", data=FIELDS).prepare()
    song = sound_file(music(0.2), "WAV", "PCM_16")
    uploads = {"src_audio": ("a.wav", song), "reference_audio": ("b.wav", song[:2_000])}
    multipart = requests.Request("POST", "http://server", data=FIELDS, files=uploads).prepare()
    json_body = requests.Request("POST", "http://server", json=FIELDS).prepare().body
    return [
        (bytes(json_body), "application/json"),
        (form.body.encode(), "application/x-www-form-urlencoded"),
        (bytes(multipart.body), multipart.headers["Content-Type"]),
        (bytes(json_body), None),
    ]


SPICES = (
    *(b"\0", b"\xff", b"\r\n", b"--", b'"', b"{", b"}", b"[" * 50, b"%", b"&", b"="),
    *(b"1e999", b"-1", b"NaN", b"null", b"9" * 400, b"\\ud800", "♯".encode(), b"<|im_end|>"),
    b"Content-Disposition: form-data; name=",
)


def mutated(draw: random.Random, body: bytes) -> bytes:
    data = bytearray(body)
    for _ in range(draw.choice((1, 1, 2, 5, 20))):
        start = draw.randrange(len(data) + 1)
        stop = min(len(data), start + draw.choice((0, 1, 8, 100)))
        data[start:stop] = draw.choice((*SPICES, b"", draw.randbytes(4), bytes(data[start:stop]) * 2))
    return bytes(data[: draw.randrange(len(data))] if draw.random() < 0.1 else data)


def test_mutated_bodies(guarded: GuardedServer) -> None:
    draw = random.Random(2_000 + SEED)
    sender = Sender(guarded)
    kinds = bodies()
    for number in range(MUTATIONS):
        body, content_type = kinds[number % len(kinds)]
        if draw.random() < 0.1:
            content_type = kinds[draw.randrange(len(kinds))][1]
        sender.send_body(mutated(draw, body), content_type)
    assert {200, 400, 422} <= set(sender.statuses)
    print(f"\n{MUTATIONS} mutated bodies: {dict(sender.statuses)}")


STRANGE: tuple[Any, ...] = (
    *(None, "", "null", "none", "undefined", "auto", "N/A", "maybe", "1", "-1", "1.5", "NaN", "9" * 400),
    *(0, -1, 1, 2.5, 10**30, -(10**30), 1e308, True, False, [], {}, [1, [2]], {"a": {"b": []}}),
    *("\ud800", "nul \0", "♯♭", "<|im_end|>", "[verse]\nla\nla\nla\nla", "<prompt>a</prompt>", "x" * 5_000),
    *(
        "/etc/passwd",
        "/v1/audio?path=/tmp/acestep-serve/x/0.mp3",
        "data:audio/wav;base64,UklGRg==",
        "{",
        "[1",
    ),
    *("cover", "repaint", "lego", "mp3", "m4a", "sde", "acestep/acestep-v15-turbo", "en-US", "1,2,-1"),
)
"""Values that some field does not expect."""
MESSAGE_PARTS: tuple[Any, ...] = (
    "a song",
    [{"type": "text", "text": "a song"}, {"type": "input_audio", "input_audio": {"data": "UklGRg=="}}],
    [{"type": "input_audio", "input_audio": {"data": "?"}}],
    [{"type": "text"}, 5],
)
RELEASE_ROUTES = {
    "/release_task": tuple(sorted(KNOWN)),
    "/query_result": ("task_id_list", "task_ids", "task_id"),
    "/v1/audio": ("path",),
    CHAT: (
        "messages",
        "stream",
        "audio_config",
        "seed",
        "lyrics",
        "sample_mode",
        "task_type",
    ),
    "/format_input": ("prompt", "lyrics", "param_obj", "temperature", "duration"),
    "/v1/create_sample": ("query", "instrumental", "vocal_language", "temperature"),
    "/create_random_sample": ("sample_type",),
    "/v1/init": ("model", "slot", "init_llm", "lm_model_path"),
    "/v1/lora/load": ("lora_path", "adapter_name"),
    "/v1/lora/scale": ("scale", "adapter_name"),
    "/v1/lora/toggle": ("use_lora",),
    "/cancel_task": ("task_id",),
    **dict.fromkeys(
        ("/health", "/v1/stats", "/v1/models", "/v1/model_inventory", "/v1/lora/status"), ("slot",)
    ),
    **dict.fromkeys(("/v1/lora/unload", "/v1/reinitialize", "/cleanup/x", "/v1/training/start"), ("a",)),
}
"""The routes of the ACE-Step API, and fields that each takes."""


def release_call(draw: random.Random, path: str) -> dict[str, Any]:
    """The options of a call with some strange values, in one of the forms of a body."""
    names = draw.choices(RELEASE_ROUTES[path], k=draw.choice((0, 1, 1, 2, 5)))
    fields = {name: draw.choice(STRANGE) for name in names}
    if draw.random() < 0.2:
        fields["param_obj"] = draw.choice((dict(fields), json.dumps(fields), "{"))
    if path in {"/release_task", CHAT}:
        fields |= {"audio_duration": 1, "batch_size": 1}
    if path == CHAT and draw.random() < 0.5:
        fields["messages"] = [{"role": "user", "content": draw.choice(MESSAGE_PARTS)}]
    headers = {"X-Strict": "1"} if draw.random() < 0.1 else {}
    kind = draw.random()
    if kind < 0.4:
        return {"data": json.dumps(fields), "headers": {**headers, "Content-Type": "application/json"}}
    if kind < 0.6:
        return {"data": {name: str(value).encode("utf-8", "replace") for name, value in fields.items()}}
    if kind < 0.7:
        song = ("a.wav", sound_file(music(0.2), "WAV", "PCM_16")[: draw.choice((99, 20_000))])
        return {
            "files": {"src_audio": song},
            "data": {"task_type": draw.choice(("cover", "text2music", "x"))},
        }
    if kind < 0.9:
        content_type = draw.choice(("application/json", "text/plain", "multipart/form-data; boundary=cut"))
        return {"data": mutated(draw, json.dumps(fields).encode()), "headers": {"Content-Type": content_type}}
    return {"headers": headers}


def test_calls_of_the_ace_step_api(guarded: GuardedServer) -> None:
    draw = random.Random(3_000 + SEED)
    sender = Sender(guarded)
    routes = list(RELEASE_ROUTES)
    for number in range(CASES):
        # Half of the calls go to the route with the most fields.
        path = "/release_task" if number % 2 else routes[number // 2 % len(routes)]
        options = release_call(draw, path)
        method = draw.choice(("GET", "POST", "POST", "POST"))
        timeout = TIMEOUT_SECONDS
        if path == CHAT:  # The answer is a song, which waits behind the jobs of the calls before.
            guarded.alice.cancel_all()
            timeout = JOB_TIMEOUT_SECONDS
        full_path = draw.choice(("", "/api")) + path + draw.choice(("", "", "/"))
        answer = sender.send(method, full_path, timeout, **options)
        assert answer.status_code < 500, (path, options, answer.text)
        assert not 300 <= answer.status_code < 400
        if answer.headers["Content-Type"] == "application/json":
            body = answer.json()
            assert body.get("code", 200) == answer.status_code, (path, options, answer.text)
            if answer.status_code != 200:
                assert isinstance(body["detail"], str)
    assert {200, 400, 422} <= set(sender.statuses)
    print(f"\n{CASES} calls of the ACE-Step API: {dict(sender.statuses)}")


def test_cancelling_at_any_moment(guarded: GuardedServer) -> None:
    """Whatever a job is doing when it is cancelled, the module's last check finds no traceback of it."""
    draw = random.Random(4_000 + SEED)
    ends: Counter[int] = Counter()
    for _ in range(CASES // 24):
        job_id = guarded.alice.submit(
            thinking=draw.random() < 0.5,
            sample_mode=draw.random() < 0.2,
            batch_size=draw.choice((1, 2)),
            audio_duration=draw.choice((1, 4, 10)),
            audio_format=draw.choice(("mp3", "wav", "flac")),
        )
        time.sleep(draw.uniform(0, 1.5))
        ends[guarded.alice.http.delete(f"/v1/jobs/{job_id}").status_code] += 1
    assert set(ends) <= {200, 409}
    assert ends[200]
    print(f"\n{CASES // 24} jobs were cancelled: {dict(ends)}")
