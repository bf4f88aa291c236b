"""Requests that every server should refuse, with the answer that each must get."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
CUT = 'multipart/form-data; boundary="cut"'


@dataclass(frozen=True)
class Malformed:
    """One request in the form that httpx takes, its status, and the words that `detail` must contain."""

    name: str
    status: int
    mentions: str
    request: dict[str, Any] = field(default_factory=dict)


def _field(name: str, value: Any, mentions: str | None = None, **others: Any) -> Malformed:
    shown = repr(value) if len(repr(value)) < 30 else f"{repr(value)[:27]}..."
    body = json.dumps({name: value, **others})
    return Malformed(
        f"{name}={shown!a}", 422, mentions or name, {"content": body, "headers": {"Content-Type": JSON}}
    )


def _body(name: str, status: int, mentions: str, content: bytes, content_type: str | None) -> Malformed:
    headers = {"Content-Type": content_type} if content_type else {}
    return Malformed(name, status, mentions, {"content": content, "headers": headers})


def _upload(name: str, status: int, mentions: str, files: dict[str, Any], **data: str) -> Malformed:
    return Malformed(name, status, mentions, {"files": files, "data": data})


FIELDS = [
    _field("caption", 5),
    _field("caption", ["a"]),
    _field("caption", "x" * 2_049),
    _field("caption", "half a pair \ud800"),
    _field("caption", "nul \0"),
    _field("prompt", "x" * 2_049, "caption"),
    _field("lyrics", {"text": "la"}),
    _field("lyrics", "x" * 16_385),
    _field("thinking", "perhaps"),
    _field("thinking", 2),
    _field("thinking", []),
    _field("vocal_language", "klingon"),
    _field("audio_format", "midi", "mp3"),
    _field("audio_format", 3),
    _field("audio_format", "\udfff", "audio_format"),
    _field("bpm", 29),
    _field("bpm", 301),
    _field("bpm", 0),
    _field("bpm", 120.5),
    _field("bpm", "fast"),
    _field("bpm", True),
    _field("bpm", 10**400),
    _field("bpm", "9" * 5_000),
    _field("key_scale", "C\nMajor"),
    _field("key_scale", "<|im_end|>"),
    _field("key_scale", "x" * 33),
    _field("keyscale", 7, "key_scale"),
    _field("time_signature", "waltz"),
    _field("time_signature", 5),
    _field("time_signature", "4/0"),
    _field("audio_duration", 0),
    _field("audio_duration", -1),
    _field("audio_duration", 600.01),
    _field("audio_duration", "NaN"),
    _field("audio_duration", "Infinity"),
    _field("audio_duration", "long"),
    _field("duration", True, "audio_duration"),
    _field("audio_code_string", 5),
    _field("audio_code_string", "la la"),
    _field("audio_code_string", "<|audio_code_64000|>"),
    _field("audio_code_string", "1,2,", thinking=True),
    _field("audio_code_string", ["1", "2", "3"], batch_size=2),
    _field("audio_code_string", ["1", ""], batch_size=2),
    _field("audio_code_string", [1, 2]),
    _field("audio_code_string", ",".join(["1"] * 3_001), thinking=True),
    _field("inference_steps", 0),
    _field("inference_steps", 201),
    _field("inference_steps", "8.5"),
    _field("sampling", "2031-01", "2026-08"),
    _field("sampler_mode", "rk4", "heun"),
    _field("velocity_norm_threshold", -1),
    _field("velocity_ema_factor", 1),
    _field("dcw_enabled", "perhaps"),
    _field("dcw_mode", "triple", "double"),
    _field("dcw_scaler", 1.5),
    _field("dcw_high_scaler", "NaN"),
    _field("dcw_wavelet", "bior4.4", "sym8"),
    _field("latent_rescale", 0),
    _field("latent_shift", 10.5),
    _field("lyric_timestamps", "perhaps"),
    _field("normalization_db", 0.5),
    _field("fade_in_duration", -1),
    _field("fade_out_duration", 601),
    _field("flow_edit_morph", True, "src_audio"),
    _field("flow_edit_source_caption", "x" * 2_049),
    _field("flow_edit_n_min", 1),
    _field("flow_edit_n_max", 1.1),
    _field("flow_edit_n_avg", 9),
    _field("retake_variance", 1.1),
    _field("retake_seed", "1;2"),
    _field("retake_seed", "1,2,3", retake_variance=0.5, batch_size=2),
    _field("guidance_scale", -0.1),
    _field("guidance_scale", 30.5),
    _field("use_random_seed", "random"),
    _field("seed", 2**32),
    _field("seed", -2),
    _field("seed", 1.5),
    _field("seed", "1;2"),
    _field("seed", "1," * 400_000 + "1", "at most 64"),
    _field("timesteps", "1," * 400_000),
    _field("track_classes", "," * 400_000, "at most 64"),
    _field("track_classes", ["drums"] * 1_000, "at most 64"),
    _field("seed", "1,2,3", use_random_seed=False, batch_size=2),
    _field("batch_size", 0),
    _field("batch_size", 9),
    _field("batch_size", "two"),
    _field("lm_model_path", "acestep-5Hz-lm-70B", "acestep-5Hz-lm-0.6B"),
    _field("lm_backend", "mlx", "vllm"),
    _field("lm_temperature", -0.1),
    _field("lm_temperature", 5.1),
    _field("lm_cfg_scale", 21),
    _field("lm_negative_prompt", "x" * 2_049),
    _field("lm_top_k", -1),
    _field("lm_top_k", 64_001),
    _field("lm_top_p", 0),
    _field("lm_repetition_penalty", 0),
    _field("lm_repetition_penalty", 10.5),
    _field("src_audio_path", "/etc/passwd"),
    _field("src_audio_path", "/no/such/file.wav"),
    _field("src_audio_path", "relative.wav"),
    _field("src_audio_path", "../audio_in/song.wav"),
    _field("src_audio_path", "/v1/audio/no-such-job/0.mp3"),
    _field("src_audio_path", "/" * 4_000),
    _field("src_audio_path", "/a" * 500_000, "at most 4096"),
    _field("reference_audio_path", "/" * 5_000, "at most 4096"),
    _field("src_audio_path", ["/a.wav"]),
    _field("reference_audio_path", "/dev/zero"),
    _field("reference_audio_path", "file:///etc/passwd"),
    _field("src_audio", "UklGRg==", "src_audio"),
    _field("task_type", "remix", "repaint"),
    _field("task_type", "lego", "text2music"),
    _field("task_type", "repaint", "src_audio"),
    _field("task_type", "cover", "src_audio"),
    _field("instruction", "x" * 2_049),
    _field("repainting_start", "soon"),
    _field("repainting_end", -2),
    _field("audio_cover_strength", 1.01),
    _field("audio_cover_strength", -0.01),
    _field("lm_guide_metadata", "sometimes"),
    _field("shift", 0.9),
    _field("shift", 5.1),
    _field("shift", True),
    _field("timesteps", []),
    _field("timesteps", 1),
    _field("timesteps", "1,,0"),
    _field("timesteps", "1,half"),
    _field("timesteps", [1, True]),
    _field("timesteps", [1, [0.5]]),
    _field("timesteps", [1, 10**400]),
    _field("timesteps", "NaN"),
    _field("timesteps", [1.1, 0.5]),
    _field("timesteps", [1, -0.1]),
    _field("timesteps", [0]),
    _field("timesteps", [0.5, 1]),
    _field("timesteps", [1, 0.5, 0.5]),
    _field("timesteps", [1 - step / 21 for step in range(21)], "at most 20"),
    _field("infer_method", "heun", "ode"),
    _field("use_adg", "maybe"),
    _field("cfg_interval_start", -0.1),
    _field("cfg_interval_end", 1.1),
    _field("cfg_interval_end", 0.2, "cfg_interval_start", cfg_interval_start=0.3),
    _field("cover_noise_strength", 1.01),
    _field("repaint_mode", "gentle", "balanced"),
    _field("track_name", "kazoo", "backing_vocals"),
    _field("track_name", ["drums"]),
    _field("track_classes", "drums,kazoo", "backing_vocals"),
    _field("track_classes", [5]),
    _field("track_classes", {"drums": True}),
    _field("task_type", "extract", "repaint"),
    _field("task_type", "complete", "repaint", track_classes=["drums"]),
    _field("callback_url", "example.com/hook"),
    _field("callback_url", "ftp://example.com/"),
    _field("callback_url", "https://"),
    _field("callback_url", "https:///path"),
    _field("callback_url", "https://user:password@example.com/"),
    _field("callback_url", "https://user@example.com/"),
    _field("callback_url", "https://example.com:99999/"),
    _field("callback_url", "https://[::1/"),
    _field("callback_url", "https://exa mple.com/"),
    _field("callback_url", "https://example.com/\r\nX-Evil: 1"),
    _field("callback_url", "https://bücher.example/"),
    _field("callback_url", "https://xn--\x7f.example/"),
    _field("callback_url", "https://xn--a-ecp.ru/"),
    _field("callback_url", "https://" + "x" * 64 + ".example/"),
    _field("callback_url", "https://example..com/"),
    _field("callback_url", "https://example.com/" + "x" * 2_048),
    _field("callback_url", 5),
    _field("callback_url", "http://localhost:8001/"),
    _field("callback_url", "http://LOCALHOST./"),
    _field("callback_url", "http://127.0.0.1/"),
    _field("callback_url", "http://10.0.0.1/"),
    _field("callback_url", "http://169.254.169.254/latest/meta-data/"),
    _field("callback_url", "http://[::1]/"),
    _field("callback_url", "http://[::ffff:127.0.0.1]/"),
    _field("callback_url", "http://[64:ff9b::7f00:1]/"),
    _field("callback_url", "http://0.0.0.0/"),
    _field("callbackUrl", "http://224.0.0.1/", "callback_url"),
    _field("priority", 1),
    _field("priority", 10),
    _field("priority", -1),
    _field("priority", "high"),
    _field("metas", 5),
    _field("metas", "{"),
    _field("metadata", ["bpm"]),
    _field("user_metadata", {"bpm": 29}, "bpm"),
]
BODIES = [
    _body("empty JSON", 400, "JSON", b"", JSON),
    _body("cut JSON", 400, "JSON", b'{"caption": "a', JSON),
    _body("array", 400, "object", b'[{"caption": "a"}]', JSON),
    _body("text", 400, "object", b'"caption"', JSON),
    _body("null", 400, "object", b"null", "application/vnd.song+json; charset=utf-8"),
    _body("NaN literal", 400, "JSON", b'{"audio_duration": NaN}', JSON),
    _body("Infinity literal", 400, "JSON", b'{"guidance_scale": -Infinity}', JSON),
    _body("infinite number", 422, "guidance_scale", b'{"guidance_scale": 1e999}', JSON),
    _body("integer of 5,000 digits", 400, "JSON", b'{"bpm": ' + b"9" * 5_000 + b"}", JSON),
    _body("deep nesting", 400, "JSON", b'{"metas": ' + b"[" * 100_000, JSON),
    _body("deep nesting in a text", 422, "metas", b'{"metas": "' + b"[" * 100_000 + b'"}', JSON),
    _body("latin-1", 400, "UTF-8", b'{"caption": "caf\xe9"}', JSON),
    _body("UTF-16", 400, "UTF-8", '{"caption": "a"}'.encode("utf-16"), JSON),
    _body("JSON as a form, cut", 400, "JSON", b'{"caption": "a', FORM),
    _body("form that is not UTF-8", 400, "UTF-8", b"caption=%ff", FORM),
    _body("form of 300 fields", 400, "256", b"a=1&" * 300, FORM),
    _body("wrong form value", 422, "bpm", b"bpm=fast", FORM),
    _body("nothing at all", 415, "multipart/form-data", b"", None),
    _body("form without a type", 415, "application/json", b"caption=a", None),
    _body("plain text", 415, "application/x-www-form-urlencoded", b"a song", "text/plain"),
    _body("array without a type", 415, "application/json", b"[1]", None),
    _body("no boundary", 400, "multipart", b"--x\r\n", "multipart/form-data"),
    _body("other boundary", 400, "multipart", b"--x\r\n\r\n--x--\r\n", CUT),
    _body(
        "cut multipart", 400, "multipart",
        b'--cut\r\nContent-Disposition: form-data; name="caption"\r\n\r\nsong', CUT,
    ),
    _body(
        "part without a name", 400, "multipart",
        b"--cut\r\nContent-Disposition: form-data\r\n\r\nsong\r\n--cut--\r\n", CUT,
    ),
    _body(
        "strange charset", 422, "bpm",
        b'--cut\r\nContent-Disposition: form-data; name="bpm"\r\n\r\nfast\r\n--cut--\r\n',
        CUT + "; charset=no-such",
    ),
    _body(
        "charset that is no text encoding", 400, "multipart",
        b'--cut\r\nContent-Disposition: form-data; name="bpm"\r\n\r\nxn--a\xff\r\n--cut--\r\n',
        CUT + "; charset=undefined",
    ),
]  # fmt: skip
UPLOADS = [
    _upload("no audio", 422, "src_audio", {"src_audio": ("a.mp3", b"not a song")}, task_type="cover"),
    _upload("empty file", 422, "empty", {"src_audio": ("a.wav", b"")}, task_type="cover"),
    _upload("a header and nothing else", 422, "src_audio", {"src_audio": ("a.wav", b"RIFF\0\0\0\0WAVE")}),
    _upload("no audio as reference", 422, "reference_audio", {"reference_audio": ("a.flac", b"fLaC" * 99)}),
    _upload("a page", 422, "reference_audio", {"reference_audio": ("a.html", b"<html></html>")}),
    _upload("a file for a text", 422, "caption", {"caption": ("a.txt", b"song")}),
    _upload("a file for a path", 422, "src_audio_path", {"src_audio_path": ("a.wav", b"song")}),
    _upload("wrong value beside a file", 422, "bpm", {"src_audio": ("a.wav", b"")}, bpm="fast"),
]

MALFORMED = [*FIELDS, *BODIES, *UPLOADS]


def endless_upload(chunk: bytes = b"\0" * 65_536) -> Iterator[bytes]:
    """Yield a multipart body whose file never ends. Its boundary is "cut"."""
    yield b'--cut\r\nContent-Disposition: form-data; name="src_audio"; filename="a.wav"\r\n\r\n'
    while True:
        yield chunk
