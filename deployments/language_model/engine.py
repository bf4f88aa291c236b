"""The engine of the 5Hz LM, which writes metadata and audio codes for captions and lyrics."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

from configs.domain import MIN_LM_DURATION
from configs.settings import LanguageModelSettings
from deployments.checkpoints.catalog import LanguageModelTask, language_model_tasks
from deployments.common.errors import EngineError, JobError, UntrainedError
from deployments.common.job_log import log_event
from deployments.common.messages import (
    AudioCodes,
    ComposeRequest,
    DescribeRequest,
    Inspiration,
    Metadata,
    PlanRequest,
    Progress,
    Sampling,
    SongDescription,
    SongTexts,
    Subject,
)
from deployments.language_model.backend import Backend, TokenRequest
from deployments.language_model.guidance_check import require_guided
from deployments.language_model.observer import EngineObserver
from deployments.language_model.sampling import derived_seed
from deployments.language_model.text.codes import DEGENERATE_RUN, longest_run
from deployments.language_model.text.grammar import (
    MAX_CAPTION_TOKENS,
    ConstrainedText,
    TaggedText,
    constrained_description,
    constrained_metadata,
    constrained_wording,
)
from deployments.language_model.text.metadata import (
    completed,
    cot_yaml,
    extract_lyrics,
    lm_fields,
    parse_lm_output,
    printable,
)
from deployments.language_model.text.prompts import (
    END_THINK,
    THINK,
    Prompt,
    answered,
    compose_prompt,
    format_prompt,
    inspire_prompt,
    plan_prompt,
    unconditional_compose_prompt,
    unconditional_plan_prompt,
    understand_prompt,
)
from deployments.language_model.text.tokenizer import LMTokenizer

MAX_METADATA_TOKENS = 160
"""A limit well above the longest metadata, even at one token per character."""
MAX_WORDING_TOKENS = 256
"""Limit of a caption that the LM words together with metadata. The DiT reads no more."""
PROGRESS_EVERY = 10
"""Codes between two reports of progress (2 s of music). The first code is reported by itself."""


class LanguageModelEngine:
    """One checkpoint on the backends of the settings. Runs of many jobs share each backend's batch.

    The first backend starts with the engine, any other one when a request names it.
    """

    def __init__(
        self, folder: Path, settings: LanguageModelSettings, observer: EngineObserver | None = None
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._observer = observer or EngineObserver()
        self._tokenizer = LMTokenizer.from_folder(folder)
        self._tasks = language_model_tasks(folder)
        default = settings.backends[0]
        self._backends: dict[str, Backend] = {default: self._start_backend(default)}
        """The backends that are running, by name."""
        self._starting = asyncio.Lock()

    async def plan(self, request: PlanRequest) -> Metadata:
        """Complete `request.given`: the LM writes the missing metadata, given values are returned unchanged.

        Raises EngineError if the backend fails, and JobError if the prompt is too long.
        """
        given = request.given
        words = LanguageModelTask.WORDING in self._tasks
        absent = {
            "bpm": given.bpm is None,
            "caption": request.wants_caption and words,
            "duration": given.duration is None and request.wants_duration,
            "keyscale": given.key_scale is None,
            "language": request.wants_language and words,
            "timesignature": given.time_signature is None,
        }
        wanted = [name for name, is_wanted in absent.items() if is_wanted]
        if not wanted:
            return given
        fields, _ = parse_lm_output(await self._write_metadata(request, wanted))
        return completed(given, {key: fields[key] for key in wanted})

    async def compose(self, request: ComposeRequest) -> AsyncGenerator[Progress | AudioCodes, None]:
        """Yield progress, then exactly `code_count` codes. Raises JobError if the prompt is too long."""
        prompt, unconditional = self._compose_prompts(request)
        self._require_room(prompt, unconditional, request.code_count)
        total = request.code_count
        token_request = TokenRequest(prompt, unconditional, request.sampling, self._tokenizer.code_ids, total)
        reported = 0
        runs: list[tuple[int, ...]] = []
        for sampling in _attempts(request.sampling):
            ids: list[int] = []
            async with aclosing(
                self._generate(request.backend, replace(token_request, sampling=sampling))
            ) as new:
                async for tokens in new:
                    ids += tokens
                    due = 1 if reported == 0 else reported + PROGRESS_EVERY
                    if len(ids) >= due or len(ids) == total > reported:
                        reported = len(ids)
                        yield Progress("composing", reported, total)
            codes = self._tokenizer.codes(ids)
            if len(codes) != total:
                raise EngineError(f"the engine wrote {len(codes)} codes of {total}")
            runs.append(codes)
            if longest_run(codes) < DEGENERATE_RUN:
                break
            log_event(
                "repeated_code",
                request.origin.job_id,
                logging.WARNING,
                times=longest_run(codes),
                seed=sampling.seed,
            )
        yield AudioCodes(min(runs, key=longest_run))

    async def describe(self, request: DescribeRequest) -> SongDescription:
        """Describe a song by a sentence, by its texts or by its codes. Lyrics that are too long are cut off.

        Raises UntrainedError if the checkpoint was not trained for this, EngineError if the backend fails,
        and JobError if the prompt is too long.
        """
        task, prompt = _description_prompt(request.subject)
        if task not in self._tasks:
            raise UntrainedError(f"The language model was not trained for the task {task!r}.")
        tokenizer = self._tokenizer
        end_think = tokenizer.token_id(END_THINK.name)
        tagged = constrained_description(
            end_think,
            lm_fields(request.given, request.language),
            request.max_duration,
            min(MAX_CAPTION_TOKENS, request.max_tokens // 2),
            request.wants_lyrics,
        )
        ids = tokenizer.encode(answered(prompt, tagged.prefill))
        self._require_room(ids, None, request.max_tokens)
        token_request = TokenRequest(
            ids,
            None,
            request.sampling,
            tokenizer.text_ids,
            request.max_tokens,
            structural_tag=tagged.structural_tag,
            is_urgent=request.is_urgent,
        )
        deadline = math.inf if request.max_seconds is None else time.monotonic() + request.max_seconds
        answer: list[int] = []
        async with aclosing(self._generate(request.backend, token_request)) as new:
            async for tokens in new:
                answer += tokens
                if time.monotonic() > deadline and end_think in answer:
                    break
        if end_think not in answer:
            raise EngineError(f"the description's metadata did not end within {request.max_tokens} tokens")
        end = answer.index(end_think)
        fields, _ = parse_lm_output(tagged.prefill + tokenizer.decode(answer[:end]))
        lyrics = extract_lyrics(END_THINK.name + tokenizer.decode(answer[end:]))
        return SongDescription(completed(request.given, fields), printable(lyrics))

    def fits(self, caption: str, lyrics: str, negative_prompt: str, code_count: int) -> bool:
        """Whether a song with these texts, `code_count` codes and the longest metadata fits the context."""
        longest = Metadata(bpm=300, key_scale="C# minor", time_signature="4", duration=600)
        cot = cot_yaml(lm_fields(longest, "unknown"))
        prompt = self._tokenizer.encode(compose_prompt(caption, lyrics, cot))
        unconditional = self._tokenizer.encode(unconditional_compose_prompt(negative_prompt))
        return self._has_room(prompt, unconditional, max(code_count, MAX_METADATA_TOKENS))

    async def warm_up(self) -> None:
        """Write codes and metadata with the default backend. Raises EngineError if its guidance is wrong."""
        default = self._settings.backends[0]
        await require_guided(self._backends[default], self._tokenizer)
        question = PlanRequest("", "", "unknown", Metadata(), True, MIN_LM_DURATION, Sampling(seed=0))
        await self.plan(replace(question, backend=default))

    async def check_health(self) -> None:
        """Raises EngineError if a backend is dead or stalled."""
        for backend in self._backends.values():
            await backend.check_health()

    def close(self) -> None:
        for backend in self._backends.values():
            backend.close()

    async def _write_metadata(self, request: PlanRequest, wanted: list[str]) -> str:
        language = None if "language" in wanted else request.language
        forced = lm_fields(request.given, language)
        sampling, tokenizer = request.sampling, self._tokenizer
        constrained: ConstrainedText | TaggedText
        if "caption" in wanted:
            constrained = constrained_wording(wanted, forced, request.max_duration, MAX_WORDING_TOKENS)
            max_tokens = MAX_METADATA_TOKENS + MAX_WORDING_TOKENS
        else:
            constrained = constrained_metadata(wanted, forced, request.max_duration)
            max_tokens = MAX_METADATA_TOKENS
        prompt = tokenizer.encode(plan_prompt(request.caption, request.lyrics, constrained.prefill))
        unconditional = None
        if sampling.cfg_scale > 1:
            unconditional = tokenizer.encode(
                unconditional_plan_prompt(sampling.negative_prompt, request.lyrics, constrained.prefill)
            )
        self._require_room(prompt, unconditional, max_tokens)
        token_request = TokenRequest(
            prompt,
            unconditional,
            sampling,
            tokenizer.text_ids,
            max_tokens,
            regex=constrained.regex if isinstance(constrained, ConstrainedText) else None,
            structural_tag=constrained.structural_tag if isinstance(constrained, TaggedText) else None,
            is_urgent=request.is_urgent,
        )
        ids = await self._collect(request.backend, token_request)
        text = constrained.prefill + tokenizer.decode(ids)
        if not text.endswith("\n"):
            raise EngineError(f"the metadata did not end within {max_tokens} tokens: {THINK.name}{text}")
        return text

    def _compose_prompts(self, request: ComposeRequest) -> tuple[list[int], list[int] | None]:
        cot = cot_yaml(lm_fields(request.metadata, request.language))
        prompt = self._tokenizer.encode(compose_prompt(request.caption, request.lyrics, cot))
        if request.sampling.cfg_scale <= 1:
            return prompt, None
        return prompt, self._tokenizer.encode(unconditional_compose_prompt(request.sampling.negative_prompt))

    async def _running(self, name: str) -> Backend:
        """The backend called `name`, which is started and checked first if it is not running.

        Raises JobError if the settings do not have it.
        """
        if name not in self._settings.backends:
            served = ", ".join(self._settings.backends)
            raise JobError(f"This server does not run the LM backend {name!r}, only {served}.")
        async with self._starting:
            if name not in self._backends:
                backend = await asyncio.to_thread(self._start_backend, name)
                try:
                    await require_guided(backend, self._tokenizer)
                except BaseException:
                    backend.close()
                    raise
                self._backends[name] = backend
        return self._backends[name]

    def _start_backend(self, name: str) -> Backend:
        if name == "vllm":
            from deployments.language_model.vllm_engine.backend import VLLMBackend

            return VLLMBackend(self._folder, self._tokenizer, self._settings, observer=self._observer)
        from deployments.language_model.transformers_engine.backend import TorchBackend

        return TorchBackend(self._folder, self._tokenizer, self._settings, self._observer)

    async def _generate(self, backend: str, request: TokenRequest) -> AsyncGenerator[list[int], None]:
        running = await self._running(backend)
        self._observer.began(guided=request.unconditional_prompt is not None)
        async with aclosing(running.generate(request)) as new:
            async for tokens in new:
                self._observer.wrote(len(tokens))
                yield tokens

    async def _collect(self, backend: str, request: TokenRequest) -> list[int]:
        async with aclosing(self._generate(backend, request)) as answers:
            return [token async for tokens in answers for token in tokens]

    def _has_room(self, prompt: list[int], unconditional: list[int] | None, new_tokens: int) -> bool:
        """Whether a run fits.

        Each row must fit the context, all prompts together one step, and all rows with their new tokens the
        backend with the smallest capacity.
        """
        rows = [prompt] if unconditional is None else [prompt, unconditional]
        prefill = sum(map(len, rows))
        context = self._settings.max_model_len
        capacity = min(backend.capacity for backend in self._backends.values())
        return (
            max(map(len, rows)) + new_tokens <= context
            and prefill <= context
            and prefill + new_tokens * len(rows) <= capacity
        )

    def _require_room(self, prompt: list[int], unconditional: list[int] | None, new_tokens: int) -> None:
        if not self._has_room(prompt, unconditional, new_tokens):
            texts = len(prompt) + len(unconditional or ())
            raise JobError(
                f"The texts take {texts} tokens and the answer {new_tokens}: "
                f"more than the language model's {self._settings.max_model_len} tokens hold."
            )


def _description_prompt(subject: Subject) -> tuple[LanguageModelTask, Prompt]:
    if isinstance(subject, Inspiration):
        return LanguageModelTask.INSPIRE, inspire_prompt(subject.query, subject.instrumental)
    if isinstance(subject, SongTexts):
        return LanguageModelTask.FORMAT, format_prompt(subject.caption, subject.lyrics)
    return LanguageModelTask.UNDERSTAND, understand_prompt(subject.codes)


def _attempts(sampling: Sampling) -> list[Sampling]:
    """The sampling of a run and of its repetition. A greedy run has none, because it would be the same."""
    if sampling.temperature <= 0:
        return [sampling]
    return [sampling, replace(sampling, seed=derived_seed(sampling.seed, 1))]
