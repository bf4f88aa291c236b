"""The values that are decided at submit: seeds, codes, and which recordings and codes apply."""

from itertools import pairwise
from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError

from configs.settings import ApiSettings, LanguageModelSettings, ModelSettings, Settings
from serve_app.request.capabilities import apply_limits, server_limits
from serve_app.request.codes import codes_per_song, parse_codes
from serve_app.request.errors import WindowTooLongError
from serve_app.request.resolve import job_draft
from serve_app.request.schemas import GenerateRequest
from serve_app.request.spec import JobSpec, Recording

LIMITS = server_limits(Settings())
SOURCE = Recording("memory://source", 20.0)


def spec(source: Recording | None = None, limits=LIMITS, **fields: Any) -> JobSpec:
    return job_draft(apply_limits(GenerateRequest(**fields), limits), source, None, limits).spec


def refusal(**fields: Any) -> dict[str, Any]:
    """Return the only error of a request."""
    with pytest.raises(RequestValidationError) as refused:
        spec(**fields)
    (error,) = refused.value.errors()
    return error


@pytest.mark.parametrize(
    ("seed", "batch_size", "seeds"),
    [
        (0, 2, (0, 1)),
        (7, 3, (7, 8, 9)),
        (2**32 - 1, 3, (2**32 - 1, 0, 1)),
        ("5,3", 2, (5, 3)),
        ("12345", 1, (12345,)),
    ],
)
def test_given_seeds(seed: Any, batch_size: int, seeds: tuple[int, ...]) -> None:
    assert spec(use_random_seed=False, seed=seed, batch_size=batch_size).seeds == seeds


@pytest.mark.parametrize("fields", [{}, {"seed": 7}, {"use_random_seed": False}])
def test_random_seeds_follow_each_other_and_differ_between_jobs(fields: dict[str, Any]) -> None:
    batches = [spec(batch_size=3, **fields).seeds for _ in range(4)]
    assert all(second == (first + 1) % 2**32 for seeds in batches for first, second in pairwise(seeds))
    assert len(set(batches)) == 4


def test_minus_one_in_a_list_is_random() -> None:
    batches = {spec(use_random_seed=False, seed="5,-1,9", batch_size=3).seeds for _ in range(4)}
    assert len(batches) == 4
    assert all((first, last) == (5, 9) for first, _, last in batches)


def test_a_list_of_seeds_has_one_per_song() -> None:
    assert refusal(use_random_seed=False, seed="1,2,3", batch_size=2)["loc"] == ("body", "seed")


def test_batch_size_defaults_to_the_server() -> None:
    limits = server_limits(Settings(api=ApiSettings(default_batch_size=4)))
    assert len(spec(limits=limits).seeds) == 4
    assert spec(limits=limits).request.batch_size == 4


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("", ()),
        ("<|audio_code_0|><|audio_code_63999|>", (0, 63_999)),
        (" <|audio_code_1|>\n<|audio_code_2|> ", (1, 2)),
        ("1, 2,3", (1, 2, 3)),
        ("7", (7,)),
    ],
)
def test_codes_as_users_write_them(text: str, codes: tuple[int, ...]) -> None:
    assert parse_codes(text) == codes


@pytest.mark.parametrize(
    "text", ["64000", "1,,2", "1,", "-1", "1.5", "<|audio_code_|>", "<|audio_code_1|>,2", "٣"]
)
def test_what_is_no_code(text: str) -> None:
    with pytest.raises(ValueError, match="code"):
        parse_codes(text)


def test_codes_of_a_long_text_are_parsed_in_linear_time() -> None:
    run = "<|audio_code_5|>" * 100_000
    assert parse_codes(run) == (5,) * 100_000
    with pytest.raises(ValueError, match="run of"):
        parse_codes(run + "x")


def test_one_text_is_for_all_songs_and_an_array_has_one_entry_each() -> None:
    assert codes_per_song("1,2", 3) == ((1, 2),) * 3
    assert codes_per_song(("1,2", "3"), 2) == ((1, 2), (3,))
    assert codes_per_song(("", ""), 3) == codes_per_song((), 3) == codes_per_song(" ", 3) == ()


def test_the_entry_without_codes_is_named_by_its_number() -> None:
    with pytest.raises(ValueError, match="Entry 2 has no codes"):
        codes_per_song(("1", "", "3"), 3)


@pytest.mark.parametrize(
    ("fields", "with_source", "uses_source", "uses_codes", "note"),
    [
        ({"thinking": True, "audio_code_string": "1"}, False, False, True, None),
        ({"audio_code_string": "1"}, False, False, False, "thinking is false"),
        ({"audio_code_string": "1", "task_type": "cover"}, False, False, False, "from the text alone"),
        ({"thinking": True, "audio_code_string": "1", "task_type": "cover"}, False, False, True, None),
        ({"thinking": True, "task_type": "cover"}, False, False, False, None),
        ({"task_type": "cover"}, True, True, False, None),
        ({"thinking": True, "task_type": "cover"}, True, True, False, "no audio codes"),
        (
            {"thinking": True, "audio_code_string": "1", "task_type": "repaint"},
            True,
            True,
            False,
            "works on the source",
        ),
        ({"audio_duration": 5, "task_type": "repaint"}, True, True, False, "keeps the length"),
        ({}, True, False, False, "source audio was ignored"),
        ({"thinking": True, "audio_code_string": "1"}, True, False, True, "source audio was ignored"),
        ({"seed": 5}, False, False, False, "use_random_seed"),
    ],
)
def test_what_counts_and_what_is_said_to_have_no_effect(
    fields: dict[str, Any], with_source: bool, uses_source: bool, uses_codes: bool, note: str | None
) -> None:
    job = spec(SOURCE if with_source else None, **fields)
    assert job.source == (SOURCE if uses_source else None)
    assert bool(job.codes) == uses_codes
    assert note is None if not job.notes else note in " ".join(job.notes)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"task_type": "repaint"}, "src_audio"),
        ({"task_type": "repaint", "thinking": True, "audio_code_string": "1"}, "src_audio"),
        ({"task_type": "cover"}, "src_audio"),
        ({"task_type": "repaint", "source": SOURCE, "repainting_start": 20}, "repainting_end"),
        (
            {"task_type": "repaint", "source": SOURCE, "repainting_start": 5, "repainting_end": 5},
            "repainting_end",
        ),
        ({"task_type": "repaint", "source": SOURCE, "repainting_start": -581}, "repainting_start"),
        ({"task_type": "repaint", "source": SOURCE, "repainting_end": 601}, "repainting_end"),
        ({"task_type": "repaint", "source": SOURCE, "repainting_start": -1e308}, "repainting_start"),
        ({"thinking": True, "audio_code_string": ",".join("1" * 3_001)}, "audio_code_string"),
    ],
)
def test_fields_that_do_not_fit_together(fields: dict[str, Any], field: str) -> None:
    assert refusal(**fields)["loc"] == ("body", field)


def test_the_nearest_window_is_found_where_both_of_its_sides_are_too_long() -> None:
    """First the end moves to that of the source, then the start to the greatest length."""
    window: dict[str, float] = {"repainting_start": -700, "repainting_end": 1400}
    moved: list[str] = []
    while len(moved) < 4:
        try:
            spec(SOURCE, task_type="repaint", **window)
            break
        except WindowTooLongError as error:
            moved.append(error.field)
            window[error.field] = error.nearest
    assert moved == ["repainting_end", "repainting_start"]
    assert window == {"repainting_start": SOURCE.seconds - 600, "repainting_end": SOURCE.seconds}


@pytest.mark.parametrize(
    "fields",
    [
        {"repainting_start": -580},
        {"repainting_start": -10, "repainting_end": 0},
        {"repainting_end": 600},
        {"repainting_start": 25, "repainting_end": 30},
        {"repainting_start": 3, "repainting_end": -1},
    ],
)
def test_repaints_that_fit(fields: dict[str, Any]) -> None:
    assert spec(SOURCE, task_type="repaint", **fields).source == SOURCE


def test_codes_behind_the_end_of_the_song_are_left_out() -> None:
    job = spec(thinking=True, audio_code_string=",".join("1" * 3_001), audio_duration=10)
    assert [len(run) for run in job.codes] == [50, 50]


@pytest.mark.parametrize(("given", "rounded"), [(10.04, 10.0), (10.06, 10.1), (0.01, 0.1), (600, 600.0)])
def test_durations_are_tenths(given: float, rounded: float) -> None:
    assert spec(audio_duration=given).request.audio_duration == rounded


@pytest.mark.parametrize("duration", [600.01, 601])
def test_durations_end_at_the_maximum(duration: float) -> None:
    assert refusal(audio_duration=duration)["loc"] == ("body", "audio_duration")


def test_a_server_with_one_backend_uses_it_by_default_and_says_which_it_runs() -> None:
    limits = server_limits(Settings(language_model=LanguageModelSettings(backends=("pt",))))
    assert spec(limits=limits).request.lm_backend == "pt"
    error = refusal(limits=limits, lm_backend="vllm")
    assert error["loc"] == ("body", "lm_backend")
    assert "pt" in error["msg"]


def test_a_server_with_several_language_models_uses_the_first_by_default_and_lists_them() -> None:
    limits = server_limits(Settings(models=ModelSettings(language_models=("small", "large"))))
    assert spec(limits=limits).request.lm_model_path == "small"
    assert spec(limits=limits, lm_model_path="large").request.lm_model_path == "large"
    error = refusal(limits=limits, lm_model_path="huge")
    assert error["loc"] == ("body", "lm_model_path")
    assert "small, large" in error["msg"]


TWO_DITS = server_limits(Settings(models=ModelSettings(dits=("acestep-v15-turbo", "acestep-v15-base"))))


def test_a_server_with_several_dits_uses_the_first_by_default_and_lists_them() -> None:
    assert spec(limits=TWO_DITS).dit == "acestep-v15-turbo"
    assert spec(limits=TWO_DITS, model="acestep-v15-base").dit == "acestep-v15-base"
    error = refusal(limits=TWO_DITS, model="acestep-v15-sft")
    assert error["loc"] == ("body", "model")
    assert "acestep-v15-turbo, acestep-v15-base" in error["msg"]


def test_a_request_is_held_against_the_dit_that_it_names() -> None:
    base = {"limits": TWO_DITS, "model": "acestep-v15-base"}
    assert spec(SOURCE, task_type="lego", **base).request.task_type == "lego"
    error = refusal(source=SOURCE, limits=TWO_DITS, task_type="lego")
    assert error["loc"] == ("body", "task_type")
    assert "acestep-v15-turbo can do no other task, but acestep-v15-base can" in error["msg"]
    many = [1 - step / 30 for step in range(30)]
    assert len(spec(timesteps=many, **base).request.timesteps) == 30
    assert refusal(limits=TWO_DITS, timesteps=many)["loc"] == ("body", "timesteps")


def test_what_has_no_effect_depends_on_the_dit_that_is_named() -> None:
    fields = {"limits": TWO_DITS, "use_adg": True}
    assert spec(**fields).notes == ("use_adg was ignored: acestep-v15-turbo takes no guidance.",)
    assert spec(model="acestep-v15-base", **fields).notes == ()


def test_tasks_depend_on_the_model() -> None:
    base = server_limits(Settings(models=ModelSettings(dits=("acestep-v15-base",))))
    assert spec(SOURCE, limits=base, task_type="lego").request.task_type == "lego"
    assert "text2music, cover, repaint" in refusal(source=SOURCE, task_type="lego")["msg"]


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        (23.0, 26.0, "The new part begins where the source ends, at 20 s: repainting_start is after that."),
        (20.0, 26.0, ""),
        (-5.0, 0.0, ""),
        (-5.0, -1.0, ""),
        (3.0, None, ""),
    ],
)
def test_a_window_after_the_end_of_the_source_begins_there_and_the_user_is_told(
    start: float, end: float | None, said: str
) -> None:
    job = spec(SOURCE, task_type="repaint", repainting_start=start, repainting_end=end)
    assert " ".join(job.notes) == said


def test_a_window_of_a_task_without_windows_is_not_mentioned() -> None:
    assert spec(SOURCE, task_type="cover", repainting_start=23.0, repainting_end=26.0).notes == ()
